package page

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"unicode/utf8"
)

// maxBody is the largest form read, in bytes.
const maxBody = 64 << 10

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
	body, err := io.ReadAll(http.MaxBytesReader(v.w, v.r.Body, maxBody))
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		return errTooLarge
	}
	if err != nil {
		return errBadForm
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
