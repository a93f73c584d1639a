package registry

import (
	"errors"
	"time"

	"github.com/google/uuid"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/token"
)

// Found is a token's record as it was at one revision of the store.
type Found struct {
	record   store.Record
	revision uint64
}

// Find looks up a token that was issued here, whether it is valid, has expired
// or was deleted. It fails with store.ErrNotFound or store.ErrUnavailable.
func (r *Registry) Find(v token.Value) (Found, error) {
	revision := r.Store.Revision()
	record, err := r.Store.ByHash(r.Key.Hash(v))
	return Found{record, revision}, err
}

// IDOf returns the id of a token that was issued here, valid or not.
func (r *Registry) IDOf(v token.Value) (id uuid.UUID, known bool) {
	found, err := r.Find(v)
	return found.record.ID, err == nil
}

// Authenticate returns the record of a valid token of the project and notes
// its use. It fails with ErrInvalidToken, ErrOff, both as a *Denial, or with
// store.ErrUnavailable.
func (r *Registry) Authenticate(p *Project, v token.Value) (store.Record, error) {
	found, err := r.Find(v)
	if errors.Is(err, store.ErrNotFound) {
		return store.Record{}, &Denial{Reason: ErrInvalidToken, Why: WhyUnknown}
	}
	if err != nil {
		return store.Record{}, err
	}
	return r.authenticate(p, found.record)
}

// AuthenticateFound is Authenticate of a token that was looked up before. It is
// looked up again if anything has changed since.
func (r *Registry) AuthenticateFound(p *Project, v token.Value, found Found) (store.Record, error) {
	if r.Store.Revision() != found.revision {
		return r.Authenticate(p, v)
	}
	return r.authenticate(p, found.record)
}

func (r *Registry) authenticate(p *Project, record store.Record) (store.Record, error) {
	now := r.Now()
	if err := r.check(p, &record, now); err != nil {
		return store.Record{}, err
	}
	r.uses.note(record.ID, now)
	return record, nil
}

// check says why a token doesn't authenticate now.
func (r *Registry) check(p *Project, record *store.Record, now time.Time) error {
	deny := func(reason error, why string) error { return &Denial{reason, why, *record} }
	switch {
	case record.Project != p.Name:
		return deny(ErrInvalidToken, WhyProject)
	case record.IsRevoked():
		return deny(ErrInvalidToken, WhyDeleted)
	case record.Expired(now):
		return deny(ErrInvalidToken, WhyExpired)
	}
	if err := p.Exists(); err != nil {
		return err
	}
	if !r.Policy(p).Enabled {
		return deny(ErrOff, WhyOff)
	}
	return nil
}
