package command

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/token"
)

// server is the Caddy that runs, as its admin endpoint is reached.
type server struct{ address, config, adapter string }

// addFlags adds those by which Caddy's own commands find the endpoint.
func (s *server) addFlags(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&s.address, "address", "", "the address of the admin endpoint, if it isn't the default one")
	flags.StringVarP(&s.config, "config", "c", "", "the configuration file to take the admin endpoint's address from, unless --address is given")
	flags.StringVarP(&s.adapter, "adapter", "a", "", "the name of the config adapter to apply to that file")
}

// refused is an answer of the server that isn't what was asked for.
type refused struct {
	status int
	why    string
}

func (r *refused) Error() string { return r.why }

var errNotOurs = errors.New("the Caddy there knows nothing of access tokens: is it another one, or built without them?")

// open sends a request and returns the answer's body, to be closed. It fails with a
// *refused.
func (s *server) open(method, path string, body any) (io.ReadCloser, error) {
	// Caddy logs what its admin endpoint is asked for.
	if at, err := url.QueryUnescape(path); err == nil && token.Contains(at) {
		return nil, &refused{http.StatusBadRequest, "that is a token's value, which nobody but its user should know, and nothing is found by it: give the token's id"}
	}
	address, err := caddycmd.DetermineAdminAPIAddress(s.address, nil, s.config, s.adapter)
	if err != nil {
		return nil, err
	}
	var sent io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		sent = bytes.NewReader(text)
	}
	response, err := caddycmd.AdminAPIRequest(address, method, path, nil, sent)
	if err == nil {
		return response.Body, nil
	}
	// Caddy keeps the status to itself, but for its text.
	var status int
	if n, _ := fmt.Sscanf(err.Error(), "caddy responded with error: HTTP %d:", &status); n == 0 {
		return nil, fmt.Errorf("%w; is Caddy running, and its admin endpoint at %s? --address or --config says where else", err, address)
	}
	var told struct{ Error string }
	_, text, _ := strings.Cut(err.Error(), fmt.Sprintf("HTTP %d:", status))
	if json.Unmarshal([]byte(text), &told) != nil || told.Error == "" {
		return nil, errNotOurs
	}
	return nil, &refused{status, told.Error}
}

// ask is open with an answer that is one JSON value.
func (s *server) ask(method, path string, body, answer any) error {
	text, err := s.open(method, path, body)
	if err != nil {
		return err
	}
	defer text.Close()
	if err := json.NewDecoder(text).Decode(answer); err != nil {
		return fmt.Errorf("reading Caddy's answer: %w", err)
	}
	return nil
}

// list is open with an answer that is a list, of which it calls each with all.
func (s *server) list(method, path string, body any, each func(json.RawMessage) error) error {
	text, err := s.open(method, path, body)
	if err != nil {
		return err
	}
	defer text.Close()
	items := json.NewDecoder(text)
	for _, want := range []json.Token{json.Delim('{'), "data", json.Delim('[')} {
		if got, err := items.Token(); err != nil || got != want {
			return errNotOurs
		}
	}
	for items.More() {
		var item json.RawMessage
		if err := items.Decode(&item); err != nil {
			return fmt.Errorf("Caddy's list is cut off: %w", err)
		}
		if err := each(item); err != nil {
			return err
		}
	}
	if _, err := items.Token(); err != nil {
		return fmt.Errorf("Caddy's list is cut off: %w", err)
	}
	return nil
}

// notDone ends cmd because the server didn't do what it was asked for.
func notDone(cmd *cobra.Command, err error) error {
	if answer, isAnswer := errors.AsType[*refused](err); isAnswer {
		switch answer.status {
		case http.StatusBadRequest:
			return wrongUse(cmd, err)
		case http.StatusNotFound:
			cmd.PrintErrln("Error:", withoutTokens(err))
			return exit(cmd, exitNothingMatched)
		}
	}
	return fail(cmd, err)
}
