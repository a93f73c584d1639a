package contract

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Programs that know user name and password alone, real ones, with a token as the
// password. Each takes ACCESS_TOKENS_TEST_SERVERS=1 and Debian's package of it.

// A home is a directory in which somebody else's programs run, which is their HOME.
type home struct {
	dir string
	env []string // beside the usual
}

func newHome(t *testing.T) home { return home{dir: t.TempDir()} }

// run runs a program, and returns what it says and whether it has succeeded.
func (h home) run(t *testing.T, program string, args ...string) (said string, ok bool) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Dir = h.dir
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + h.dir, "TMPDIR=" + h.dir, "NO_PROXY=*",
		"GIT_TERMINAL_PROMPT=0", "GIT_CONFIG_NOSYSTEM=1", "HGPLAIN=1",
	}
	cmd.Env = append(cmd.Env, h.env...)
	out, err := cmd.CombinedOutput()
	return string(out), err == nil
}

// must is run of what has to succeed.
func (h home) must(t *testing.T, program string, args ...string) string {
	t.Helper()
	said, ok := h.run(t, program, args...)
	if !ok {
		t.Fatalf("%s %s: %s", program, strings.Join(args, " "), said)
	}
	return said
}

// mustNot is run of what has to fail, without asking anybody anything.
func (h home) mustNot(t *testing.T, program string, args ...string) string {
	t.Helper()
	said, ok := h.run(t, program, args...)
	if ok {
		t.Fatalf("%s %s succeeds: %s", program, strings.Join(args, " "), said)
	}
	return said
}

