package admin

import "net/http"

// live says whether a restart is needed: not where no configuration with tokens
// runs, since one can still come.
func live(w http.ResponseWriter, _ *http.Request) error {
	var wrong error
	if app, err := running(); err == nil {
		wrong = app.Live()
	}
	answerHealth(w, wrong)
	return nil
}

// ready says whether tokens can be authenticated.
func ready(w http.ResponseWriter, _ *http.Request) error {
	app, wrong := running()
	if wrong == nil {
		wrong = app.Ready()
	}
	answerHealth(w, wrong)
	return nil
}

// answerHealth answers 200, or 503 with what is wrong. That isn't an error of the
// request, which Caddy would log at every probe.
func answerHealth(w http.ResponseWriter, wrong error) {
	if wrong != nil {
		answer(w, http.StatusServiceUnavailable, map[string]string{"error": wrong.Error()})
		return
	}
	answer(w, http.StatusOK, map[string]string{"status": "ok"})
}
