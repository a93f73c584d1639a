package tokenapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/registry"
)

// The fields of a request to create a token.
const (
	lifetimeSeconds = "lifetimeSeconds"
	description     = "description"
	// nameInstead is what Alteryx One calls the description.
	nameInstead = "name"
	replace     = "replace"
	scopes      = "scopes"
	addresses   = "addresses"
)

// maxDepth is how deep a body may nest objects and arrays, itself included.
const maxDepth = 100

// createRequest is the body that asks for a token.
type createRequest struct {
	// LifetimeSeconds is any whole number; one that is too large for its type is
	// the nearest. What the project allows isn't looked at here.
	LifetimeSeconds int64
	// Description is at most 1,024 code points. DescribedBy is the field that it
	// stood in.
	Description, DescribedBy string
	// Replace ends the token that asks.
	Replace bool
	// Scopes and Addresses are what the token is to be limited to, nil where it
	// isn't said.
	Scopes    []string
	Addresses []netip.Prefix
}

// fieldError says what is wrong with a body and what is allowed. It repeats
// nothing of what a client wrote, which may be a secret in the wrong place.
type fieldError struct {
	// Field is the right spelling of the field concerned; empty for the body as
	// a whole.
	Field string
	// Problem continues a sentence that begins with the field's name.
	Problem string
	// Range: the project's range of values is to follow.
	Range bool
}

// details returns the sentence for the client.
func (e *fieldError) details() string {
	if e.Field == "" {
		return "The body " + e.Problem
	}
	return e.Field + " " + e.Problem
}

// parseCreate reads the body of a request to create a token.
func parseCreate(body []byte) (createRequest, *fieldError) {
	fields, wrong := strictObject(body, lifetimeSeconds, description, nameInstead, replace, scopes, addresses)
	if wrong != nil {
		return createRequest{}, wrong
	}
	request := createRequest{DescribedBy: description, Replace: string(fields[replace]) == "true"}
	if request.Scopes, wrong = parseNames(scopes, fields[scopes]); wrong != nil {
		return createRequest{}, wrong
	}
	if request.Addresses, wrong = parseAddresses(fields[addresses]); wrong != nil {
		return createRequest{}, wrong
	}
	if value := fields[replace]; value != nil && !request.Replace && string(value) != "false" {
		return createRequest{}, &fieldError{Field: replace, Problem: "must be true or false, without quotes"}
	}
	lifetime, found := fields[lifetimeSeconds]
	if !found {
		return createRequest{}, &fieldError{Field: lifetimeSeconds, Problem: "is required", Range: true}
	}
	var ok bool
	if request.LifetimeSeconds, ok = parseLifetime(lifetime); !ok {
		return createRequest{}, &fieldError{Field: lifetimeSeconds, Problem: "must be digits, without quotes, fraction or exponent", Range: true}
	}
	if isNothing(fields[description]) && !isNothing(fields[nameInstead]) {
		request.DescribedBy = nameInstead
	}
	text := fields[request.DescribedBy]
	if isNothing(text) {
		return request, nil
	}
	if request.Description, ok = parseString(text); !ok || utf8.RuneCountInString(request.Description) > registry.MaxDescription {
		return createRequest{}, &fieldError{Field: request.DescribedBy, Problem: fmt.Sprintf("must be a string of at most %d code points", registry.MaxDescription)}
	}
	return request, nil
}

