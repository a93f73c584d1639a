package contract

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// mount mounts a file system in memory. It needs root.
func mount(t testing.TB, dir string, flags uintptr, options string) (unmount func()) {
	t.Helper()
	if os.Getenv("ACCESS_TOKENS_TEST_DISK") != "1" {
		t.Skip("set ACCESS_TOKENS_TEST_DISK=1 to fill up a disk; this needs root, to mount one")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", flags, options); err != nil {
		t.Fatalf("mounting a tmpfs: %v", err)
	}
	return func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Errorf("unmounting: %v", err)
		}
	}
}

// onDisk is a gateway whose audit is on a disk of its own, of four MiB.
func onDisk(t *testing.T, sites string, options ...option) *gateway {
	t.Helper()
	g := prepare(t, sites, append(options, audited)...)
	t.Cleanup(mount(t, g.auditDir(), 0, "size=4m"))
	g.up(t)
	return g
}

// fillUp leaves no room on the audit's disk, to the last byte.
func (g *gateway) fillUp(t testing.TB) (ballast string) {
	t.Helper()
	ballast = filepath.Join(g.auditDir(), ".ballast")
	f, err := os.Create(ballast)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for size := 1 << 20; size > 0; size /= 2 {
		for err = nil; err == nil; {
			_, err = f.Write(make([]byte, size))
		}
		if !errors.Is(err, unix.ENOSPC) {
			t.Fatalf("filling up the disk: %v", err)
		}
	}
	return ballast
}

func TestWhatGivesWaitsForTheAuditOnAFullDisk(t *testing.T) {
	t.Parallel()
	g := onDisk(t, site(""))
	var ballast string
	g.wantOnlyTakingAway(t, func() {
		ballast = g.fillUp(t)
		// In its own file it has room reserved.
		if err := os.Rename(g.auditFile(), g.auditFile()+".1"); err != nil {
			t.Fatal(err)
		}
	}, func() {
		if err := os.Remove(ballast); err != nil {
			t.Fatal(err)
		}
	})
}

func TestWhatGivesWaitsForTheAuditOnAReadOnlyDisk(t *testing.T) {
	t.Parallel()
	g := start(t, site(""), audited)
	var unmount func()
	g.wantOnlyTakingAway(t, func() { unmount = mount(t, g.auditDir(), unix.MS_RDONLY, "") }, func() { unmount() })
}

// On a disk that others fill up, tokens are made as long as there is room reserved
// for what has to be written. None lives that isn't in the audit.
func TestATokenThatIsntAuditedDoesntLive(t *testing.T) {
	t.Parallel()
	g := onDisk(t, answering("allow_generate everyone"), quietly)
	ballast := g.fillUp(t)
	acknowledged := g.createUntilRefused(t, 4)
	if len(acknowledged) < 1000 {
		t.Errorf("only %d tokens were made", len(acknowledged))
	}
	living := g.livingOf(t, "bob")
	if diff := cmp.Diff(acknowledged, living); diff != "" {
		t.Errorf("living tokens (-acknowledged +living):\n%s", diff)
	}
	g.remove(t, as("alice"), api+"/"+living[0])
	g.kill9(t)
	g.up(t)
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	g.wait(t, "tokens are made again", func() bool {
		return g.do(t, ask{method: "POST", target: api, auth: as("carol"), body: `{"lifetimeSeconds": 3600}`}).status == http.StatusCreated
	})
	audited := replay(t, g.auditLines(t))
	for _, id := range living[1:] {
		if audited[id].TokenID == "" {
			t.Errorf("%s isn't in the audit", id)
		}
	}
	if _, there := audited[living[0]]; there || len(audited) != len(living) {
		t.Errorf("%d tokens are living by the audit, and %d were made", len(audited), len(living))
	}
}
