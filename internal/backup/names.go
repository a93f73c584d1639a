package backup

import (
	"strings"
	"time"
)

// Backups that nobody has named are named for when they were made, so that their
// names sort by time.
const (
	namePrefix = "access-tokens-"
	nameTime   = "20060102T150405Z"
	suffix     = ".backup"
	encrypted  = ".age"
)

// Name is the name of a backup that is made at a time.
func Name(at time.Time, isEncrypted bool) string {
	name := namePrefix + at.UTC().Format(nameTime) + suffix
	if isEncrypted {
		name += encrypted
	}
	return name
}

// NamedAt returns when a backup of that name was made; false if Name makes no such
// name.
func NamedAt(name string) (time.Time, bool) {
	text, ok := strings.CutPrefix(strings.TrimSuffix(name, encrypted), namePrefix)
	if !ok {
		return time.Time{}, false
	}
	text, ok = strings.CutSuffix(text, suffix)
	at, err := time.Parse(nameTime, text)
	return at, ok && err == nil
}

// IsEncrypted tells whether a file that begins so is encrypted.
func IsEncrypted(begin []byte) bool {
	return strings.HasPrefix(string(begin), ageTitle) || strings.HasPrefix(string(begin), armorTitle)
}