// parseNames takes a list of at least one text. A list of none would read as if
// the token might do nothing, and be taken for one that may do all.
func parseNames(field string, value json.RawMessage) (names []string, wrong *fieldError) {
	if value == nil {
		return nil, nil
	}
	var texts []json.RawMessage
	if !bytes.HasPrefix(value, []byte{'['}) || json.Unmarshal(value, &texts) != nil || len(texts) == 0 {
		return nil, &fieldError{Field: field, Problem: "must be a list of at least one string; without it the token isn't limited so"}
	}
	for _, text := range texts {
		name, ok := parseString(text)
		if !ok {
			return nil, &fieldError{Field: field, Problem: "must be a list of strings"}
		}
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names, nil
}

func parseAddresses(value json.RawMessage) (prefixes []netip.Prefix, wrong *fieldError) {
	texts, wrong := parseNames(addresses, value)
	if wrong != nil {
		return nil, wrong
	}
	if len(texts) > registry.MaxAddresses {
		return nil, &fieldError{Field: addresses, Problem: fmt.Sprintf("must be at most %d", registry.MaxAddresses)}
	}
	for _, text := range texts {
		prefix, err := registry.ParseAddress(text)
		if err != nil {
			return nil, &fieldError{Field: addresses, Problem: "must be such as 192.0.2.1 or 2001:db8::/32"}
		}
		if !slices.Contains(prefixes, prefix) {
			prefixes = append(prefixes, prefix)
		}
	}
	return prefixes, nil
}

// isNothing tells whether a field is absent or null.
func isNothing(value json.RawMessage) bool { return value == nil || string(value) == "null" }

// parseLifetime takes one spelling of each number: ParseInt knows no fraction and
// no exponent, and JSON neither a plus sign nor a leading zero.
func parseLifetime(value json.RawMessage) (seconds int64, ok bool) {
	seconds, err := strconv.ParseInt(string(value), 10, 64)
	return seconds, err == nil || errors.Is(err, strconv.ErrRange)
}

// parseString takes a string, and unlike [json.Unmarshal] not null.
func parseString(value json.RawMessage) (text string, ok bool) {
	if !bytes.HasPrefix(value, []byte{'"'}) {
		return "", false
	}
	return text, json.Unmarshal(value, &text) == nil
}

// strictObject returns the fields of the one JSON object (RFC 8259) that body
// consists of, each with its value as it was written.
//
// All that I-JSON (RFC 7493) calls a source of disagreement between readers is
// refused: bytes that aren't UTF-8, a byte order mark, surrogates without their
// other half, and a name twice in one object, at any depth. So is nesting beyond
// 100 levels, and a field that is one of the known names but for letter case and
// punctuation: ignoring it would ignore what its sender meant. Other unknown
// fields are returned with the rest.
func strictObject(body []byte, known ...string) (map[string]json.RawMessage, *fieldError) {
	whole, wrong := oneObject(body)
	if wrong != nil {
		return nil, wrong
	}
	fields := make(map[string]json.RawMessage)
	decoder := json.NewDecoder(bytes.NewReader(whole))
	if _, err := decoder.Token(); err != nil {
		return nil, notJSON(err)
	}
	for decoder.More() {
		token, err := decoder.Token()
		if err != nil {
			return nil, notJSON(err)
		}
		name, _ := token.(string)
		if right, found := misspelled(name, known); found {
			return nil, &fieldError{Field: right, Problem: "must be spelled exactly like this: upper and lower case count, and nothing may be added"}
		}
		if _, found := fields[name]; found {
			return nil, repeated(name, known)
		}
		var value json.RawMessage
		if err := decoder.Decode(&value); err != nil {
			return nil, notJSON(err)
		}
		nested := json.NewDecoder(bytes.NewReader(value))
		nested.UseNumber() // A number that is too large for a float64 is still JSON.
		if wrong := checkNested(nested, 2); wrong != nil {
			return nil, wrong
		}
		fields[name] = value
	}
	return fields, nil
}

// oneObject returns the JSON text of the object that body consists of, without
// the white space around it.
func oneObject(body []byte) (json.RawMessage, *fieldError) {
	if bytes.HasPrefix(body, []byte("\ufeff")) {
		return nil, &fieldError{Problem: "must not begin with a byte order mark"}
	}
	if !utf8.Valid(body) {
		return nil, &fieldError{Problem: "must be valid UTF-8"}
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	var whole json.RawMessage
	if err := decoder.Decode(&whole); err != nil {
		return nil, notJSON(err)
	}
	if !bytes.HasPrefix(whole, []byte{'{'}) {
		return nil, &fieldError{Problem: "must be a JSON object, in braces"}
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, &fieldError{Problem: "must be one JSON object with nothing behind it"}
	}
	if hasLoneSurrogate(whole) {
		return nil, &fieldError{Problem: `must not have a \u escape of one half of a surrogate pair without the other`}
	}
	return whole, nil
}

func notJSON(err error) *fieldError {
	if syntax := (*json.SyntaxError)(nil); errors.As(err, &syntax) {
		return &fieldError{Problem: fmt.Sprintf("must be a JSON object; the mistake is at byte %d", syntax.Offset)}
	}
	return &fieldError{Problem: "must be a JSON object; it is empty or ends too early"}
}

func repeated(name string, known []string) *fieldError {
	if !slices.Contains(known, name) {
		return &fieldError{Problem: "must not have a field name twice in one object"}
	}
	return &fieldError{Field: name, Problem: "must not be there twice"}
}

// misspelled returns the known name that name is another spelling of.
func misspelled(name string, known []string) (right string, found bool) {
	if slices.Contains(known, name) {
		return "", false
	}
	bare := withoutPunctuation(name)
	for _, right := range known {
		if strings.EqualFold(bare, withoutPunctuation(right)) {
			return right, true
		}
	}
	return "", false
}

func withoutPunctuation(name string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			return r
		}
		return -1
	}, name)
}

