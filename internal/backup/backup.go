// Package backup writes what a store holds to one file, and reads such files.
//
// A backup is made to be read in ten years, by a later release, on another kind of
// store. Its layout is this:
//
//	caddy-access-tokens backup 1 ⏎         the format's version, as text
//	sections, compressed by zstd           RFC 8878, in one stream
//	SHA-256 of all that stands before it   32 bytes, the end of the file
//
// If it is encrypted, all of that is the content of an age file (age-encryption.org/v1),
// as `age` itself would make it and open it.
//
// A section has a name, whether a reader has to know it, and entries:
//
//	length of the name (1 byte), name, 1 if readers have to know it and else 0
//	entries: length + 1 (uvarint), bytes
//	0, number of entries (uvarint)
//
// A name of length 0 ends the sections, and nothing may follow. The section "head"
// comes first; no section comes twice. A reader that doesn't know a section refuses
// the file if it has to know it, and else passes over it: a release that adds a
// section without which a restored store would let something through that the backed
// up one didn't, or could do less, marks it so. What only makes a store nicer to look
// at, such as last uses, isn't. Entries have versions of their own (package store).
// Within the head, which is JSON, fields that a reader doesn't know are passed over,
// so that nothing can be there that has to be known.
//
// Everything is written and read as a stream, an entry at a time.
package backup

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/token"
)

const (
	// title and version are the first line.
	title   = "caddy-access-tokens backup "
	version = 1

	// maxEntry is longer than any entry ever written, in bytes: the longest are
	// settings, whose lists of users come from requests of at most 64 KiB.
	maxEntry = 16 << 20
	// window is how far back the compression looks. It is what both sides have in
	// memory; a reader takes maxWindow.
	window, maxWindow = 1 << 20, 8 << 20
)

// The names of sections.
const (
	headSection     = "head"
	keysSection     = "keys"
	recordsSection  = "records"
	usesSection     = "uses"
	accountsSection = "accounts"
	settingsSection = "settings"
)

// required are the sections that every backup has. They stand in this order.
var required = []string{headSection, recordsSection, accountsSection, settingsSection}

var (
	// ErrNoBackup says that a file isn't a backup, as far as can be seen.
	ErrNoBackup = errors.New("it is no backup of access tokens")
	// ErrEncrypted says that identities are needed to read a backup.
	ErrEncrypted = errors.New("it is encrypted: give the file of an age identity that it is encrypted to")
	// ErrVersion says that a newer release has made a backup.
	ErrVersion = errors.New("a newer release of this module made it: upgrade to read it")
	// ErrDamaged says that a backup isn't what was written, or not all of it.
	ErrDamaged = errors.New("it is damaged")
	// ErrKeyWithoutRecipients says that a backup that nobody has encrypted is to
	// have hash keys.
	ErrKeyWithoutRecipients = errors.New("hash keys are put into an encrypted backup only: give recipients, too")
)

func damaged(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrDamaged, fmt.Sprintf(format, args...))
}

// Head says what a backup is of.
type Head struct {
	store.Head
	// Time is when it was begun.
	Time time.Time
}

// headText is Head as it is written.
type headText struct {
	Time     time.Time `json:"time"`
	Epoch    uint64    `json:"epoch"`
	Revision uint64    `json:"revision"`
	Store    uuid.UUID `json:"store,omitzero"`
	Keys     []string  `json:"keys"`
	Number   uint64    `json:"number"`
	Clock    time.Time `json:"clock"`
}

func (h *Head) append() []byte {
	t := headText{h.Time.UTC(), h.Epoch, h.Revision, h.Store, nil, h.Number, h.Clock.UTC()}
	for _, id := range h.Keys {
		t.Keys = append(t.Keys, id.String())
	}
	text, err := json.Marshal(t)
	if err != nil {
		panic(err) // times, numbers and texts can be encoded
	}
	return text
}

func parseHead(text []byte) (h Head, err error) {
	var t headText
	if err := json.Unmarshal(text, &t); err != nil {
		return h, damaged("its head: %v", err)
	}
	h = Head{store.Head{Position: store.Position{Epoch: t.Epoch, Revision: t.Revision}, Store: t.Store, Number: t.Number, Clock: t.Clock}, t.Time}
	for _, text := range t.Keys {
		id, err := hex.DecodeString(text)
		if err != nil || len(id) != len(token.KeyID{}) {
			return h, damaged("its head names no hash key by %q", text)
		}
		h.Keys = append(h.Keys, token.KeyID(id))
	}
	if h.Epoch == 0 || len(h.Keys) == 0 {
		return h, damaged("its head says too little")
	}
	return h, nil
}

// Summary says what a backup holds.
type Summary struct {
	Head
	// How many there are of each. Records are of tokens; those of deleted ones stay
	// for a while.
	Records, Uses, Accounts, Settings int
	// WithKeys: the hash keys are in it.
	WithKeys bool
	// Encrypted: it could only be read by an identity.
	Encrypted bool
}
