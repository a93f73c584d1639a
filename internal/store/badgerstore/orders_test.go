package badgerstore

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store/storetest"
)

// takeOrders is a child that opens a store and does what each line of its input
// says: an order, and the numbers of the first token and of the one after the
// last. It answers with how many it got done and, if not all, why.
func takeOrders() int {
	s, err := openChild()
	if err != nil {
		fmt.Println(0, err)
		return 1
	}
	fmt.Println(0)
	orders := map[string]func(int) error{
		"create":       s.orderCreate,
		"revoke":       s.orderRevoke,
		"touch":        s.orderTouch,
		"authenticate": s.orderAuthenticate,
		"revoked":      s.orderRevoked,
	}
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		var name string
		var from, to int
		if _, err := fmt.Sscan(in.Text(), &name, &from, &to); err != nil {
			return 1
		}
		if name == "close" {
			err := s.Close()
			fmt.Println(0, sentence(err))
			continue
		}
		n, err := inParallel(from, to, orders[name])
		fmt.Println(n, sentence(err))
	}
	return 0
}

func sentence(err error) string {
	if err == nil {
		return ""
	}
	return strings.ReplaceAll(err.Error(), "\n", " ")
}

// inParallel calls f for each number, in order but eight at a time, until one
// fails, and returns how many succeeded without a gap.
func inParallel(from, to int, f func(int) error) (int, error) {
	var next, failed atomic.Int64
	next.Store(int64(from))
	failed.Store(int64(to))
	var mu sync.Mutex
	var first error
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for {
				n := next.Add(1) - 1
				if n >= failed.Load() {
					return
				}
				if err := f(int(n)); err != nil {
					mu.Lock()
					if n < failed.Load() {
						failed.Store(n)
						first = err
					}
					mu.Unlock()
				}
			}
		})
	}
	all.Wait()
	return int(failed.Load()) - from, first
}

// longDescription makes records as large as ASCII ones get.
var longDescription = strings.Repeat("d", 1024)

func largeRecord(n int) store.Record {
	r := storetest.NewRecord("p", "alice", n)
	r.Description = longDescription
	return r
}

func (s *Store) orderCreate(n int) error {
	_, err := s.Commit(context.Background(), store.Create{Record: largeRecord(n)})
	if errors.Is(err, store.ErrConflict) {
		return nil // It was made, but a token before it was not.
	}
	return err
}

func (s *Store) orderRevoke(n int) error {
	r, err := s.ByID(largeRecord(n).ID)
	if err != nil {
		return err
	}
	if r.IsRevoked() {
		return nil
	}
	_, err = s.Commit(context.Background(), store.Revoke{ID: r.ID, Revision: r.Revision, At: storetest.Epoch})
	return err
}

func (s *Store) orderTouch(n int) error {
	_, err := s.Commit(context.Background(), store.Touch{Uses: []store.Use{{ID: largeRecord(n).ID, At: time.Now()}}})
	return err
}

func (s *Store) orderAuthenticate(n int) error {
	r, err := s.ByHash(largeRecord(n).Hash)
	if err == nil && r.IsRevoked() {
		err = fmt.Errorf("token %d is revoked", n)
	}
	return err
}

func (s *Store) orderRevoked(n int) error {
	r, err := s.ByHash(largeRecord(n).Hash)
	if err == nil && !r.IsRevoked() {
		err = fmt.Errorf("token %d is not revoked", n)
	}
	return err
}