// checkNested reads one value, and refuses a name twice in one object, and more
// than maxDepth levels. depth is the level that the value is on.
func checkNested(decoder *json.Decoder, depth int) *fieldError {
	token, err := decoder.Token()
	if err != nil {
		return notJSON(err)
	}
	opening, nests := token.(json.Delim)
	if !nests {
		return nil
	}
	if depth > maxDepth {
		return &fieldError{Problem: fmt.Sprintf("must not nest objects and arrays more than %d levels deep", maxDepth)}
	}
	names := make(map[string]bool)
	for decoder.More() {
		if opening == '{' {
			token, err := decoder.Token()
			if err != nil {
				return notJSON(err)
			}
			name, _ := token.(string)
			if names[name] {
				return repeated("", nil)
			}
			names[name] = true
		}
		if wrong := checkNested(decoder, depth+1); wrong != nil {
			return wrong
		}
	}
	if _, err := decoder.Token(); err != nil {
		return notJSON(err)
	}
	return nil
}

// hasLoneSurrogate reports whether valid JSON text has a \u escape of a
// surrogate code point that isn't one of a pair (RFC 8259, section 8.2). The
// standard library reads those as U+FFFD.
func hasLoneSurrogate(text []byte) bool {
	for {
		at := bytes.IndexByte(text, '\\')
		if at < 0 {
			return false
		}
		text = text[at:]
		first, ok := escapedUnit(text)
		if !ok {
			text = text[len(`\n`):]
			continue
		}
		text = text[len(`\u0000`):]
		if isLowSurrogate(first) {
			return true
		}
		if isHighSurrogate(first) {
			second, ok := escapedUnit(text)
			if !ok || !isLowSurrogate(second) {
				return true
			}
			text = text[len(`\u0000`):]
		}
	}
}

// escapedUnit returns the UTF-16 code unit of the \u escape that valid JSON text
// begins with.
func escapedUnit(text []byte) (unit uint16, ok bool) {
	if len(text) < len(`\u0000`) || text[0] != '\\' || text[1] != 'u' {
		return 0, false
	}
	value, err := strconv.ParseUint(string(text[2:6]), 16, 16)
	return uint16(value), err == nil
}

func isHighSurrogate(unit uint16) bool { return unit&0xfc00 == 0xd800 }
func isLowSurrogate(unit uint16) bool  { return unit&0xfc00 == 0xdc00 }
