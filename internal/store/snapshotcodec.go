package store

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/google/uuid"
)

// What a Snapshot holds beside records can be written down outside of a store, too:
// these encodings are for backups, and as durable as that of a Record.

// snapshotVersion is the first byte of an encoded Use, UserAccount or
// ProjectSettings, as recordVersion is of a record.
const snapshotVersion = 1

// Append appends u's encoding to b. Its time has millisecond precision.
func (u *Use) Append(b []byte) []byte {
	b = append(append(b, snapshotVersion), u.ID[:]...)
	b = appendTime(b, u.At)
	return appendString(b, string(u.Address.AsSlice()))
}

// DecodeUse reads what Append wrote. It fails with ErrVersion or ErrCorrupt.
func DecodeUse(b []byte) (u Use, err error) {
	d, err := decodeSnapshot(b, "use")
	if err != nil {
		return Use{}, err
	}
	u.ID = uuid.UUID([]byte(d.takeAll(len(u.ID))))
	u.At = d.time()
	if text := d.string(); text != "" {
		addr, ok := netip.AddrFromSlice([]byte(text))
		d.bad = d.bad || !ok
		u.Address = addr
	}
	if d.bad || d.s != "" {
		return Use{}, ErrCorrupt
	}
	return u, nil
}

// Append appends a's encoding to b.
func (a *UserAccount) Append(b []byte) []byte {
	swept := byte(0)
	if a.Swept {
		swept = 1
	}
	b = append(b, snapshotVersion, swept)
	b = appendString(appendString(b, a.Project), a.User)
	return a.Account.Append(b)
}

// DecodeUserAccount reads what Append wrote. It fails with ErrVersion or ErrCorrupt.
func DecodeUserAccount(b []byte) (a UserAccount, err error) {
	d, err := decodeSnapshot(b, "account")
	if err != nil {
		return UserAccount{}, err
	}
	swept := d.byte()
	a.Swept = swept == 1
	a.Project, a.User = d.string(), d.string()
	if d.bad || swept > 1 {
		return UserAccount{}, ErrCorrupt
	}
	if a.Account, err = DecodeAccount([]byte(d.s)); err != nil {
		return UserAccount{}, err
	}
	return a, nil
}

// Append appends p's encoding to b.
func (p *ProjectSettings) Append(b []byte) []byte {
	b = appendString(append(b, snapshotVersion), p.Project)
	b = binary.BigEndian.AppendUint64(b, p.Revision)
	return p.Settings.Append(b)
}

// DecodeProjectSettings reads what Append wrote. It fails with ErrVersion or
// ErrCorrupt.
func DecodeProjectSettings(b []byte) (p ProjectSettings, err error) {
	d, err := decodeSnapshot(b, "settings")
	if err != nil {
		return ProjectSettings{}, err
	}
	p.Project, p.Revision = d.string(), d.uint64()
	if d.bad {
		return ProjectSettings{}, ErrCorrupt
	}
	if p.Settings, err = DecodeSettings([]byte(d.s)); err != nil {
		return ProjectSettings{}, err
	}
	return p, nil
}

func decodeSnapshot(b []byte, what string) (*decoder, error) {
	if len(b) > 0 && b[0] > snapshotVersion {
		return nil, fmt.Errorf("%w (%s format %d)", ErrVersion, what, b[0])
	}
	d := &decoder{s: string(b)}
	if d.byte() != snapshotVersion {
		return nil, ErrCorrupt
	}
	return d, nil
}

// takeAll takes n bytes, zeros where they are missing.
func (d *decoder) takeAll(n int) string {
	if piece := d.take(n); piece != "" {
		return piece
	}
	return string(make([]byte, n))
}
