package badgerstore

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"

	"github.com/dgraph-io/badger/v4/fb"
)

// Badger's tables, as version 4.9.6 writes them without compression and
// encryption (its table/builder.go):
//
//	table: blocks, index, index length, checksum, checksum length
//	block: entries, their offsets, their number, checksum, checksum length
//
// Lengths and numbers are big-endian uint32; a checksum is the protocol buffer
// {2: CRC-32C of what stands before it}. The index is a flat buffer with each
// block's first key, offset and length. So every byte is either under a checksum
// or can have one value only, and no damage of a few bits goes unseen.
//
// Badger itself believes most of this: what is wrong there is a missing key, a
// panic, or the end of the process.

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// errDamaged is what reading a damaged file fails with.
var errDamaged = errors.New("damaged")

func damaged(what string, args ...any) error {
	return fmt.Errorf("%w: %s", errDamaged, fmt.Sprintf(what, args...))
}

// table is what is known of a table's file from its index, which has been
// checked, and from its last block.
type table struct {
	smallest, biggest []byte // keys without versions
	maxVersion        uint64
	size              int64
	index             *fb.TableIndex
	indexSum          uint32
	indexStart        int64
}

// recovered turns a panic into damage: the readers of a format that has been
// checked rely on it, and it may be damaged in a way that a checksum misses.
func recovered(err *error) {
	if r := recover(); r != nil {
		*err = damaged("reading it panics: %v", r)
	}
}

// openTable reads a table's index.
func openTable(f *os.File) (t *table, err error) {
	defer recovered(&err)
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	t = &table{size: info.Size()}
	tail := tailReader{f, t.size}
	want, err := tail.checksum()
	if err != nil {
		return nil, err
	}
	length, err := tail.uint32()
	if err != nil {
		return nil, err
	}
	index, err := tail.take(int64(length))
	if err != nil {
		return nil, err
	}
	if t.indexSum = crc32.Checksum(index, castagnoli); t.indexSum != want {
		return nil, damaged("its index doesn't match the checksum")
	}
	t.indexStart = tail.end
	t.index = fb.GetRootAsTableIndex(index, 0)
	t.maxVersion = t.index.MaxVersion()
	blocks := t.index.OffsetsLength()
	if blocks == 0 {
		return nil, damaged("it has no blocks")
	}
	_, first, _ := t.block(0)
	t.smallest = bytes.Clone(withoutVersion(first))
	last, err := t.readBlock(io.NewSectionReader(f, 0, t.indexStart), blocks-1)
	if err != nil {
		return nil, err
	}
	if t.biggest, err = last.biggest(); err != nil {
		return nil, err
	}
	return t, nil
}

// block returns where the nth block is, and its first key.
func (t *table) block(n int) (offset int64, key []byte, length int64) {
	var b fb.BlockOffset
	t.index.Offsets(&b, n)
	return int64(b.Offset()), b.KeyBytes(), int64(b.Len())
}

func (t *table) readBlock(r io.ReaderAt, n int) (block, error) {
	offset, _, length := t.block(n)
	if offset+length > t.indexStart {
		return block{}, damaged("a block is beyond its end")
	}
	b := make([]byte, length)
	if _, err := r.ReadAt(b, offset); err != nil {
		return block{}, unexpected(err)
	}
	return checkBlock(b)
}

// verify reads the whole table and returns what tells it from other tables: a
// checksum of its index and of its blocks' checksums. pace is called with the
// number of bytes that are about to be read.
func (t *table) verify(f io.ReaderAt, pace func(int)) (sum uint32, err error) {
	defer recovered(&err)
	const chunk = 1 << 20
	in := bufio.NewReaderSize(io.NewSectionReader(f, 0, t.indexStart), chunk)
	sum = t.indexSum
	var buffer []byte
	var sumBytes [4]byte
	next := int64(0)
	for n := range t.index.OffsetsLength() {
		offset, first, length := t.block(n)
		if offset != next || length > t.indexStart-offset {
			return 0, damaged("its index doesn't match its blocks")
		}
		next += length
		pace(int(length))
		if int64(cap(buffer)) < length {
			buffer = make([]byte, length)
		}
		buffer = buffer[:length]
		if _, err := io.ReadFull(in, buffer); err != nil {
			return 0, unexpected(err)
		}
		b, err := checkBlock(buffer)
		if err != nil {
			return 0, err
		}
		if key, err := b.key(0); err != nil || !bytes.Equal(key, first) {
			return 0, damaged("a block doesn't begin with the key that the index says")
		}
		binary.BigEndian.PutUint32(sumBytes[:], b.sum)
		sum = crc32.Update(sum, castagnoli, sumBytes[:])
	}
	if next != t.indexStart {
		return 0, damaged("its index doesn't match its blocks")
	}
	return sum, nil
}

// unexpected says what a file's early end is.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return damaged("it is too short")
	}
	return err
}

