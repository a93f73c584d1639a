package registry

import "time"

// Retain says how long records stay after their token has ended.
type Retain struct{ Expired, Deleted time.Duration }

// purgeEvery is how often records are looked for that have been kept long enough.
func (r Retain) purgeEvery() time.Duration {
	return min(time.Hour, max(r.Expired, time.Second), max(r.Deleted, time.Second))
}

// SetRetain changes for how long records stay.
func (r *Registry) SetRetain(to Retain) {
	r.retaining.Lock()
	defer r.retaining.Unlock()
	if r.Retain == to {
		return // or reloads that come often would put purging off
	}
	r.Retain = to
	select {
	case r.retained <- struct{}{}:
	default:
	}
}

func (r *Registry) retain() Retain {
	r.retaining.Lock()
	defer r.retaining.Unlock()
	return r.Retain
}
