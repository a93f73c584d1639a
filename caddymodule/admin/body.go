package admin

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"unicode/utf8"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/token"
)

// maxBody bounds what is read of a request, in bytes.
const maxBody = 1 << 20

// fields are the names that a body can have, and where their values go.
type fields map[string]any

// readBody reads a JSON object that has no other fields, and none twice. It is
// strict because much may end by it: what is misspelled, null or empty must not
// count as absent.
func readBody(w http.ResponseWriter, r *http.Request, into fields) error {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		return refuse(http.StatusRequestEntityTooLarge, "the body is larger than %d bytes", maxBody)
	}
	if err != nil {
		return refuse(http.StatusBadRequest, "reading the body: %w", err)
	}
	if token.Contains(string(body)) { // which the audit would show as a user's id
		return refuse(http.StatusBadRequest, "the body: it holds a token's value, which nobody but its user should know: give the token's id")
	}
	if err := parseBody(body, into); err != nil {
		return refuse(http.StatusBadRequest, "the body: %w", err)
	}
	return nil
}

var errNoObject = errors.New("it has to be one JSON object")

func parseBody(body []byte, into fields) error {
	if !utf8.Valid(body) {
		return errors.New("it is no UTF-8")
	}
	text := json.NewDecoder(bytes.NewReader(body))
	if first, err := text.Token(); err != nil || first != json.Delim('{') {
		return errNoObject
	}
	seen := make(map[string]bool)
	for text.More() {
		first, err := text.Token()
		if err != nil {
			return errNoObject
		}
		name, _ := first.(string)
		var value json.RawMessage
		if err := text.Decode(&value); err != nil {
			return errNoObject
		}
		switch target, known := into[name]; {
		case !known:
			return fmt.Errorf("there is no field %q", name)
		case seen[name]:
			return fmt.Errorf("%q is there twice", name)
		case string(value) == "null" || json.Unmarshal(value, target) != nil:
			return fmt.Errorf("%q has a value of another kind", name)
		case string(value) == `""`:
			return fmt.Errorf("%q is empty", name)
		}
		seen[name] = true
	}
	if _, err := text.Token(); err != nil { // its end
		return errNoObject
	}
	if _, err := text.Token(); !errors.Is(err, io.EOF) {
		return errNoObject
	}
	return nil
}

// refuse answers a request with a status and what is wrong.
func refuse(status int, format string, args ...any) error {
	return caddy.APIError{HTTPStatus: status, Err: fmt.Errorf(format, args...)}
}
