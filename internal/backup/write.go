package backup

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"time"

	"filippo.io/age"
	"github.com/klauspost/compress/zstd"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
)

// Options say how a backup is written.
type Options struct {
	// Time is now.
	Time time.Time
	// Recipients are those it is encrypted to, none for a plain file.
	Recipients []age.Recipient
	// Keys are the texts of the hash keys that go with it, mostly none.
	Keys []string
}

// ParseRecipients reads age's public keys, such as age1…. What it refuses isn't said:
// it could be a secret.
func ParseRecipients(texts []string) (all []age.Recipient, err error) {
	for i, text := range texts {
		one, err := age.ParseRecipients(bytes.NewReader([]byte(text)))
		if err != nil || len(one) != 1 {
			return nil, fmt.Errorf("recipient %d is no public key of age; write one such as `age-keygen` prints, which begins with age1", i+1)
		}
		all = append(all, one[0])
	}
	return all, nil
}

// Write writes all that a snapshot holds. When it returns an error, what has been
// written is no backup: its end is missing.
func Write(to io.Writer, s store.Snapshot, o Options) (Summary, error) {
	if len(o.Keys) > 0 && len(o.Recipients) == 0 {
		return Summary{}, ErrKeyWithoutRecipients
	}
	if len(o.Recipients) == 0 {
		return writePlain(to, s, o)
	}
	inside, err := age.Encrypt(to, o.Recipients...)
	if err != nil {
		return Summary{}, err
	}
	sum, err := writePlain(inside, s, o)
	if err != nil {
		return sum, err // without its last piece it can't be read to the end
	}
	sum.Encrypted = true
	return sum, inside.Close()
}

func writePlain(to io.Writer, s store.Snapshot, o Options) (sum Summary, err error) {
	hash := sha256.New()
	both := io.MultiWriter(to, hash)
	if _, err := fmt.Fprintf(both, "%s%d\n", title, version); err != nil {
		return sum, err
	}
	compressed, err := zstd.NewWriter(both, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(window))
	if err != nil {
		return sum, err
	}
	sum = Summary{Head: Head{s.Head(), o.Time}, WithKeys: len(o.Keys) > 0}
	w := &writer{to: compressed}
	if err := w.sections(s, o, &sum); err != nil {
		// Close would write on.
		compressed.Reset(io.Discard)
		_ = compressed.Close()
		return sum, err
	}
	if err := compressed.Close(); err != nil {
		return sum, err
	}
	_, err = to.Write(hash.Sum(nil))
	return sum, err
}

// writer writes sections.
type writer struct {
	to      io.Writer
	entries int
	buffer  []byte
	err     error // what keeps it from going on
}

func (w *writer) sections(s store.Snapshot, o Options, sum *Summary) error {
	w.section(headSection, true, nil, func() error { return w.entry(sum.append()) })
	if sum.WithKeys {
		w.section(keysSection, false, nil, func() error {
			for _, text := range o.Keys {
				if err := w.entry([]byte(text)); err != nil {
					return err
				}
			}
			return nil
		})
	}
	w.section(recordsSection, true, &sum.Records, func() error {
		return s.Records(func(r store.Record) error { return w.entry(r.Append(w.buffer[:0])) })
	})
	w.section(usesSection, false, &sum.Uses, func() error {
		return s.Uses(func(u store.Use) error { return w.entry(u.Append(w.buffer[:0])) })
	})
	w.section(accountsSection, true, &sum.Accounts, func() error {
		return s.Accounts(func(a store.UserAccount) error { return w.entry(a.Append(w.buffer[:0])) })
	})
	w.section(settingsSection, true, &sum.Settings, func() error {
		return s.Settings(func(p store.ProjectSettings) error { return w.entry(p.Append(w.buffer[:0])) })
	})
	w.write([]byte{0})
	return w.err
}

// section writes a section, whose entries write writes, and how many they are to count.
func (w *writer) section(name string, known bool, count *int, write func() error) {
	mark := byte(0)
	if known {
		mark = 1
	}
	w.entries = 0
	w.write(append(append([]byte{byte(len(name))}, name...), mark))
	if w.err == nil {
		w.err = write()
	}
	w.write(binary.AppendUvarint([]byte{0}, uint64(w.entries)))
	if count != nil {
		*count = w.entries
	}
}

// entry writes an entry. Its bytes are used again afterwards.
func (w *writer) entry(b []byte) error {
	w.buffer = b
	if len(b) > maxEntry {
		w.err = store.ErrTooLarge
	}
	var length [binary.MaxVarintLen64]byte
	w.write(length[:binary.PutUvarint(length[:], uint64(len(b))+1)])
	w.write(b)
	w.entries++
	return w.err
}

func (w *writer) write(b []byte) {
	if w.err == nil {
		_, w.err = w.to.Write(b)
	}
}
