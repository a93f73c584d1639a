package backup

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"
	"strconv"
	"strings"

	"filippo.io/age"
	"filippo.io/age/armor"
	"github.com/klauspost/compress/zstd"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
)

// Into is where a backup is read into. What is nil isn't wanted. Head comes first,
// then keys, records, uses, accounts and settings. What one of them returns ends the
// reading, and is returned.
type Into struct {
	Head     func(Head) error
	Key      func(text string) error
	Record   func(store.Record) error
	Use      func(store.Use) error
	Account  func(store.UserAccount) error
	Settings func(store.ProjectSettings) error
}

// Read reads a backup to its end, and returns nil if it is whole. So all that Into
// is given has to be dropped if Read fails: whoever can't do that reads twice, first
// into nothing.
//
// It fails with ErrNoBackup, ErrEncrypted, ErrVersion or ErrDamaged, or with what an
// error of from or of into is. Identities are asked in turn; there can be none.
func Read(from io.Reader, identities []age.Identity, into Into) (Summary, error) {
	sum, err := read(from, identities, into)
	switch {
	case errors.Is(err, store.ErrVersion):
		err = fmt.Errorf("%w (%w)", ErrVersion, err)
	case errors.Is(err, store.ErrCorrupt):
		err = fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return sum, err
}

const (
	ageTitle   = "age-encryption.org/"
	armorTitle = armor.Header
)

func read(from io.Reader, identities []age.Identity, into Into) (sum Summary, err error) {
	in := bufio.NewReader(from)
	begin, err := in.Peek(len(armorTitle))
	if err != nil && !errors.Is(err, io.EOF) {
		return sum, err
	}
	encrypted := true
	switch {
	case bytes.HasPrefix(begin, []byte(armorTitle)):
		from = armor.NewReader(in)
	case bytes.HasPrefix(begin, []byte(ageTitle)):
		from = in
	default:
		encrypted = false
	}
	if !encrypted {
		return readPlain(in, into)
	}
	if len(identities) == 0 {
		return Summary{Encrypted: true}, ErrEncrypted
	}
	plain, err := age.Decrypt(from, identities...)
	if _, ok := errors.AsType[*age.NoIdentityMatchError](err); ok {
		return Summary{Encrypted: true}, fmt.Errorf("%w; the one that was given isn't one of those", ErrEncrypted)
	}
	if err != nil {
		return Summary{Encrypted: true}, damaged("%v", err)
	}
	sum, err = readPlain(bufio.NewReader(ageReader{plain}), into)
	sum.Encrypted = true
	return sum, err
}

// ageReader tells what is wrong with an age file from other errors.
type ageReader struct{ io.Reader }

func (r ageReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = damaged("%v", err)
	}
	return n, err
}

func readPlain(in *bufio.Reader, into Into) (sum Summary, err error) {
	first, err := in.Peek(len(title))
	if err != nil && !errors.Is(err, io.EOF) {
		return sum, err
	}
	if string(first) != title {
		return sum, ErrNoBackup
	}
	summed := &summed{in: in, hash: sha256.New()}
	if err := readTitle(summed); err != nil {
		return sum, err
	}
	plain, err := zstd.NewReader(summed, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
	if err != nil {
		return sum, err
	}
	defer plain.Close()
	r := &reader{in: bufio.NewReaderSize(zstdReader{plain, summed}, 1<<16), into: into, sum: &sum}
	if err := r.sections(); err != nil {
		return sum, err
	}
	return sum, summed.check()
}

// readTitle reads the first line.
func readTitle(from io.Reader) error {
	var line []byte
	for one := make([]byte, 1); ; {
		if len(line) > len(title)+9 {
			return damaged("its first line is too long")
		}
		if _, err := io.ReadFull(from, one); err != nil {
			return ended(err)
		}
		if one[0] == '\n' {
			break
		}
		line = append(line, one[0])
	}
	text := strings.TrimPrefix(string(line), title)
	n, err := strconv.ParseUint(text, 10, 31)
	switch {
	case err != nil || n == 0 || text[0] == '0':
		return damaged("its first line is %q", line)
	case n > version:
		return fmt.Errorf("%w (its format is %d)", ErrVersion, n)
	}
	return nil
}

// ended makes an end that comes too early a damage.
func ended(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return damaged("its end is missing")
	}
	return err
}

// summed reads all but the checksum at the end, and computes it.
type summed struct {
	in   *bufio.Reader
	hash hash.Hash
	err  error // of in, but for its end
}

func (s *summed) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	_, err := s.in.Peek(sha256.Size + 1)
	if errors.Is(err, io.EOF) {
		return 0, io.EOF
	}
	if err != nil {
		s.err = err
		return 0, err
	}
	n, err := s.in.Read(p[:min(len(p), s.in.Buffered()-sha256.Size)])
	s.hash.Write(p[:n])
	return n, err
}

// check returns nil if nothing but the right checksum is left.
func (s *summed) check() error {
	if n, err := s.Read(make([]byte, 1)); n > 0 || !errors.Is(err, io.EOF) {
		if s.err != nil {
			return s.err
		}
		return damaged("something stands behind its end")
	}
	want, err := io.ReadAll(s.in)
	if err != nil {
		return err
	}
	if !bytes.Equal(want, s.hash.Sum(nil)) {
		return damaged("its SHA-256 isn't that of what it holds, or its end is missing")
	}
	return nil
}

