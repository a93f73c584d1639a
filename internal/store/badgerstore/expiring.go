package badgerstore

import (
	"encoding/binary"
	"errors"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/google/uuid"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
)

// Expiring implements store.Reader.
func (s *Store) Expiring(after store.Expiry, before time.Time, limit int) (next []store.Expiry, err error) {
	first := timeKey(spaceExpires, after.At, after.ID)
	if after == (store.Expiry{}) {
		first = []byte{spaceExpires}
	}
	end := uint64(max(0, before.UnixMilli()))
	err = s.read(func(txn *snapshot) error {
		return iterateFrom(txn, []byte{spaceExpires}, append(first, 0), false, func(item *badger.Item) (bool, error) {
			at := binary.BigEndian.Uint64(item.Key()[1:])
			if at >= end || len(next) >= limit {
				return false, nil
			}
			next = append(next, store.Expiry{At: time.UnixMilli(int64(at)).UTC(), ID: uuid.UUID(item.Key()[9:])})
			return true, nil
		})
	})
	return next, err
}

// Told implements store.Reader.
func (s *Store) Told() (upto []store.Expiry, err error) {
	err = s.read(func(txn *snapshot) error {
		told, err := get(txn, metaTold)
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		if err == nil && len(told)%expiryLength != 0 {
			err = unavailable(store.ErrCorrupt)
		}
		for ; err == nil && len(told) > 0; told = told[expiryLength:] {
			upto = append(upto, store.Expiry{At: time.UnixMilli(int64(binary.BigEndian.Uint64(told))).UTC(), ID: uuid.UUID(told[8:expiryLength])})
		}
		return err
	})
	return upto, err
}

const expiryLength = 8 + 16

func appendExpiries(b []byte, all []store.Expiry) []byte {
	for _, e := range all {
		b = appendTimeID(b, e.At, e.ID)
	}
	return b
}
