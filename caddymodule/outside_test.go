package caddymodule

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// outsideMain is Caddy with this module and a sign-in of somebody else's.
const outsideMain = `package main

import (
	"net/http"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/standard"

	_ "github.com/caddy-access-tokens/caddy-access-tokens/caddymodule"
	"github.com/caddy-access-tokens/caddy-access-tokens/caddymodule/signin"
)

func init() { caddy.RegisterModule(new(Badge)) }

// Badge signs in whoever shows a badge.
type Badge struct {
	Header string ` + "`json:\"header\"`" + `
}

func (*Badge) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "access_tokens.sign_in.badge", New: func() caddy.Module { return new(Badge) }}
}

func (b *Badge) SignIn(r *http.Request) (signin.User, error) {
	switch badge := r.Header.Get(b.Header); badge {
	case "":
		return signin.User{}, signin.ErrNotMine
	case "forged":
		return signin.User{}, signin.ErrDenied
	default:
		return signin.User{
			ID: badge, Email: badge + "@example.com", Name: badge, Admin: badge == "boss",
			Claims: map[string]string{"desk": "7"},
		}, nil
	}
}

func (*Badge) TakesBasic() bool { return false }

func (b *Badge) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if !d.AllArgs(&b.Header) {
		return d.ArgErr()
	}
	return nil
}

var (
	_ signin.SignIn     = (*Badge)(nil)
	_ signin.BasicTaker = (*Badge)(nil)
	_ caddyfile.Unmarshaler  = (*Badge)(nil)
)

func main() { caddycmd.Main() }
`

// Another module can build Caddy with this one in it, and bring a sign-in of its
// own. Nothing but Go is needed for it, and nothing is downloaded.
func TestAnotherModuleBringsItsOwnSignIn(t *testing.T) {
	checkout, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name, content string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	read := func(name string) string {
		t.Helper()
		content, err := os.ReadFile(filepath.Join(checkout, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(content)
	}
	const self = "github.com/caddy-access-tokens/caddy-access-tokens"
	// All the versions that this checkout is built with, so that no others are
	// looked for.
	ours := strings.Replace(read("go.mod"), "module "+self+"\n", "module example.com/gateway\n", 1)
	write("go.mod", ours+"\nrequire "+self+" v0.0.0\n\nreplace "+self+" => "+strconv.Quote(checkout)+"\n")
	write("go.sum", read("go.sum"))
	write("main.go", outsideMain)
	write("Caddyfile", site("admins boss\nsign_in badge X-Badge"))

	binary := filepath.Join(dir, "gateway")
	run := func(variables []string, name string, args ...string) string {
		t.Helper()
		command := exec.CommandContext(t.Context(), name, args...)
		command.Dir = dir
		command.Env = append(slices.Clone(environment), variables...)
		output, err := command.CombinedOutput()
		if err != nil {
			t.Fatalf("%s %s: %v\n%s", filepath.Base(name), strings.Join(args, " "), err, output)
		}
		return string(output)
	}
	run([]string{"GOFLAGS=-mod=mod", "GOPROXY=off", "GOWORK=off"}, "go", "build", "-o", binary, ".")
	inDir := []string{"HOME=" + dir, "XDG_DATA_HOME=" + dir, "XDG_CONFIG_HOME=" + dir}
	modules := strings.Fields(run(inDir, binary, "list-modules"))
	for _, want := range []string{
		"access_tokens", "http.handlers.access_tokens", "http.matchers.access_token",
		"access_tokens.sign_in.basic", "access_tokens.sign_in.badge",
	} {
		if !slices.Contains(modules, want) {
			t.Errorf("list-modules doesn't list %s", want)
		}
	}
	if output := run(inDir, binary, "validate", "--config", "Caddyfile"); !strings.Contains(output, "Valid configuration") {
		t.Errorf("validate says:\n%s", output)
	}
}
