//go:build unix

package auditfile

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// Two stores that are told to write to one file would each take the other's lines for
// damage: the second one doesn't begin, and the first one goes on.
func TestAFileBelongsToOneProcess(t *testing.T) {
	first, second := newFixture(t), newFixture(t)
	first.open(first.path())
	first.mustChange(0)
	second.dir = first.dir
	if err := second.tryOpen(second.path()); !errors.Is(err, errInUse) {
		t.Errorf("a second one: %v", err)
	}
	second.open(filepath.Join(first.dir, "other.jsonl"))
	if err := second.Check(first.path()); !errors.Is(err, errInUse) {
		t.Errorf("a second one that goes there: %v", err)
	}
	first.mustChange(1)
	second.close()

	// Under another name it is the first one's still, and after a start.
	renamed := filepath.Join(first.dir, "renamed.jsonl")
	if err := os.Rename(first.path(), renamed); err != nil {
		t.Fatal(err)
	}
	if err := first.Check(renamed); err != nil {
		t.Fatal(err)
	}
	first.Use(renamed)
	if err := first.Await(first.change(text(2))); err != nil {
		t.Fatal(err)
	}
	if err := second.tryOpen(renamed); !errors.Is(err, errInUse) {
		t.Errorf("the renamed one: %v", err)
	}
	first.open(renamed)
	if err := second.tryOpen(renamed); !errors.Is(err, errInUse) {
		t.Errorf("after a start: %v", err)
	}
	first.close()
	first.wantComplete(renamed)
}
