package badgerstore

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"
)

func TestFlippedBit(t *testing.T) {
	eachStore(t, (damages(t)+3)/4, func(t *tester, i int, dir string, atOpen time.Duration) {
		// Every file gets its share, small as it may be, and where most is most.
		files := storeFiles(t.T, dir)
		name := files[i/2%len(files)]
		if i%2 == 0 {
			name = bySize(t.T, dir)
		}
		b := readFile(t.T, filepath.Join(dir, name))
		bit := rand.IntN(8 * len(b))
		b[bit/8] ^= 1 << (bit % 8)
		writeBack(t.T, filepath.Join(dir, name), b)
		t.look(fmt.Sprintf("bit %d of %s", bit, name), dir, atOpen)
	})
}

func TestTruncatedFile(t *testing.T) {
	eachStore(t, (damages(t)+3)/4, func(t *tester, i int, dir string, atOpen time.Duration) {
		files := storeFiles(t.T, dir)
		name := files[i/2%len(files)]
		if i%2 == 0 {
			name = bySize(t.T, dir)
		}
		b := readFile(t.T, filepath.Join(dir, name))
		to := rand.IntN(len(b))
		if i%5 == 0 {
			to = len(b) - 1
		}
		writeBack(t.T, filepath.Join(dir, name), b[:to])
		t.look(fmt.Sprintf("%s of %d cut to %d bytes", name, len(b), to), dir, atOpen)
	})
}

// A MANIFEST that ends earlier names fewer tables, and can be sound. What isn't
// refused has to be the truth.
func TestEveryCutOfTheManifest(t *testing.T) {
	eachStore(t, 1, func(t *tester, _ int, dir string, atOpen time.Duration) {
		file := filepath.Join(dir, "db", badger.ManifestFilename)
		b := readFile(t.T, file)
		s := &Store{dir: dir, options: Options{MemTableSize: damagedMemTable}, space: &space{dir: filepath.Join(dir, "db")}}
		var opened []int
		cuts := make([]int, len(b))
		for n := range cuts {
			cuts[n] = n
		}
		for _, n := range someOf(cuts, 60) {
			writeBack(t.T, file, b[:n])
			if _, err := examine(dir, s.badgerOptions()); err == nil {
				opened = append(opened, n)
			}
		}
		t.Logf("%d cuts of a MANIFEST of %d bytes lose nothing", len(opened), len(b))
		for _, n := range opened {
			again := dir + "-again"
			writeBack(t.T, file, b[:n])
			freshCopy(t.T, again, dir)
			t.look(fmt.Sprintf("MANIFEST of %d cut to %d bytes", len(b), n), again, atOpen)
		}
	})
}
