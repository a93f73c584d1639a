package streams

import "sync"

// list is of streams, in the order in which they were added.
type list struct {
	mu          sync.Mutex
	first, last *Stream
	_           [40]byte // keeps lists on cache lines of their own
}

func (l *list) add(st *Stream) {
	l.mu.Lock()
	defer l.mu.Unlock()
	st.before, st.behind = l.last, nil
	if l.last == nil {
		l.first = st
	} else {
		l.last.behind = st
	}
	l.last = st
}

// remove takes out a stream that is in l.
func (l *list) remove(st *Stream) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if st.before == nil {
		l.first = st.behind
	} else {
		st.before.behind = st.behind
	}
	if st.behind == nil {
		l.last = st.before
	} else {
		st.behind.before = st.before
	}
	st.before, st.behind = nil, nil
}

// oldest returns the first, nil if there is none.
func (l *list) oldest() *Stream {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.first
}

// each calls f for each, which the list is locked for.
func (l *list) each(f func(*Stream)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for st := l.first; st != nil; st = st.behind {
		f(st)
	}
}

// doubt doubts a stream that is in l, or was.
func (l *list) doubt(st *Stream) {
	l.mu.Lock()
	defer l.mu.Unlock()
	st.doubted = true
}
