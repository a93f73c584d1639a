package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/netip"
	"slices"
	"time"
)

// recordVersion is the first byte of a record that this release writes. A store
// that meets a higher one was written by a newer release and must not guess.
//
// Version 1 had no number, scopes or addresses, and no revision of its
// creation: while it wasn't revoked that was its revision, since nothing else
// could change it.
const recordVersion = 2

var (
	// ErrVersion reports a record written by a newer release.
	ErrVersion = errors.New("the record was written by a newer release of this module; upgrade to read it")
	// ErrCorrupt reports bytes that are no record.
	ErrCorrupt = errors.New("the record is damaged")
)

// Flags of an encoded record.
const (
	flagAdmin = 1 << iota
	flagParent
	flagRevoked
	flagScopes
	flagAddresses
)

// Append appends r's encoding to b: the version, flags, fixed fields, and then
// strings with their length before them.
func (r *Record) Append(b []byte) []byte {
	var flags byte
	if r.SignedInAdmin {
		flags |= flagAdmin
	}
	if r.Parent != (Record{}).Parent {
		flags |= flagParent
	}
	if r.IsRevoked() {
		flags |= flagRevoked
	}
	if len(r.Scopes) > 0 {
		flags |= flagScopes
	}
	if len(r.Addresses) > 0 {
		flags |= flagAddresses
	}
	b = append(b, recordVersion, flags)
	b = append(b, r.ID[:]...)
	b = append(b, r.Hash[:]...)
	b = append(b, r.Key[:]...)
	b = binary.BigEndian.AppendUint64(b, r.Revision)
	b = appendTime(b, r.Created)
	b = binary.BigEndian.AppendUint64(b, uint64(r.Lifetime))
	b = appendTime(b, r.SignedIn)
	b = binary.BigEndian.AppendUint64(b, r.Number)
	b = binary.BigEndian.AppendUint64(b, r.CreatedRevision)
	if flags&flagParent != 0 {
		b = append(b, r.Parent[:]...)
	}
	if flags&flagRevoked != 0 {
		b = appendTime(b, r.Revoked)
	}
	for _, s := range []string{r.Project, r.User.ID, r.User.Email, r.User.Name, r.Description} {
		b = appendString(b, s)
	}
	b = binary.AppendUvarint(b, uint64(len(r.User.Claims)))
	for _, name := range slices.Sorted(maps.Keys(r.User.Claims)) {
		b = appendString(b, name)
		b = appendString(b, r.User.Claims[name])
	}
	if flags&flagScopes != 0 {
		b = binary.AppendUvarint(b, uint64(len(r.Scopes)))
		for _, name := range r.Scopes {
			b = appendString(b, name)
		}
	}
	if flags&flagAddresses != 0 {
		b = binary.AppendUvarint(b, uint64(len(r.Addresses)))
		for _, prefix := range r.Addresses {
			b = append(appendString(b, string(prefix.Addr().AsSlice())), byte(prefix.Bits()))
		}
	}
	return b
}

