package badgerstore

import (
	"bytes"
	"encoding/binary"

	"github.com/google/uuid"
)

// storeID tells a store from all others.
type storeID = uuid.UUID

// batchMeta is written with every batch, under metaRevision: at which revision
// the store is with it, which one the batch follows, and which store it is of.
// So a log that has lost its beginning, or is another store's, can be told.
// Earlier releases wrote the revision alone.
type batchMeta struct {
	revision, follows uint64
	store             storeID
}

func (m batchMeta) encode() []byte {
	b := binary.BigEndian.AppendUint64(nil, m.revision)
	b = binary.BigEndian.AppendUint64(b, m.follows)
	return append(b, m.store[:]...)
}

// decodeBatchMeta reads what encode wrote; not ok if it isn't all there.
func decodeBatchMeta(b []byte) (m batchMeta, ok bool) {
	if len(b) != 8+8+len(m.store) {
		return m, false
	}
	m.revision = binary.BigEndian.Uint64(b)
	m.follows = binary.BigEndian.Uint64(b[8:])
	copy(m.store[:], b[16:])
	return m, true
}

// versions are the newest values of keys, in whatever order they are found.
type versions map[string]struct {
	version uint64
	value   []byte
}

// add notes a key with its version.
func (v *versions) add(key, value []byte) {
	if *v == nil {
		*v = make(versions)
	}
	k, version := string(withoutVersion(key)), versionOf(key)
	if now, ok := (*v)[k]; !ok || version >= now.version {
		now.version, now.value = version, bytes.Clone(value)
		(*v)[k] = now
	}
}

func (v *versions) addAll(w versions) {
	for key, e := range w {
		if *v == nil {
			*v = make(versions)
		}
		if now, ok := (*v)[key]; !ok || e.version >= now.version {
			(*v)[key] = e
		}
	}
}

// get returns a key's value, nil if there is none.
func (v versions) get(key []byte) []byte { return v[string(key)].value }
