package badgerstore

import (
	"encoding/binary"
	"errors"

	"github.com/dgraph-io/badger/v4"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
)

// placeLength is how long a line's place is as a key: epoch, revision, number.
const placeLength = 8 + 8 + 2

func lineKey(p store.LinePlace) []byte {
	key := binary.BigEndian.AppendUint64([]byte{spaceOutbox}, p.Epoch)
	key = binary.BigEndian.AppendUint64(key, p.Revision)
	return binary.BigEndian.AppendUint16(key, p.Number)
}

// post is what puts lines into the outbox at a position.
func post(txn *snapshot, at store.Position, lines [][]byte) ([]write, error) {
	if len(lines) == 0 {
		return nil, nil
	}
	if len(lines) > 1<<16 {
		return nil, store.ErrTooLarge
	}
	size, err := counter(txn, metaOutbox)
	if err != nil {
		return nil, err
	}
	var writes []write
	for i, line := range lines {
		size += uint64(len(line))
		if line == nil {
			line = nothing
		}
		writes = append(writes, write{lineKey(store.LinePlace{Position: at, Number: uint16(i)}), line})
	}
	if size > store.MaxOutbox {
		return nil, store.ErrOutboxFull
	}
	return append(writes, counterWrite(metaOutbox, size)), nil
}

// delivered takes lines out of the outbox.
func delivered(txn *snapshot, m store.Delivered) (writes []write, err error) {
	size, err := counter(txn, metaOutbox)
	if err != nil {
		return nil, err
	}
	seen := make(map[store.LinePlace]bool, len(m.Lines))
	for _, place := range m.Lines {
		key := lineKey(place)
		item, err := find(txn, key)
		if errors.Is(err, store.ErrNotFound) || seen[place] {
			continue
		}
		if err != nil {
			return nil, err
		}
		seen[place] = true
		size -= min(size, uint64(item.ValueSize()))
		writes = append(writes, write{key, nil})
	}
	if len(writes) > 0 {
		writes = append(writes, counterWrite(metaOutbox, size))
	}
	if m.Receipt != nil {
		writes = append(writes, write{metaReceipt, m.Receipt})
	}
	return writes, nil
}

// Receipt implements store.Store.
func (s *Store) Receipt() (receipt []byte, err error) {
	err = s.read(func(txn *snapshot) error {
		item, err := find(txn, metaReceipt)
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		if err == nil {
			receipt, err = item.ValueCopy(nil)
		}
		return unavailable(err)
	})
	return receipt, err
}

// Outbox implements store.Store.
func (s *Store) Outbox(after store.LinePlace) (lines []store.Line, err error) {
	const (
		most      = 256
		mostBytes = 1 << 20
	)
	size := 0
	prefix := []byte{spaceOutbox}
	from := prefix
	if after != (store.LinePlace{}) {
		from = append(lineKey(after), 0)
	}
	err = s.read(func(txn *snapshot) error {
		return iterateFrom(txn, prefix, from, false, func(item *badger.Item) (bool, error) {
			key := item.Key()[1:]
			if len(key) != placeLength {
				return false, unavailable(store.ErrCorrupt)
			}
			text, err := item.ValueCopy(nil)
			if err != nil {
				return false, unavailable(err)
			}
			lines = append(lines, store.Line{LinePlace: store.LinePlace{
				Position: store.Position{Epoch: binary.BigEndian.Uint64(key), Revision: binary.BigEndian.Uint64(key[8:])},
				Number:   binary.BigEndian.Uint16(key[16:]),
			}, Text: text})
			size += len(text)
			return len(lines) < most && size < mostBytes, nil
		})
	})
	return lines, err
}
