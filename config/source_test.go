package config

import (
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

func TestSources(t *testing.T) {
	for text, depends := range map[string]bool{
		"":                                false,
		"gateway":                         false,
		"{http.auth.user.id}":             true,
		"{http.auth.user.workspace-id_2}": true,
		"{http.reverse_proxy.header.Remote-User}":      true,
		"{http.request.tls.client.subject}":            true,
		"{http.request.tls.client.san.dns_names.0}":    true,
		"ldap-{http.auth.user.id}@{env.REALM}":         true,
		"{env.REALM}":                                  false,
		"{file./etc/caddy/realm}":                      false,
		`{file.C:\caddy\realm}`:                        false,
		"{system.hostname}":                            false,
		`\{"user": "{http.auth.user.id}"\}`:            true,
		`\{http.auth.user.id\}`:                        false,
		`\{http.request.header.X-User\}`:               false, // a text
		"{http.auth.user.id}{http.auth.user.token_id}": true,
	} {
		if err := CheckSource(text); err != nil {
			t.Errorf("%s: %v", text, err)
		}
		if got := DependsOnRequest(text); got != depends {
			t.Errorf("%s: depends on the request: %t", text, got)
		}
	}
}

// What a client can choose, under every name that Caddy has for it, and what
// Caddy could read as such.
var notSources = []string{
	"{http.request.header.X-User}", "{http.request.uri.query.u}", "{http.request.cookie.u}", "{http.request.uri.path.0}",
	"{http.request.host}", "{http.request.remote.host}", "{http.request.body}", "{http.request.orig_uri.path}", "{http.request.uuid}",
	"{http.request.tls.server_name}", "{http.request.tls.version}", "{http.request.tls.clients.subject}", "{http.request.tls.client.}",
	"{http.vars.client_ip}", "{http.vars.user}", "{http.regexp.u.1}", "{http.matchers.file.relative}", "{http.error.message}",
	"{http.intercept.header.X}", "{http.response.header.X}", "{http.reverse_proxy.upstream.hostport}", "{http.reverse_proxy.headers.X}",
	"{http.auth.http_basic.error}", "{http.auth.users.id}", "{http.auth.user.}", "{http.auth.user}",
	"{http.auth.user.id:nobody}", "{http.auth.user.id }", "{HTTP.auth.user.id}", "{env.}", "{env}", "{ENV.X}", "{time.now}", "{user}",
	// Shorthands that only the Caddyfile knows.
	"{header.X-User}", "{query.u}", "{cookie.u}", "{client_ip}", "{tls_client_subject}", "{vars.user}", "{remote_host}", "{rp.header.Remote-User}", "{path}",
	// Odd braces.
	"{", "}", "{}", "{{http.auth.user.id}}", "{http.auth.user.{query.u}}", "{http.auth.user.id", "http.auth.user.id}", "{http.auth.user.id}}",
	`{http.auth.user.id\}`, `{env.X\}{query.u}`, `{env.X{http.request.header.X}}`, `{file.{http.request.uri.path}}`, `\{{query.u}`, `{http.auth.user.id}{query.u}`,
}

func TestWhatAClientChoosesIsNoSource(t *testing.T) {
	for _, text := range notSources {
		for _, whole := range []string{text, "x" + text, text + "x"} {
			err := CheckSource(whole)
			if err == nil {
				t.Errorf("%s is allowed", whole)
			} else if !strings.Contains(err.Error(), "http.auth.user.") {
				t.Errorf("%s: %v: it doesn't say what is allowed", whole, err)
			}
		}
	}
	if err := CheckIdentity(map[string]string{"X-User": "{http.vars.user}"}); err == nil || !strings.Contains(err.Error(), "identity: X-User: ") {
		t.Errorf("identity: %v", err)
	}
}

// Whatever is a source, Caddy reads no other placeholders in it than those that
// were looked at.
func FuzzSource(f *testing.F) {
	for _, text := range slices.Concat(notSources, []string{`\{a{http.auth.user.id}\}`, "{env.X}{env.Y}", `{file.a\b}`}) {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		const chosen = "\x00chosen by the client\x00"
		if CheckSource(text) != nil || strings.Contains(text, chosen) {
			return
		}
		repl := caddy.NewEmptyReplacer()
		repl.Map(func(name string) (any, bool) {
			if ofRequest.MatchString(name) || ofOwner.MatchString(name) {
				return "fine", true
			}
			return chosen, true
		})
		strict, err := repl.ReplaceOrErr(text, true, true)
		if err != nil {
			t.Errorf("%q: %v", text, err)
		}
		for _, got := range []string{strict, repl.ReplaceAll(text, ""), repl.ReplaceKnown(text, "")} {
			if strings.Contains(got, chosen) {
				t.Errorf("%q becomes %q", text, got)
			}
		}
	})
}
