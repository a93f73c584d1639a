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

// Answer is the JSON of an answer, an object or an array; nil if nobody is signed
// in.
//
// A path into it is names, and places in arrays counted from 0, separated by
// dots: user.id, or users.0.id.
type Answer struct{ value any }

// Read reads a response: status 200 and JSON is an answer, 401, 403 and a
// redirect mean that nobody is signed in. Anything else is an error.
func Read(response *http.Response) (*Answer, error) {
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

// byteOrderMark may begin JSON, to be ignored (RFC 8259 section 8.1).
var byteOrderMark = []byte("\ufeff")

// parse reads JSON. A value that is neither an object nor an array names nobody.
func parse(body []byte) (*Answer, error) {
	body = bytes.TrimPrefix(body, byteOrderMark)
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
	switch value.(type) {
	case map[string]any, []any:
		return &Answer{value}, nil
	}
	return nil, nil
}

// ID returns the user's id at a path: a string, or a whole number's
// digits. An id that isn't there, null or empty is "": nobody is signed in.
// Anything else, and text that JSON couldn't carry unchanged, is an error.
func (a *Answer) ID(path string) (string, error) {
	id, err := a.Text(path)
	value, _ := a.at(path)
	if _, isBool := value.(bool); isBool || strings.ContainsRune(id, utf8.RuneError) {
		err = noText(path)
	}
	return id, err
}

// Text returns the text at a path: a string, a whole number's digits,
// or true or false. What isn't there or null is "", and so is the path "".
// Anything else is an error.
func (a *Answer) Text(path string) (string, error) {
	switch value, _ := a.at(path); value := value.(type) {
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

// IsTrue tells whether JSON true stands at a path. Only that counts: not "true",
// not 1.
func (a *Answer) IsTrue(path string) bool {
	value, _ := a.at(path)
	return value == true
}

// Is tells whether a string, a number, true or false stands at a path, written as
// text: the number 1 and the string "1" are both "1".
func (a *Answer) Is(path, text string) bool {
	switch value, _ := a.at(path); value := value.(type) {
	case string:
		return value == text
	case bool:
		return strconv.FormatBool(value) == text
	case json.Number:
		return value.String() == text
	}
	return false
}

// Lacks tells whether an answer that says something has nothing at a path, not
// even null.
func (a *Answer) Lacks(path string) bool {
	if a == nil {
		return false
	}
	if object, ok := a.value.(map[string]any); ok && len(object) == 0 {
		return false
	}
	if list, ok := a.value.([]any); ok && len(list) == 0 {
		return false
	}
	_, found := a.at(path)
	return !found
}

// at returns what is at a path. Nothing is at the path "".
func (a *Answer) at(path string) (value any, found bool) {
	if a == nil || path == "" {
		return nil, false
	}
	value = a.value
	for name := range strings.SplitSeq(path, ".") {
		switch within := value.(type) {
		case map[string]any:
			if value, found = within[name]; !found {
				return nil, false
			}
		case []any:
			place, err := strconv.ParseUint(name, 10, 31)
			if err != nil || place >= uint64(len(within)) || strconv.FormatUint(place, 10) != name {
				return nil, false
			}
			value = within[place]
		default:
			return nil, false
		}
	}
	return value, true
}
