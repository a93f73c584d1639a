package registry

import (
	"errors"
	"net/netip"
	"time"

	"github.com/google/uuid"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/token"
)

// Found is a token's record as it was at one revision of the store.
type Found struct {
	record   store.Record
	move     *store.Rehash
	revision uint64
}

// Find looks up a token that was issued here, whether it is valid, has expired
// or was deleted. It fails with store.ErrNotFound or store.ErrUnavailable.
func (r *Registry) Find(v token.Value) (Found, error) {
	revision := r.Store.Revision()
	record, move, err := r.byValue(v)
	return Found{record, move, revision}, err
}

// IDOf returns the id of a token that was issued here, valid or not.
func (r *Registry) IDOf(v token.Value) (id uuid.UUID, known bool) {
	found, err := r.Find(v)
	return found.record.ID, err == nil
}

// Authenticate returns the record of a valid token of the project and notes
// that client used it, the zero address if who did isn't known. It fails with
// ErrInvalidToken, ErrOff, ErrBlocked or ErrAddress, each as a *Denial, or with
// store.ErrUnavailable.
func (r *Registry) Authenticate(p *Project, v token.Value, client netip.Addr) (store.Record, error) {
	found, err := r.find(v)
	if err != nil {
		return store.Record{}, err
	}
	return r.authenticate(p, found, client)
}

// AuthenticateFound is Authenticate of a token that was looked up before. It is
// looked up again if anything has changed since.
func (r *Registry) AuthenticateFound(p *Project, v token.Value, found Found, client netip.Addr) (store.Record, error) {
	if r.Store.Revision() != found.revision {
		return r.Authenticate(p, v, client)
	}
	return r.authenticate(p, found, client)
}

func (r *Registry) authenticate(p *Project, found Found, client netip.Addr) (store.Record, error) {
	now, client := r.Now(), client.Unmap().WithZone("")
	if err := r.check(p, &found.record, client, now); err != nil {
		return store.Record{}, err
	}
	if found.move != nil {
		r.moves.note(*found.move)
	}
	r.uses.note(found.record.ID, found.record.Number, now, client)
	return found.record, nil
}

// Holds tells whether a token that was authenticated still would be. Where that
// can't be told, it holds.
func (r *Registry) Holds(p *Project, id uuid.UUID, client netip.Addr) bool {
	record, err := r.Store.ByID(id)
	if errors.Is(err, store.ErrNotFound) {
		return false
	}
	if err == nil {
		err = r.check(p, &record, client.Unmap().WithZone(""), r.Now())
	}
	return err == nil || errors.Is(err, store.ErrUnavailable)
}

// find denies a token that wasn't issued here.
func (r *Registry) find(v token.Value) (Found, error) {
	found, err := r.Find(v)
	if errors.Is(err, store.ErrNotFound) {
		err = &Denial{Reason: ErrInvalidToken, Why: WhyUnknown}
	}
	return found, err
}

// check says why a token doesn't authenticate client now.
func (r *Registry) check(p *Project, record *store.Record, client netip.Addr, now time.Time) error {
	if err := checkEnded(p, record, now); err != nil {
		return err
	}
	if err := p.Exists(); err != nil {
		return err
	}
	switch {
	case !r.Policy(p).Enabled:
		return deny(ErrOff, WhyOff, record)
	case r.IsBlocked(p, record.User.ID):
		return deny(ErrBlocked, WhyBlocked, record)
	case !allows(record, client):
		return deny(ErrAddress, WhyAddress, record)
	}
	return nil
}

func checkEnded(p *Project, record *store.Record, now time.Time) error {
	switch {
	case record.Project != p.Name:
		return deny(ErrInvalidToken, WhyProject, record)
	case record.IsRevoked():
		return deny(ErrInvalidToken, WhyDeleted, record)
	case record.Expired(now):
		return deny(ErrInvalidToken, WhyExpired, record)
	}
	return nil
}

func deny(reason error, why string, record *store.Record) error {
	return &Denial{reason, why, *record}
}
