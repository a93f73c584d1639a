package contract

import (
	"slices"
	"strings"
	"testing"
)

// Caddy's own commands know the directive.
func TestCaddysCommands(t *testing.T) {
	t.Parallel()
	g := start(t, site("allow_generate everyone"))
	made := g.create(t, as("bob"), 3600, "")
	config := []string{"--config", g.configFile(), "--adapter", "caddyfile"}

	t.Run("validate, beside a running server with the same store", func(t *testing.T) {
		if output, exit := g.caddy(t, append([]string{"validate"}, config...)...); exit != 0 {
			t.Errorf("exit code %d:\n%s", exit, output)
		}
		wantProxied(t, g.do(t, ask{auth: bearer(made.value)}), "bob")
		g.create(t, bearer(made.value), 60, "")
	})
	t.Run("adapt", func(t *testing.T) {
		output, exit := g.caddy(t, append([]string{"adapt"}, config...)...)
		if exit != 0 || !strings.Contains(output, `"handler":"access_tokens"`) {
			t.Errorf("exit code %d:\n%s", exit, output)
		}
	})
	t.Run("list-modules", func(t *testing.T) {
		output, exit := g.caddy(t, "list-modules")
		modules := strings.Fields(output)
		for _, want := range []string{"access_tokens", "access_tokens.sign_in.basic", "http.handlers.access_tokens", "http.matchers.access_token"} {
			if exit != 0 || !slices.Contains(modules, want) {
				t.Errorf("exit code %d, no module %s", exit, want)
			}
		}
	})
	t.Run("a reload that fails leaves the running configuration as it was", func(t *testing.T) {
		for name, sites := range map[string]string{
			"an unknown option":        site("allow_generate everyone\nno_such_option"),
			"another handler is wrong": site("allow_generate everyone") + "http://:{$PORT2} {\n\tbind 127.0.0.1\n\treverse_proxy {$UPSTREAM} {\n\t\tlb_policy none\n\t}\n}\n",
			"a port that is taken":     site("allow_generate everyone") + strings.ReplaceAll(siteAt("{$TAKEN}", "project other"), "{$TAKEN}", portOf(g.api.address)),
		} {
			if complaint := g.reload(t, sites); complaint == "" {
				t.Errorf("%s: it was taken", name)
			}
			wantProxied(t, g.do(t, ask{auth: bearer(made.value)}), "bob")
			g.create(t, bearer(made.value), 60, "")
		}
	})
}

func portOf(address string) string {
	_, port, _ := strings.Cut(address, ":")
	return port
}
