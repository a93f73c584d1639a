package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// Settings are values of a project's policy. Of each field, the zero value
// says that it isn't set.
type Settings struct {
	// Enabled is whether tokens work at all.
	Enabled *bool `json:"enabled,omitzero"`
	// Generate says who may make tokens.
	Generate string `json:"generate,omitzero"`
	// Users are the ids that Generate may refer to. It is set if it isn't nil.
	Users []string `json:"users,omitzero"`
	// MaxLifetimeDays bounds new tokens' lifetimes; -1 is unlimited.
	MaxLifetimeDays int `json:"maxLifetimeDays,omitzero"`
}

// Over returns what s sets, and else what under does.
func (s Settings) Over(under Settings) Settings {
	if s.Enabled == nil {
		s.Enabled = under.Enabled
	}
	if s.Generate == "" {
		s.Generate = under.Generate
	}
	if s.Users == nil {
		s.Users = under.Users
	}
	if s.MaxLifetimeDays == 0 {
		s.MaxLifetimeDays = under.MaxLifetimeDays
	}
	return s
}

// settingsVersion is the first byte of encoded settings, as recordVersion is
// of a record.
const settingsVersion = 1

// Append appends s's encoding to b: the version, then JSON.
func (s Settings) Append(b []byte) []byte {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(s); err != nil {
		panic(err) // strings, numbers and a bool can be encoded
	}
	return append(append(b, settingsVersion), text.Bytes()...)
}

// DecodeSettings reads what Append wrote. It fails with ErrVersion or
// ErrCorrupt.
func DecodeSettings(b []byte) (s Settings, err error) {
	if len(b) > 0 && b[0] > settingsVersion {
		return Settings{}, fmt.Errorf("%w (settings format %d)", ErrVersion, b[0])
	}
	text, found := bytes.CutPrefix(b, []byte{settingsVersion})
	if !found {
		return Settings{}, ErrCorrupt
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&s); err != nil {
		return Settings{}, ErrCorrupt
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return Settings{}, ErrCorrupt
	}
	return s, nil
}
