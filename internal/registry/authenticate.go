package registry

import (
	"errors"
	"net/netip"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/token"
)

// Authenticate returns the record of a valid token of the project and notes
// that client used it, the zero address if who did isn't known. It fails with ErrInvalidToken, ErrOff or store.ErrUnavailable.
func (r *Registry) Authenticate(p *Project, v token.Value, client netip.Addr) (store.Record, error) {
	record, err := r.Store.ByHash(r.Key.Hash(v))
	if errors.Is(err, store.ErrNotFound) {
		return store.Record{}, ErrInvalidToken
	}
	if err != nil {
		return store.Record{}, err
	}
	now := r.Now()
	if record.Project != p.Name || record.IsRevoked() || record.Expired(now) {
		return store.Record{}, ErrInvalidToken
	}
	if !r.Policy(p).Enabled {
		return store.Record{}, ErrOff
	}
	r.uses.note(record.ID, now, client.Unmap().WithZone(""))
	return record, nil
}
