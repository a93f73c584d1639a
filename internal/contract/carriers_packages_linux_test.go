package contract

import (
	"archive/zip"
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
)

// Programs that fetch packages, with a token as the password of a .netrc or of a URL.

// packagesAt serves these files behind a gateway, by their paths.
func packagesAt(t *testing.T, files map[string]string) option {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		content, found := files[r.URL.Path]
		if !found {
			http.NotFound(w, r)
			return
		}
		_, _ = io.WriteString(w, content)
	}))
	t.Cleanup(server.Close)
	return env("UPSTREAM", server.Listener.Addr().String())
}

// zipped is an archive of these files, by their names.
func zipped(t *testing.T, files map[string]string) string {
	t.Helper()
	var archive bytes.Buffer
	w := zip.NewWriter(&archive)
	for name, content := range files {
		file, err := w.Create(name)
		if err == nil {
			_, err = io.WriteString(file, content)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return archive.String()
}

func TestPipInstallsWithATokenAsThePassword(t *testing.T) {
	t.Parallel()
	wantServers(t)
	const wheel = "example-1.0-py3-none-any.whl"
	g := start(t, site("allow_generate everyone\ntoken_from basic"), packagesAt(t, map[string]string{
		"/simple/example/": `<!DOCTYPE html><a href="/files/` + wheel + `">` + wheel + `</a>`,
		"/files/" + wheel: zipped(t, map[string]string{
			"example.py":                   "",
			"example-1.0.dist-info/WHEEL":  "Wheel-Version: 1.0\nGenerator: a-test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
			"example-1.0.dist-info/RECORD": "", "example-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: example\nVersion: 1.0\n",
		}),
	}))
	token := g.create(t, as("bob"), 3600, "")
	here := newHome(t)
	download := func(credentials, into string) []string {
		return []string{"-m", "pip", "--isolated", "--no-input", "--no-cache-dir", "--disable-pip-version-check", "download", "--no-deps",
			"--index-url", "http://" + credentials + g.addresses[0] + "/simple/", "-d", into, "example"}
	}
	here.must(t, debiansPython, download("bob:"+token.value+"@", "by-url")...)
	here.must(t, debiansPython, download(token.value+":@", "by-name")...)
	here.mustNot(t, debiansPython, download("", "without")...)
	here.write(t, ".netrc", "machine 127.0.0.1 login bob password "+token.value+"\n")
	here.must(t, debiansPython, download("", "by-netrc")...)
	g.remove(t, as("bob"), token.target())
	here.mustNot(t, debiansPython, download("", "deleted")...)
}

func TestGoFetchesModulesWithATokenAsThePassword(t *testing.T) {
	t.Parallel()
	wantServers(t)
	const module = "module example.test/m\n"
	// The go command sends no credentials over plain http.
	overTLS := strings.Replace(site("allow_generate everyone\ntoken_from basic"), "http://:{$PORT} {",
		"https://localhost:{$PORT} {\n\ttls {$DIR}/certificate.pem {$DIR}/key.pem", 1) + siteAt("{$PORT2}", "allow_generate everyone")
	g := prepare(t, overTLS, packagesAt(t, map[string]string{
		"/example.test/m/@v/list":        "v1.0.0\n",
		"/example.test/m/@v/v1.0.0.info": `{"Version": "v1.0.0"}`,
		"/example.test/m/@v/v1.0.0.mod":  module,
		"/example.test/m/@v/v1.0.0.zip":  zipped(t, map[string]string{"example.test/m@v1.0.0/go.mod": module, "example.test/m@v1.0.0/m.go": "package m\n"}),
	}))
	g.writeCertificate(t)
	g.up(t)
	token := g.createAt(t, 1, as("bob"), 3600, "")
	_, port, _ := strings.Cut(g.addresses[0], ":")
	here := newHome(t)
	here.env = []string{
		"GOPROXY=https://localhost:" + port, "GOSUMDB=off", "GOFLAGS=-modcacherw -mod=mod", "GOTOOLCHAIN=local", "GO111MODULE=on",
		"SSL_CERT_FILE=" + filepath.Join(g.dir, "certificate.pem"), "GOENV=off", "GOTELEMETRY=off",
	}
	here.mustNot(t, "go", "mod", "download", "example.test/m@v1.0.0")
	here.write(t, ".netrc", "machine localhost:"+port+" login bob password "+token.value+"\n") // a port is part of its name to go
	if said := here.must(t, "go", "mod", "download", "-json", "example.test/m@v1.0.0"); !strings.Contains(said, `"Version": "v1.0.0"`) {
		t.Errorf("go says %s", said)
	}
}
