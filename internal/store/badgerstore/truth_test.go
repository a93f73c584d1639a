package badgerstore

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
)

// What a child that looks at a damaged store answers.
type verdict struct {
	// Refused is why it didn't open.
	Refused string
	// Wrong are answers that are neither the truth nor "unavailable".
	Wrong []string
	// Unavailable is how many answers that was.
	Unavailable int
	// Damage tells whether Open's error is a Damage.
	Damage bool
}

// tellTheTruth is a child that opens the store and looks up every token, in
// every way.
func tellTheTruth() int {
	answers := bufio.NewReader(os.Stdin)
	for {
		line, err := answers.ReadString('\n')
		if err != nil {
			return 0
		}
		var o struct {
			Dir    string
			AtOpen time.Duration
		}
		if err := json.Unmarshal([]byte(line), &o); err != nil {
			fmt.Println(err)
			return 1
		}
		b, err := json.Marshal(judge(o.Dir, o.AtOpen))
		if err != nil {
			fmt.Println(err)
			return 1
		}
		fmt.Println(string(b))
	}
}

func judge(dir string, atOpen time.Duration) (v verdict) {
	o := Options{MemTableSize: damagedMemTable, Logger: zap.NewNop()}
	if atOpen != 0 {
		o.verification = verification{atOpen, time.Hour, 1 << 30, 1 << 30}
	}
	s, err := Open(dir, o)
	if err != nil {
		var d *Damage
		return verdict{Refused: err.Error(), Damage: errors.As(err, &d)}
	}
	defer s.Close()
	v.lookAt(s)
	// Once more when there are compactions.
	if s.withoutCompactors {
		select {
		case <-s.allVerified:
		case <-s.failed:
		}
		v.lookAt(s)
	}
	return v
}

func (v *verdict) lookAt(s *Store) {
	wrong := func(n int, how string, what any) {
		if len(v.Wrong) < 5 {
			v.Wrong = append(v.Wrong, fmt.Sprintf("token %d, deleted %v, by %s: %v", n, isDeleted(n), how, what))
		}
	}
	for n := range damagedTokens {
		want := largeRecord(n)
		for how, look := range map[string]func() (store.Record, error){
			"hash": func() (store.Record, error) { return s.ByHash(want.Hash) },
			"id":   func() (store.Record, error) { return s.ByID(want.ID) },
		} {
			switch r, err := look(); {
			case errors.Is(err, store.ErrUnavailable):
				v.Unavailable++
			case err != nil:
				wrong(n, how, err)
			case r.IsRevoked() != isDeleted(n) || r.ID != want.ID || r.Hash != want.Hash || r.Description != want.Description || r.User.ID != want.User.ID:
				wrong(n, how, r)
			}
		}
	}
	live := damagedTokens / 3
	switch records, err := listAll(s); {
	case errors.Is(err, store.ErrUnavailable):
		v.Unavailable++
	case err != nil || len(records) != live:
		wrong(live, "list", fmt.Sprintf("%d tokens, %v", len(records), err))
	}
	if account, err := s.Account("p", "alice"); !errors.Is(err, store.ErrUnavailable) && (err != nil || account.Living != uint64(live)) {
		wrong(live, "account", fmt.Sprintf("%+v, %v", account, err))
	}
	if settings, _ := s.Settings("p"); settings.Enabled == nil || !*settings.Enabled {
		wrong(0, "settings", settings)
	}
}

// listAll returns alice's tokens, as far as they can be listed.
func listAll(s *Store) (records []store.Record, err error) {
	for q := (store.Query{Project: "p", User: "alice"}); ; {
		entries, err := s.Scan(q)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			some, err := s.Records(e.ID)
			if err != nil {
				return nil, err
			}
			records = append(records, some...)
		}
		if len(entries) < store.MaxScan {
			return records, nil
		}
		q.After = entries[len(entries)-1].Place
	}
}

// tester has a child look at stores. A child that dies is the test's failure.
type tester struct {
	*testing.T
	child  *child
	counts struct{ refused, unavailable, harmless int }
}

func newTester(t *testing.T) *tester {
	return &tester{T: t, child: startChild(t, "truth", t.TempDir(), damagedMemTable)}
}

// look has a damaged store looked at, and checks that nobody is lied to.
func (t *tester) look(what, dir string, atOpen time.Duration) verdict {
	t.Helper()
	before := sizes(t.T, dir)
	b, err := json.Marshal(map[string]any{"Dir": dir, "AtOpen": atOpen})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Fprintf(t.child.in, "%s\n", b); err != nil {
		t.child.died(what, err)
	}
	answer, err := t.child.out.ReadString('\n')
	if err != nil {
		t.child.died(what, err)
	}
	var v verdict
	if err := json.Unmarshal([]byte(answer), &v); err != nil {
		t.Fatalf("%s: %s", what, answer)
	}
	switch {
	case len(v.Wrong) > 0:
		t.Errorf("%s: %q", what, v.Wrong)
	case v.Refused != "":
		t.counts.refused++
		for name, size := range sizes(t.T, dir) {
			if was, ok := before[name]; ok && size == was {
				delete(before, name)
			}
		}
		// Its own lists Badger doesn't know of.
		delete(before, tableListName)
		// A value log of nothing but its head, which Badger removes where it opens.
		maps.DeleteFunc(before, func(name string, size int64) bool { return filepath.Ext(name) == ".vlog" && size <= 20 })
		// With another key it was opened, being whole, and closed again.
		if len(before) > 0 && !strings.Contains(v.Refused, "living token") {
			t.Errorf("%s: refused, and these are gone or changed: %v; %s", what, before, v.Refused)
		}
	case v.Unavailable > 0:
		t.counts.unavailable++
	default:
		t.counts.harmless++
	}
	return v
}

func TestSoundStoreTellsTheTruth(t *testing.T) {
	eachStore(t, 1, func(t *tester, _ int, dir string, atOpen time.Duration) {
		if v := t.look("nothing", dir, atOpen); v.Refused != "" || v.Unavailable > 0 {
			t.Errorf("a sound store: %+v", v)
		}
	})
}

// A store that another key was given for is whole afterwards.
func TestAnotherKeyLeavesTheStoreWhole(t *testing.T) {
	eachStore(t, 1, func(t *tester, _ int, dir string, atOpen time.Duration) {
		file := filepath.Join(dir, "hash.key")
		key := readFile(t.T, file)
		writeBack(t.T, file, bytes.Repeat([]byte("k"), len(key)))
		if v := t.look("another key", dir, atOpen); !strings.Contains(v.Refused, "living tokens") {
			t.Errorf("with another key: %+v", v)
		}
		writeBack(t.T, file, key)
		if v := t.look("its key again", dir, atOpen); v.Refused != "" || v.Unavailable > 0 {
			t.Errorf("with its key again: %+v", v)
		}
	})
}
