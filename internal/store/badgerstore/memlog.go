package badgerstore

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"strconv"
)

// The log of a memtable, as Badger 4.9.6 writes it without encryption (its
// memtable.go): a header of a key's number, zero, and 12 random bytes; then
// entries, and zeros from where they end.
//
//	entry: meta, user's meta, key length, value length, expiry, key, value, CRC-32C
//
// The lengths and the expiry are varints, the checksum is of all before it. The
// entries of a transaction carry a mark, and the one that ends it another.
//
// Where an entry is damaged Badger takes that for the end and cuts the rest off.
const (
	memLogHeader  = 8 + 12
	metaInTxn     = 1 << 6
	metaEndsTxn   = 1 << 7
	longestMemKey = 1 << 16
)

// memLog is what Badger will find in a memtable's log.
type memLog struct {
	// first and last are the revisions of the first and the last batch, zero if
	// there is none.
	first, last uint64
	// follows is the revision that the first batch says it follows, and store
	// which store it is of, if it says so.
	follows uint64
	store   storeID
	says    bool
	// meta is what the database says of itself.
	meta versions
	// gap is where a batch doesn't follow the one before it.
	gap uint64
}

// readMemLog replays a log as Badger does.
func readMemLog(b []byte) (l memLog, err error) {
	defer recovered(&err)
	if len(b) < memLogHeader {
		return l, nil // Badger begins it anew
	}
	if binary.BigEndian.Uint64(b) != 0 {
		return l, damaged("its header is wrong")
	}
	b = b[memLogHeader:]
	var txn uint64 // version of the transaction under way
	var says *batchMeta
	var meta []memEntry
	for {
		e, rest, ok := nextMemEntry(b)
		if !ok {
			return l, nil
		}
		b = rest
		switch {
		case e.meta&metaInTxn != 0:
			if len(e.key) < 8 || txn != 0 && txn != e.version() {
				return l, nil
			}
			txn = e.version()
			if e.key[0] == spaceMeta {
				meta = append(meta, e)
			}
			if bytes.Equal(withoutVersion(e.key), metaRevision) {
				if m, ok := decodeBatchMeta(e.value); ok {
					says = &m
				}
			}
		case e.meta&metaEndsTxn != 0:
			end, err := strconv.ParseUint(string(e.value), 10, 64)
			if err != nil || end != txn {
				return l, nil
			}
			l.add(txn, says)
			for _, e := range meta {
				l.meta.add(e.key, e.value)
			}
			txn, says, meta = 0, nil, nil
		case txn != 0:
			return l, nil
		}
	}
}

// add notes a whole transaction.
func (l *memLog) add(revision uint64, says *batchMeta) {
	switch {
	case l.first == 0:
		l.first = revision
		if says != nil {
			l.follows, l.store, l.says = says.follows, says.store, true
		}
	case says != nil && says.follows != l.last && l.gap == 0, says != nil && l.says && says.store != l.store:
		l.gap = revision
	}
	l.last = revision
}

type memEntry struct {
	meta       byte
	key, value []byte
}

func (e memEntry) version() uint64 { return versionOf(e.key) }

func nextMemEntry(b []byte) (e memEntry, rest []byte, ok bool) {
	at := 2
	var lengths [3]uint64 // of key and value; the expiry
	for i := range lengths {
		if at > len(b) {
			return e, nil, false
		}
		n, size := binary.Uvarint(b[at:])
		if size <= 0 {
			return e, nil, false
		}
		lengths[i] = n
		at += size
	}
	key, value := lengths[0], lengths[1]
	left := uint64(len(b) - at)
	if key == 0 || key > longestMemKey || value > left || key+value+crc32.Size > left {
		return e, nil, false
	}
	end := at + int(key+value)
	if crc32.Checksum(b[:end], castagnoli) != binary.BigEndian.Uint32(b[end:]) {
		return e, nil, false
	}
	e = memEntry{b[0], b[at : at+int(key)], b[at+int(key) : end]}
	return e, b[end+crc32.Size:], true
}
