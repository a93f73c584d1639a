package auditfile

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
)

// maxLine is longer than any line ever written, in bytes: the longest are of
// settings, whose lists of users come from requests of at most 64 KiB.
const maxLine = 1 << 20

// Line is what a line of a chain says of its place there.
type Line struct {
	// Seq counts the lines of a chain, from 1 on.
	Seq uint64 `json:"seq"`
	// Previous is the hash of the line before, "" in the first line of a chain.
	Previous string `json:"previous"`
	// Epoch and Revision are the change's in the store.
	Epoch    uint64 `json:"epoch"`
	Revision uint64 `json:"revision"`
}

// appendHead appends how the line begins.
func (l *Line) appendHead(b []byte) []byte {
	return fmt.Appendf(b, `{"seq":%d,"previous":"%s","epoch":%d,"revision":%d`, l.Seq, l.Previous, l.Epoch, l.Revision)
}

// append appends the line, of which the rest is in text, a JSON object.
func (l *Line) append(b, text []byte) []byte {
	b = l.appendHead(b)
	if text = text[1:]; len(text) > 1 { // more than the end of an empty object
		b = append(b, ',')
	}
	return append(append(b, text...), '\n')
}

// hashOf is what the line after this one calls previous: the SHA-256 of the line
// without its end, in hexadecimal.
func hashOf(line []byte) string {
	sum := sha256.Sum256(bytes.TrimSuffix(line, []byte("\n")))
	return hex.EncodeToString(sum[:])
}

var errNoLine = errors.New("it is no line of an audit file")

// parseLine reads a line, without its end.
func parseLine(line []byte) (l Line, err error) {
	if json.Unmarshal(line, &l) != nil {
		return Line{}, errNoLine
	}
	// As it is written, and no other way.
	rest, found := bytes.CutPrefix(line, l.appendHead(nil))
	if !found || rest[0] != ',' && rest[0] != '}' || l.Seq == 0 {
		return Line{}, errNoLine
	}
	hash, err := hex.DecodeString(l.Previous)
	if isFirst := l.Seq == 1; err != nil || len(hash) != sha256.Size && !isFirst || len(hash) != 0 && isFirst {
		return Line{}, errNoLine
	}
	return l, nil
}