// zstdReader tells what is wrong with the compression from other errors.
type zstdReader struct {
	io.Reader
	below *summed
}

func (r zstdReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	switch {
	case err == nil || errors.Is(err, io.EOF):
		return n, err
	case r.below.err != nil:
		return n, r.below.err
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return n, damaged("its end is missing")
	}
	return n, damaged("%v", err)
}

// reader reads sections.
type reader struct {
	in    *bufio.Reader
	into  Into
	sum   *Summary
	entry bytes.Buffer
	seen  []string
}

// section is what is done with the entries of one.
type section struct {
	count *int
	each  func([]byte) error
	// only is how many there have to be, 0 for any number.
	only int
}

func (r *reader) sections() error {
	known := map[string]section{
		headSection:     {nil, r.head, 1},
		keysSection:     {nil, r.key, 0},
		recordsSection:  {&r.sum.Records, decoded(store.DecodeRecord, r.into.Record), 0},
		usesSection:     {&r.sum.Uses, decoded(store.DecodeUse, r.into.Use), 0},
		accountsSection: {&r.sum.Accounts, decoded(store.DecodeUserAccount, r.into.Account), 0},
		settingsSection: {&r.sum.Settings, decoded(store.DecodeProjectSettings, r.into.Settings), 0},
	}
	for {
		name, mustKnow, err := r.name()
		if err != nil {
			return err
		}
		if name == "" {
			break
		}
		if slices.Contains(r.seen, name) || (name == headSection) != (len(r.seen) == 0) {
			return damaged("its section %q stands where it doesn't belong", name)
		}
		r.seen = append(r.seen, name)
		what, ok := known[name]
		if !ok && mustKnow {
			return fmt.Errorf("%w (what %q says in it has to be known)", ErrVersion, name)
		}
		if !ok {
			what.each = func([]byte) error { return nil }
		}
		if err := r.entries(what); err != nil {
			return err
		}
	}
	if _, err := r.in.ReadByte(); !errors.Is(err, io.EOF) {
		if err != nil {
			return err
		}
		return damaged("something stands behind its last section")
	}
	return r.complete()
}

// complete returns nil if all sections have been there, in their order.
func (r *reader) complete() error {
	at := 0
	for _, name := range r.seen {
		if at < len(required) && name == required[at] {
			at++
		}
	}
	if at < len(required) {
		return damaged("its section %q is missing", required[at])
	}
	return nil
}

// name reads how a section begins.
func (r *reader) name() (name string, mustKnow bool, err error) {
	length, err := r.in.ReadByte()
	if err != nil || length == 0 {
		return "", false, ended(err)
	}
	b := make([]byte, int(length)+1)
	if _, err := io.ReadFull(r.in, b); err != nil {
		return "", false, ended(err)
	}
	if b[length] > 1 {
		return "", false, damaged("a section's mark is %d", b[length])
	}
	return string(b[:length]), b[length] == 1, nil
}

func (r *reader) entries(s section) error {
	n := 0
	for {
		length, err := r.uvarint()
		if err != nil {
			return err
		}
		if length == 0 {
			break
		}
		if length > maxEntry {
			return damaged("an entry in it has %d bytes", length-1)
		}
		r.entry.Reset()
		// What isn't there takes no memory.
		if _, err := io.CopyN(&r.entry, r.in, int64(length-1)); err != nil {
			return ended(err)
		}
		if err := s.each(r.entry.Bytes()); err != nil {
			return err
		}
		n++
	}
	count, err := r.uvarint()
	if err != nil {
		return err
	}
	if count != uint64(n) || s.only != 0 && n != s.only {
		return damaged("a section in it has %d entries, and %d are there", count, n)
	}
	if s.count != nil {
		*s.count = n
	}
	return nil
}

// uvarint reads a number of at most 63 bits, as binary.AppendUvarint writes it.
func (r *reader) uvarint() (n uint64, err error) {
	for shift := 0; shift < 63; shift += 7 {
		b, err := r.in.ReadByte()
		if err != nil {
			return 0, ended(err)
		}
		n |= uint64(b&0x7f) << shift
		if b < 0x80 {
			return n, nil
		}
	}
	return 0, damaged("a number in it is too long")
}

func (r *reader) head(text []byte) (err error) {
	if r.sum.Head, err = parseHead(text); err == nil && r.into.Head != nil {
		err = r.into.Head(r.sum.Head)
	}
	return err
}

func (r *reader) key(text []byte) error {
	r.sum.WithKeys = true
	if r.into.Key == nil {
		return nil
	}
	return r.into.Key(string(text))
}

// decoded returns what decodes entries and hands them to each, if that isn't nil.
func decoded[T any](decode func([]byte) (T, error), each func(T) error) func([]byte) error {
	return func(b []byte) error {
		one, err := decode(b)
		if err != nil || each == nil {
			return err
		}
		return each(one)
	}
}
