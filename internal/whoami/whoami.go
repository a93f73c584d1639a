// Package whoami reads an API's answer to the question who is signed in. Such
// an answer can lie: an API may answer 200 and a page that asks to sign in, or
// 200 and nobody. What isn't clearly a user or clearly nobody is an error.
package whoami

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxAnswer is how long an answer may be, in bytes.
const maxAnswer = 256 << 10

// Answer is the JSON value of an answer; nil if nobody is signed in.
type Answer map[string]any

// Read reads a response: status 200 and JSON is an answer, 401, 403 and a
// redirect mean that nobody is signed in. Anything else is an error.
func Read(response *http.Response) (Answer, error) {
	switch status := response.StatusCode; {
	case status == http.StatusUnauthorized, status == http.StatusForbidden, status >= 300 && status < 400:
		return nil, nil
	case status != http.StatusOK:
		return nil, fmt.Errorf("the who-am-I route answers with status %d", status)
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	if err != nil {
		// The error may quote what the API has sent.
		return nil, errors.New("the who-am-I route's answer breaks off")
	}
	if len(body) > maxAnswer {
		return nil, fmt.Errorf("the who-am-I route's answer is longer than %d bytes", maxAnswer)
	}
	return parse(body)
}

// parse reads JSON. A value that isn't an object names nobody.
func parse(body []byte) (Answer, error) {
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber()
	var value any
	err := decoder.Decode(&value)
	if err == nil && !utf8.Valid(body) {
		err = errors.New("invalid UTF-8")
	}
	if err == nil {
		if _, more := decoder.Token(); more != io.EOF {
			err = errors.New("more than one value")
		}
	}
	if err != nil {
		return nil, errors.New("the who-am-I route's answer is not JSON")
	}
	object, _ := value.(map[string]any)
	return object, nil
}

// ID returns the user's id at a dotted path: a string, or a whole number's
// digits. An id that isn't there, null or empty is "": nobody is signed in.
// Anything else, and text that JSON couldn't carry unchanged, is an error.
func (a Answer) ID(path string) (string, error) {
	id, err := a.Text(path)
	_, isBool := a.at(path).(bool)
	if isBool || strings.ContainsRune(id, utf8.RuneError) {
		err = noText(path)
	}
	return id, err
}

// Text returns the text at a dotted path: a string, a whole number's digits,
// or true or false. What isn't there or null is "", and so is the path "".
// Anything else is an error.
func (a Answer) Text(path string) (string, error) {
	switch value := a.at(path).(type) {
	case nil:
		return "", nil
	case string:
		return value, nil
	case bool:
		return strconv.FormatBool(value), nil
	case json.Number:
		if wholeNumber.MatchString(value.String()) {
			return value.String(), nil
		}
	}
	return "", noText(path)
}

func noText(path string) error {
	return fmt.Errorf("the who-am-I route's answer has neither text nor a whole number at %q", path)
}

var wholeNumber = regexp.MustCompile(`^(0|-?[1-9][0-9]*)$`)

// IsTrue tells whether JSON true stands at a dotted path. Only that counts:
// not "true", not 1.
func (a Answer) IsTrue(path string) bool { return a.at(path) == true }

func (a Answer) at(path string) any {
	if path == "" {
		return nil
	}
	var value any = map[string]any(a)
	for name := range strings.SplitSeq(path, ".") {
		object, _ := value.(map[string]any)
		value = object[name]
	}
	return value
}
