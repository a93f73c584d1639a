package main

import (
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"
)

// addressEnv says where a role listens.
const addressEnv = "ACCESS_TOKENS_BENCH_ADDRESS"

// valuesEnv names the file of token values that the verifier knows.
const valuesEnv = "ACCESS_TOKENS_BENCH_VALUES"

// serveAPI is the role of the API behind: a small answer to everything.
func serveAPI() error {
	body := []byte(`{"id": 17, "status": "Complete", "createdAt": "2026-01-16T00:06:41.743Z"}` + "\n")
	return serve(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(body)
	})
}

// serveVerifier is the role of a server of its own that is asked about each request:
// 204 if its token is known, else 401. It looks tokens up in memory.
func serveVerifier() error {
	text, err := os.ReadFile(os.Getenv(valuesEnv))
	if err != nil {
		return err
	}
	known := make(map[string]bool)
	for value := range strings.FieldsSeq(string(text)) {
		known[bearer(value)] = true
	}
	return serve(func(w http.ResponseWriter, r *http.Request) {
		if !known[r.Header.Get("Authorization")] {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.Header().Set("Remote-User", "user")
		w.WriteHeader(http.StatusNoContent)
	})
}

// serve serves until standard input ends.
func serve(handler http.HandlerFunc) error {
	listener, err := net.Listen("tcp", os.Getenv(addressEnv))
	if err != nil {
		return err
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: time.Minute}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	ended := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(ended)
	}()
	select {
	case err = <-failed:
	case <-ended:
		err = server.Close()
	}
	return err
}
