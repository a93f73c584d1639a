package registry

import (
	"errors"
	"net/netip"
	"time"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/token"
)

// Authenticate returns the record of a valid token of the project and notes
// that client used it, the zero address if who did isn't known. It fails with
// ErrInvalidToken, ErrOff, ErrBlocked, ErrAddress or store.ErrUnavailable.
func (r *Registry) Authenticate(p *Project, v token.Value, client netip.Addr) (store.Record, error) {
	now := r.Now()
	record, move, err := r.recognise(p, v, now)
	if err != nil {
		return store.Record{}, err
	}
	if !r.Policy(p).Enabled {
		return store.Record{}, ErrOff
	}
	if r.Store.IsBlocked(p.Name, record.User.ID) {
		return store.Record{}, ErrBlocked
	}
	client = client.Unmap().WithZone("")
	if !allows(&record, client) {
		return store.Record{}, ErrAddress
	}
	if move != nil {
		r.moves.note(*move)
	}
	r.uses.note(record.ID, now, client)
	return record, nil
}

// Recognise returns the record of a token of the project that hasn't ended,
// whatever may keep it from being used at present. It fails with
// ErrInvalidToken or store.ErrUnavailable.
func (r *Registry) Recognise(p *Project, v token.Value) (store.Record, error) {
	record, _, err := r.recognise(p, v, r.Now())
	return record, err
}

func (r *Registry) recognise(p *Project, v token.Value, now time.Time) (store.Record, *store.Rehash, error) {
	record, move, err := r.byValue(v)
	if errors.Is(err, store.ErrNotFound) {
		return store.Record{}, nil, ErrInvalidToken
	}
	if err != nil {
		return store.Record{}, nil, err
	}
	if record.Project != p.Name || record.IsRevoked() || record.Expired(now) {
		return store.Record{}, nil, ErrInvalidToken
	}
	return record, move, nil
}