func (h home) write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(h.dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// takingBasic is a gateway that takes tokens from Basic, with a program behind.
func takingBasic(t *testing.T, behind server, options string) *gateway {
	t.Helper()
	return start(t, site("allow_generate everyone\ntoken_from basic\n"+options), env("UPSTREAM", behind.address))
}

func TestGitClonesAndPushesWithATokenAsThePassword(t *testing.T) {
	t.Parallel()
	wantServers(t)
	here := newHome(t)
	here.must(t, "git", "init", "-q", "--bare", "-b", "main", "repositories/app.git")
	// Whoever pushes is who the gateway says.
	here.write(t, "repositories/app.git/hooks/post-receive", "#!/bin/sh\nprintf %s \"$REMOTE_USER\" >pushed-by\n")
	if err := os.Chmod(filepath.Join(here.dir, "repositories/app.git/hooks/post-receive"), 0o700); err != nil {
		t.Fatal(err)
	}
	behind := serve(t, "lighttpd", "-D", "-f", "{DIR}/git.conf", "REPOSITORIES="+filepath.Join(here.dir, "repositories"))
	g := takingBasic(t, behind, "")
	front := nginxBefore(t, g)
	token := g.create(t, as("bob"), 3600, "")
	url := func(credentials string) string { return "http://" + credentials + front.address + "/git/app.git" }

	here.must(t, "git", "clone", "-q", url("anything:"+token.value+"@"), "work")
	here.write(t, "work/file", strings.Repeat("a line\n", 1000))
	// More than git buffers, so that it is sent in chunks, and a probe goes ahead.
	here.write(t, "work/large", randomText(3<<20))
	in := func(args ...string) []string {
		return append([]string{"-C", "work", "-c", "user.name=Bob", "-c", "user.email=bob@example.com"}, args...)
	}
	here.must(t, "git", in("add", ".")...)
	here.must(t, "git", in("commit", "-q", "-m", "A change")...)
	here.must(t, "git", in("push", "-q", "origin", "HEAD:main")...)
	if by := read(t, filepath.Join(here.dir, "repositories/app.git/pushed-by")); by != "bob" {
		t.Errorf("pushed by %q", by)
	}
	here.must(t, "git", "clone", "-q", url(token.value+":x-oauth-basic@"), "by-name")
	if read(t, filepath.Join(here.dir, "by-name/large")) != read(t, filepath.Join(here.dir, "work/large")) {
		t.Error("what was cloned isn't what was pushed")
	}
	t.Run("from where git keeps passwords", func(t *testing.T) {
		here.write(t, ".git-credentials", "http://bob:"+token.value+"@"+front.address+"\n")
		here.must(t, "git", "-c", "credential.helper=store", "clone", "-q", url(""), "stored")
		here.write(t, ".netrc", "machine 127.0.0.1 login bob password "+token.value+"\n")
		here.must(t, "git", "clone", "-q", url(""), "netrc")
	})
	g.remove(t, as("bob"), token.target())
	if said := here.mustNot(t, "git", "clone", "-q", url("bob:"+token.value+"@"), "deleted"); !strings.Contains(said, "Authentication failed") {
		t.Errorf("git says %q of a deleted token", said)
	}
}

// randomText is text that doesn't compress to much less.
func randomText(size int) string {
	var b strings.Builder
	for sum := sha256.Sum256(nil); b.Len() < size; sum = sha256.Sum256(sum[:]) {
		fmt.Fprintf(&b, "%x\n", sum)
	}
	return b.String()
}

func TestSkopeoPushesToARegistryWithATokenAsThePassword(t *testing.T) {
	t.Parallel()
	wantServers(t)
	behind := serve(t, "docker-registry", "serve", "{DIR}/registry.conf")
	g := takingBasic(t, behind, "")
	token := g.create(t, as("bob"), 3600, "")
	here := newHome(t)
	writeImage(t, filepath.Join(here.dir, "image"))
	image := "docker://" + g.addresses[0] + "/team/app:1"
	here.must(t, "skopeo", "--insecure-policy", "copy", "--dest-tls-verify=false", "--dest-creds", "bob:"+token.value, "oci:image:1", image)
	here.must(t, "skopeo", "--insecure-policy", "copy", "--src-tls-verify=false", "--src-creds", "bob:"+token.value, image, "oci:copy:1")
	if said := here.must(t, "skopeo", "inspect", "--tls-verify=false", "--creds", "bob:"+token.value, image); !strings.Contains(said, "team/app") {
		t.Errorf("skopeo says %s", said)
	}
	t.Run("after a login", func(t *testing.T) {
		here.must(t, "skopeo", "login", "--tls-verify=false", "--authfile", "auth.json", "-u", "bob", "-p", token.value, g.addresses[0])
		here.must(t, "skopeo", "inspect", "--tls-verify=false", "--authfile", "auth.json", image)
	})
	here.mustNot(t, "skopeo", "inspect", "--tls-verify=false", image)
	g.remove(t, as("bob"), token.target())
	here.mustNot(t, "skopeo", "inspect", "--tls-verify=false", "--creds", "bob:"+token.value, image)
	here.mustNot(t, "skopeo", "login", "--tls-verify=false", "--authfile", "other.json", "-u", "bob", "-p", token.value, g.addresses[0])
}

// crane comes from its Go module: ACCESS_TOKENS_TEST_CRANE is its path.
func TestCranePushesToARegistryWithATokenAsThePassword(t *testing.T) {
	t.Parallel()
	wantServers(t)
	crane := os.Getenv("ACCESS_TOKENS_TEST_CRANE")
	if crane == "" {
		t.Skip("set ACCESS_TOKENS_TEST_CRANE to the path of crane (github.com/google/go-containerregistry/cmd/crane)")
	}
	behind := serve(t, "docker-registry", "serve", "{DIR}/registry.conf")
	g := takingBasic(t, behind, "")
	token := g.create(t, as("bob"), 3600, "")
	here := newHome(t)
	writeImage(t, filepath.Join(here.dir, "image"))
	image := g.addresses[0] + "/team/app:1"
	here.mustNot(t, crane, "push", "image", image)
	here.must(t, crane, "auth", "login", g.addresses[0], "-u", "bob", "-p", token.value)
	here.must(t, crane, "push", "image", image)
	here.must(t, crane, "pull", "--format", "oci", image, "copy")
	if said := here.must(t, crane, "catalog", g.addresses[0]); said != "team/app\n" {
		t.Errorf("crane says %q", said)
	}
	g.remove(t, as("bob"), token.target())
	here.mustNot(t, crane, "digest", image)
}

// writeImage makes an image of one layer with one file, as an OCI image layout.
func writeImage(t *testing.T, dir string) {
	t.Helper()
	blobs := filepath.Join(dir, "blobs", "sha256")
	if err := os.MkdirAll(blobs, 0o700); err != nil {
		t.Fatal(err)
	}
	write := func(name string, content []byte) {
		if err := os.WriteFile(name, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	blob := func(kind string, content []byte) map[string]any {
		sum := fmt.Sprintf("%x", sha256.Sum256(content))
		write(filepath.Join(blobs, sum), content)
		return map[string]any{"mediaType": "application/vnd.oci.image." + kind, "digest": "sha256:" + sum, "size": len(content)}
	}
	text := func(v any) []byte {
		content, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return content
	}
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	content := randomText(1 << 20)
	if err := w.WriteHeader(&tar.Header{Name: "file", Mode: 0o600, Size: int64(len(content))}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte(content)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	only := blob("layer.v1.tar", layer.Bytes())
	config := blob("config.v1+json", text(map[string]any{
		"architecture": "amd64", "os": "linux", "rootfs": map[string]any{"type": "layers", "diff_ids": []any{only["digest"]}},
	}))
	manifest := blob("manifest.v1+json", text(map[string]any{
		"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": config, "layers": []any{only},
	}))
	manifest["annotations"] = map[string]any{"org.opencontainers.image.ref.name": "1"}
	write(filepath.Join(dir, "index.json"), text(map[string]any{"schemaVersion": 2, "manifests": []any{manifest}}))
	write(filepath.Join(dir, "oci-layout"), text(map[string]any{"imageLayoutVersion": "1.0.0"}))
}

func TestCurlSendsATokenAsThePassword(t *testing.T) {
	t.Parallel()
	wantServers(t)
	g := start(t, site("allow_generate everyone\ntoken_from basic\ntoken_from header X-API-Key"))
	token := g.create(t, as("bob"), 3600, "")
	here := newHome(t)
	here.write(t, "netrc", "machine 127.0.0.1 login bob password "+token.value+"\n")
	url := "http://" + g.addresses[0] + "/v3/things"
	for _, args := range [][]string{
		{"-u", "bob:" + token.value},
		{"-u", token.value + ":"},
		{"-u", ":" + token.value},
		{"--anyauth", "-u", "bob:" + token.value},
		{"--netrc-file", "netrc"},
		{"--anyauth", "--netrc-file", "netrc", "-d", "a=b"},
		{"-H", "X-API-Key: " + token.value},
		{"--oauth2-bearer", token.value},
	} {
		if said := here.must(t, "curl", append(args, "-sSf", url)...); !strings.Contains(said, `"Remote-User":["bob"]`) {
			t.Errorf("curl %q: the API was sent %s", args[0], said)
		}
	}
	if said := here.must(t, "curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", "-u", "bob:"+neverIssued("cat"), url); said != fmt.Sprint(http.StatusUnauthorized) {
		t.Errorf("status %s", said)
	}
}

func TestMercurialClonesAndPushesWithATokenAsThePassword(t *testing.T) {
	t.Parallel()
	wantServers(t)
	here := newHome(t)
	here.must(t, "hg", "init", "repository")
	here.write(t, "repository/.hg/hgrc", "[web]\npush_ssl = false\nallow-push = *\n")
	behind := serve(t, "hg", "serve", "-R", filepath.Join(here.dir, "repository"), "-a", "127.0.0.1", "-p", "{PORT}")
	g := takingBasic(t, behind, "")
	token := g.create(t, as("bob"), 3600, "")
	url := "http://bob:" + token.value + "@" + g.addresses[0] + "/"
	here.must(t, "hg", "clone", "-q", url, "work")
	here.write(t, "work/file", randomText(1<<20))
	here.must(t, "hg", "-R", "work", "commit", "-q", "-A", "-u", "bob", "-m", "A change", "work/file")
	here.must(t, "hg", "-R", "work", "push", "-q", url)
	if said := here.must(t, "hg", "-R", "repository", "log", "-T", "{desc}"); said != "A change" {
		t.Errorf("the repository has %q", said)
	}
	g.remove(t, as("bob"), token.target())
	here.mustNot(t, "hg", "--config", "ui.interactive=false", "clone", "-q", url, "deleted")
}

func TestRcloneUsesWebDAVWithATokenAsThePassword(t *testing.T) {
	t.Parallel()
	wantServers(t)
	here := newHome(t)
	if err := os.Mkdir(filepath.Join(here.dir, "files"), 0o700); err != nil {
		t.Fatal(err)
	}
	behind := serve(t, "rclone", "--config", "{DIR}/rclone.txt", "serve", "webdav", "--addr", "{ADDRESS}", filepath.Join(here.dir, "files"))
	g := takingBasic(t, behind, "")
	token := g.create(t, as("bob"), 3600, "")
	remote := func(value string) []string {
		obscured := strings.TrimSpace(here.must(t, "rclone", "obscure", value))
		return []string{"-q", "--config", "rclone.txt", "--retries", "1", "--webdav-url", "http://" + g.addresses[0], "--webdav-user", "bob", "--webdav-pass", obscured}
	}
	here.write(t, "file", randomText(1<<20))
	here.must(t, "rclone", append(remote(token.value), "copy", "file", ":webdav:below")...)
	if read(t, filepath.Join(here.dir, "files/below/file")) != read(t, filepath.Join(here.dir, "file")) {
		t.Error("what arrived isn't what was sent")
	}
	if said := here.must(t, "rclone", append(remote(token.value), "lsf", ":webdav:below")...); said != "file\n" {
		t.Errorf("rclone lists %q", said)
	}
	here.mustNot(t, "rclone", append(remote(neverIssued("cat")), "lsf", ":webdav:below")...)
}
