package badgerstore

import (
	"bytes"
	"encoding/binary"
	"time"

	"github.com/google/uuid"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/token"
)

// The keyspaces. Numbers are big-endian, so that keys sort by them. A token
// that is revoked leaves the lists and the expiry queue; its record stays,
// overwritten, until it is purged.
const (
	spaceMeta    = 'm' // name → format, revision, epoch, key ids, number of the last token, size of the outbox, its last receipt, up to where others were told of expiries, store id, state of deleted.list
	spaceToken   = 't' // hash → record, or the id of the token that has moved to another key
	spaceID      = 'i' // token id → hash, revision of the record
	spaceProject = 'p' // project, creation, token id → listed: everyone's tokens, oldest first
	spaceUser    = 'u' // project, user, creation, token id → listed: one user's tokens, oldest first
	spaceChild   = 'c' // token id, successor's id → nothing
	spaceExpires = 'x' // expiry, token id → nothing
	spaceRevoked = 'r' // time of revocation, token id → nothing
	spaceUsed    = 'l' // token id → time and address of last use, of tokens without a number, and from before there was a file for that
	spacePolicy  = 's' // project → revision, settings
	spaceAccount = 'a' // project, user → account
	spaceMoved   = 'k' // token id, key id → hash under a key that the token was under before
	spaceOutbox  = 'o' // epoch, revision, number of the line → line
	spaceHold    = 'h' // project, user → flags: what of an account look-ups have to heed
)

var (
	metaFormat       = []byte{spaceMeta, 'f'}
	metaRevision     = []byte{spaceMeta, 'r'}
	metaPreviousKeys = []byte{spaceMeta, 'K'}
	metaKeyID        = []byte{spaceMeta, 'k'}
	metaOutbox       = []byte{spaceMeta, 'o'}
	metaReceipt      = []byte{spaceMeta, 'O'}
	metaEpoch        = []byte{spaceMeta, 'e'}
	metaNumber       = []byte{spaceMeta, 'n'}
	metaStoreID      = []byte{spaceMeta, 's'}
	metaTold         = []byte{spaceMeta, 't'}
	metaList         = []byte{spaceMeta, 'd'}
)

func tokenKey(h token.Hash) []byte { return append([]byte{spaceToken}, h[:]...) }
func idKey(id uuid.UUID) []byte    { return append([]byte{spaceID}, id[:]...) }
func usedKey(id uuid.UUID) []byte  { return append([]byte{spaceUsed}, id[:]...) }

func policyKey(project string) []byte { return append([]byte{spacePolicy}, project...) }

func movedPrefix(id uuid.UUID) []byte { return append([]byte{spaceMoved}, id[:]...) }
func movedKey(id uuid.UUID, key token.KeyID) []byte {
	return append(movedPrefix(id), key[:]...)
}

func ownerKey(space byte, o owner) []byte {
	return appendName(appendName([]byte{space}, o.project), o.user)
}

// ownerIn reads what ownerKey wrote.
func ownerIn(key []byte) (o owner, err error) {
	rest := key[1:]
	for _, name := range []*string{&o.project, &o.user} {
		if len(rest) < 2 || len(rest)-2 < int(binary.BigEndian.Uint16(rest)) {
			return owner{}, unavailable(store.ErrCorrupt)
		}
		n := 2 + int(binary.BigEndian.Uint16(rest))
		*name, rest = string(rest[2:n]), rest[n:]
	}
	if len(rest) > 0 {
		return owner{}, unavailable(store.ErrCorrupt)
	}
	return o, nil
}

func childrenPrefix(parent uuid.UUID) []byte { return append([]byte{spaceChild}, parent[:]...) }
func childKey(parent, child uuid.UUID) []byte {
	return append(childrenPrefix(parent), child[:]...)
}

// listPrefix is where the tokens of a user of a project stand, or with no user
// those of the whole project.
func listPrefix(project, user string) []byte {
	if user == "" {
		return appendName([]byte{spaceProject}, project)
	}
	return appendName(appendName([]byte{spaceUser}, project), user)
}

// appendName appends s with its length before it, so that no name's keys lie
// among those of another that it begins with.
func appendName(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint16(b, uint16(len(s))), s...)
}

// endOf returns a key behind all that begin with prefix.
func endOf(prefix []byte) []byte {
	end := bytes.Clone(prefix)
	for len(end) > 0 {
		if end[len(end)-1]++; end[len(end)-1] != 0 {
			break
		}
		end = end[:len(end)-1]
	}
	return end
}

func timeKey(space byte, at time.Time, id uuid.UUID) []byte {
	return appendTimeID([]byte{space}, at, id)
}

func appendTimeID(b []byte, at time.Time, id uuid.UUID) []byte {
	return append(binary.BigEndian.AppendUint64(b, uint64(at.UnixMilli())), id[:]...)
}

// liveKeys are the entries that make a record show up in lists and in the
// expiry queue for as long as it isn't revoked.
func liveKeys(r *store.Record) [][]byte {
	keys := listKeys(r)
	if at, ok := r.Expires(); ok {
		keys = append(keys, timeKey(spaceExpires, at, r.ID))
	}
	return keys
}

func listKeys(r *store.Record) [][]byte {
	return [][]byte{
		appendTimeID(listPrefix(r.Project, ""), r.Created, r.ID),
		appendTimeID(listPrefix(r.Project, r.User.ID), r.Created, r.ID),
	}
}