// DecodeRecord reads what Append writes, or wrote in an earlier release, and
// nothing else. It copies b once. It fails with ErrVersion or ErrCorrupt.
func DecodeRecord(b []byte) (Record, error) {
	if len(b) > 0 && b[0] > recordVersion {
		return Record{}, fmt.Errorf("%w (format %d)", ErrVersion, b[0])
	}
	d := decoder{s: string(b)}
	var r Record
	version, flags := d.byte(), d.byte()
	known := byte(flagRevoked<<1 - 1)
	if version > 1 {
		known = flagAddresses<<1 - 1
	}
	if version == 0 || flags&^known != 0 {
		return Record{}, ErrCorrupt
	}
	copy(r.ID[:], d.take(len(r.ID)))
	copy(r.Hash[:], d.take(len(r.Hash)))
	copy(r.Key[:], d.take(len(r.Key)))
	r.Revision = d.uint64()
	r.Created = d.time()
	r.Lifetime = int64(d.uint64())
	r.SignedIn = d.time()
	r.SignedInAdmin = flags&flagAdmin != 0
	r.CreatedRevision = r.Revision
	if version > 1 {
		r.Number, r.CreatedRevision = d.uint64(), d.uint64()
	}
	if flags&flagParent != 0 {
		copy(r.Parent[:], d.take(len(r.Parent)))
		d.bad = d.bad || r.Parent == (Record{}).Parent
	}
	if flags&flagRevoked != 0 {
		r.Revoked = d.time()
		d.bad = d.bad || r.Revoked.IsZero()
	}
	r.Project = d.string()
	r.User.ID = d.string()
	r.User.Email = d.string()
	r.User.Name = d.string()
	r.Description = d.string()
	r.User.Claims = d.claims()
	if flags&flagScopes != 0 {
		r.Scopes = list(&d, d.string)
	}
	if flags&flagAddresses != 0 {
		r.Addresses = list(&d, d.prefix)
	}
	wrong := d.bad || d.s != "" ||
		r.Lifetime < Never || r.Lifetime == 0 || r.Lifetime > math.MaxInt64/int64(time.Second)
	if wrong {
		return Record{}, ErrCorrupt
	}
	return r, nil
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// appendTime writes milliseconds since 1970, and the smallest number for the
// zero time.
func appendTime(b []byte, t time.Time) []byte {
	ms := int64(math.MinInt64)
	if !t.IsZero() {
		ms = t.UnixMilli()
	}
	return binary.BigEndian.AppendUint64(b, uint64(ms))
}

// decoder takes pieces off the front of s. Once something is missing it is bad
// and gives zeros.
type decoder struct {
	s   string
	bad bool
}

func (d *decoder) take(n int) string {
	if d.bad || n < 0 || n > len(d.s) {
		d.bad = true
		return ""
	}
	piece := d.s[:n]
	d.s = d.s[n:]
	return piece
}

func (d *decoder) byte() byte {
	if b := d.take(1); b != "" {
		return b[0]
	}
	return 0
}

func (d *decoder) uint64() (n uint64) {
	for _, c := range []byte(d.take(8)) {
		n = n<<8 | uint64(c)
	}
	return n
}

func (d *decoder) time() time.Time {
	ms := int64(d.uint64())
	if ms == math.MinInt64 || d.bad {
		return time.Time{}
	}
	t := time.UnixMilli(ms).UTC()
	d.bad = d.bad || t.IsZero()
	return t
}

// length reads a uvarint, refusing spellings longer than needed, so that equal
// records have equal bytes.
func (d *decoder) length() int {
	var n uint64
	for shift := 0; shift < 28; shift += 7 {
		c := d.byte()
		n |= uint64(c&0x7f) << shift
		if c < 0x80 {
			d.bad = d.bad || c == 0 && shift > 0
			return int(n)
		}
	}
	d.bad = true
	return 0
}

func (d *decoder) string() string { return d.take(d.length()) }

func (d *decoder) claims() map[string]string {
	n := d.length()
	if n == 0 || n > len(d.s) {
		d.bad = d.bad || n > 0
		return nil
	}
	claims := make(map[string]string)
	last := ""
	for i := range n {
		name := d.string()
		if d.bad || i > 0 && name <= last {
			d.bad = true
			return nil
		}
		last, claims[name] = name, d.string()
	}
	return claims
}

// list reads one or more of what read reads.
func list[T any](d *decoder, read func() T) (all []T) {
	n := d.length()
	d.bad = d.bad || n == 0 || n > len(d.s)
	for range n {
		if d.bad {
			return nil
		}
		all = append(all, read())
	}
	return all
}

func (d *decoder) prefix() netip.Prefix {
	addr, ok := netip.AddrFromSlice([]byte(d.string()))
	prefix := netip.PrefixFrom(addr, int(d.byte()))
	d.bad = d.bad || !ok || !prefix.IsValid()
	return prefix
}
