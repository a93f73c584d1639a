package page

import (
	"mime"
	"net/url"
	"unicode/utf8"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/incoming"
)

// readForm reads the request's body into r.PostForm.
func (v *visit) readForm() error {
	if v.r.ContentLength == 0 {
		v.r.PostForm = url.Values{}
		return nil
	}
	mediaType, _, err := mime.ParseMediaType(v.r.Header.Get("Content-Type"))
	if err != nil || mediaType != "application/x-www-form-urlencoded" || v.r.Header.Get("Content-Encoding") != "" {
		return errMediaType
	}
	body, err := incoming.ReadBody(v.w, v.r, incoming.BodyTime)
	if err != nil {
		return err
	}
	form, ok := parseForm(string(body))
	if !ok {
		return errBadForm
	}
	v.r.PostForm = form
	return nil
}

// parseForm reads application/x-www-form-urlencoded text, in which every name
// stands at most once and all is valid UTF-8.
func parseForm(text string) (url.Values, bool) {
	form, err := url.ParseQuery(text)
	if err != nil {
		return nil, false
	}
	for name, values := range form {
		if len(values) > 1 || !utf8.ValidString(name) || !utf8.ValidString(values[0]) {
			return nil, false
		}
	}
	return form, true
}

// field is one field of a form as it was sent, and what is wrong with it.
type field struct {
	Value, Error string
}