// eachUnder calls f with the entries whose keys begin with a prefix.
func (t *table) eachUnder(r io.ReaderAt, prefix []byte, f func(key, value []byte)) (err error) {
	defer recovered(&err)
	for n := range t.index.OffsetsLength() {
		_, first, _ := t.block(n)
		if bytes.Compare(first, endOf(prefix)) >= 0 {
			return nil
		}
		if n+1 < t.index.OffsetsLength() {
			if _, next, _ := t.block(n + 1); bytes.Compare(next, prefix) < 0 {
				continue
			}
		}
		b, err := t.readBlock(r, n)
		if err != nil {
			return err
		}
		for i := range len(b.offsets) / 4 {
			key, err := b.key(i)
			if err != nil {
				return err
			}
			if !bytes.HasPrefix(key, prefix) {
				continue
			}
			value, err := b.value(i)
			if err != nil {
				return err
			}
			f(key, value)
		}
	}
	return nil
}

// block is a block whose checksum is right.
type block struct {
	entries, offsets []byte
	sum              uint32
}

func checkBlock(b []byte) (block, error) {
	tail := tailReader{bytes.NewReader(b), int64(len(b))}
	want, err := tail.checksum()
	if err != nil {
		return block{}, err
	}
	b = b[:tail.end]
	sum := crc32.Checksum(b, castagnoli)
	if sum != want {
		return block{}, damaged("a block doesn't match its checksum")
	}
	count, err := tail.uint32()
	if err != nil || count == 0 || int64(count) > tail.end/4 {
		return block{}, damaged("a block has %d entries", count)
	}
	start := tail.end - 4*int64(count)
	return block{b[:start], b[start:tail.end], sum}, nil
}

// key returns the nth entry's key, with its version. An entry is the length of
// what it shares with the block's first key, the length of the rest, both in
// uint16, the rest, and the value. These and the offsets are in the machine's
// own byte order.
func (b block) key(n int) ([]byte, error) {
	first, _, err := b.split(0)
	if err != nil || n == 0 {
		return first, err
	}
	rest, shared, err := b.split(n)
	if err != nil || shared > len(first) {
		return nil, damaged("a block has an entry that is none")
	}
	return append(bytes.Clone(first[:shared]), rest...), nil
}

func (b block) split(n int) (rest []byte, shared int, err error) {
	const header = 4
	at := int64(binary.NativeEndian.Uint32(b.offsets[4*n:]))
	if at+header > int64(len(b.entries)) {
		return nil, 0, damaged("a block has an entry outside of it")
	}
	e := b.entries[at:]
	shared, length := int(binary.NativeEndian.Uint16(e)), int(binary.NativeEndian.Uint16(e[2:]))
	if header+length > len(e) {
		return nil, 0, damaged("a block has an entry outside of it")
	}
	return e[header : header+length], shared, nil
}

// value returns the nth entry's value: two bytes of flags and an expiry, a varint,
// stand before it. It is nil where the key is removed.
func (b block) value(n int) ([]byte, error) {
	const header, removed = 4, 1
	rest, _, err := b.split(n)
	if err != nil {
		return nil, err
	}
	from := int(binary.NativeEndian.Uint32(b.offsets[4*n:])) + header + len(rest)
	to := len(b.entries)
	if 4*(n+1) < len(b.offsets) {
		to = int(binary.NativeEndian.Uint32(b.offsets[4*(n+1):]))
	}
	if from+2 > to || to > len(b.entries) {
		return nil, damaged("a block has an entry that is none")
	}
	e := b.entries[from:to]
	_, size := binary.Uvarint(e[2:])
	if size <= 0 {
		return nil, damaged("a block has an entry that is none")
	}
	if e[0]&removed != 0 {
		return nil, nil
	}
	return e[2+size:], nil
}

// biggest returns the last key without its version.
func (b block) biggest() ([]byte, error) {
	key, err := b.key(len(b.offsets)/4 - 1)
	if err != nil {
		return nil, err
	}
	return bytes.Clone(withoutVersion(key)), nil
}

// versionOf is what a key ends with, in the order that Badger sorts by.
func versionOf(key []byte) uint64 { return ^binary.BigEndian.Uint64(key[len(key)-8:]) }

// withoutVersion cuts off the version, which is the end of each key.
func withoutVersion(key []byte) []byte { return key[:max(len(key)-8, 0)] }

// tailReader reads a file from its end.
type tailReader struct {
	io.ReaderAt
	end int64
}

func (r *tailReader) take(n int64) ([]byte, error) {
	if n > r.end {
		return nil, damaged("it is too short")
	}
	b := make([]byte, n)
	r.end -= n
	if _, err := r.ReadAt(b, r.end); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return b, nil
}

func (r *tailReader) uint32() (uint32, error) {
	b, err := r.take(4)
	if err != nil {
		return 0, err
	}
	return binary.BigEndian.Uint32(b), nil
}

// checksum reads a checksum and its length.
func (r *tailReader) checksum() (uint32, error) {
	length, err := r.uint32()
	if err != nil {
		return 0, err
	}
	if length > 16 {
		return 0, damaged("a checksum has %d bytes", length)
	}
	b, err := r.take(int64(length))
	if err != nil {
		return 0, err
	}
	const field = 2 << 3 // number 2, a varint
	if len(b) == 0 {
		return 0, nil // zero isn't written
	}
	sum, n := binary.Uvarint(b[1:])
	if b[0] != field || n != len(b)-1 || sum == 0 || sum > 1<<32-1 || !bytes.Equal(binary.AppendUvarint([]byte{field}, sum), b) {
		return 0, damaged("a checksum is none")
	}
	return uint32(sum), nil
}
