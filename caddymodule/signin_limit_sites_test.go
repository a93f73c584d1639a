package caddymodule

import (
	"encoding/base64"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/caddy-access-tokens/caddy-access-tokens/caddymodule/signin"
)

// twoSites have sign-ins and limits of their own, under /one and /two.
const twoSites = `
http://:PORT {
	bind 127.0.0.1
	handle_path /one/* {
		access_tokens {
			project one
			allow_generate everyone
			ONE
		}
		respond ok
	}
	handle_path /two/* {
		access_tokens {
			project two
			allow_generate everyone
			TWO
		}
		respond ok
	}
}`

func serveTwo(t *testing.T, one, two string) *server {
	t.Helper()
	return serveWith(t, "servers {\ntrusted_proxies static 127.0.0.1/32\n}", strings.NewReplacer("ONE", one, "TWO", two).Replace(twoSites))
}

// attemptsAt tells the statuses of so many sign-ins at one of two sites.
func (s *server) attemptsAt(t testing.TB, site string, n int, header http.Header) string {
	t.Helper()
	var statuses []string
	for range n {
		statuses = append(statuses, strconv.Itoa(s.ask(t, http.MethodGet, site+managementPath, "", header).status))
	}
	return strings.Join(statuses, " ")
}

// A password can't be guessed twice as often because two sites ask about it; but
// sites whose users have nothing to do with each other don't count together.
func TestTheLimitOfTwoSites(t *testing.T) {
	api := whoAmI(t, http.StatusUnauthorized, "").URL
	another := whoAmI(t, http.StatusUnauthorized, "").URL
	port := api[strings.LastIndex(api, ":"):]
	basic := func(users ...string) string {
		lines := "sign_in basic {\n"
		for _, user := range users {
			lines += user + " " + bcryptOf(t, "right") + "\n"
		}
		return lines + "}\n"
	}
	const placeholder = "\nsign_in placeholder {http.auth.user.id}"
	for name, test := range map[string]struct {
		one, two string
		shared   bool
	}{
		"one API":                           {"sign_in upstream " + api, "sign_in upstream " + api, true},
		"one API, otherwise":                {"sign_in upstream " + api + "/v4/me", "sign_in upstream " + api + "/v3/me {\nuser_id name\ncookies sid\n}", true},
		"one API, by another name":          {"sign_in upstream " + api, "sign_in upstream http://LOCALHOST" + port, true},
		"one API and more":                  {basic("bob") + "sign_in upstream " + api, "sign_in upstream " + api + placeholder, true},
		"two APIs":                          {"sign_in upstream " + api, "sign_in upstream " + another, false},
		"two APIs, beside a placeholder":    {"sign_in upstream " + api + placeholder, "sign_in upstream " + another + placeholder, false},
		"the same users":                    {basic("alice"), basic("alice"), true},
		"a user in common":                  {basic("alice", "bob"), basic("carol", "alice"), true},
		"no user in common":                 {basic("alice"), basic("bob"), true}, // or it would tell who is listed
		"users and an API":                  {basic("alice"), "sign_in upstream " + api, false},
		"one guest module":                  {"sign_in guest first", "sign_in guest second", true},
		"a guest module and an API":         {"sign_in guest first", "sign_in upstream " + api, false},
		"nothing but what stands in front":  {placeholder, placeholder, false},
		"two APIs, beside a guest in front": {"sign_in upstream " + api + "\nsign_in front", "sign_in upstream " + another + "\nsign_in front", false},
		"an API and what stands in front":   {"sign_in upstream " + api, placeholder, false},
	} {
		t.Run(name, func(t *testing.T) {
			const limit = "sign_in_limit 3 1h\n"
			s := serveTwo(t, limit+test.one, limit+test.two)
			header := basicFrom("192.0.2.1", "alice")
			if got := s.attemptsAt(t, "/one", 2, header); got != "401 401" {
				t.Fatalf("at one: %s", got)
			}
			want := "401 401"
			if test.shared {
				want = "401 429"
			}
			if got := s.attemptsAt(t, "/two", 2, header); got != want {
				t.Errorf("at the other: %s, want %s", got, want)
			}
			if got := s.attemptsAt(t, "/two", 1, basicFrom("192.0.2.2", "alice")); got != "401" {
				t.Errorf("from elsewhere: %s", got)
			}
		})
	}
}

// Each site judges the failures of all by its own limit.
func TestTwoSitesWithLimitsOfTheirOwn(t *testing.T) {
	s := serveTwo(t, "sign_in_limit 5 1h\nsign_in guest first", "sign_in_limit 3 1h\nsign_in guest first")
	answer(t, "first", says(signin.User{}, signin.ErrDenied))
	header := basicFrom("192.0.2.1", "alice")
	for _, step := range []struct{ site, want string }{
		{"/one", "401 401"}, {"/two", "401 429"}, {"/one", "401 401"}, {"/one", "429 429"}, {"/two", "429 429"},
	} {
		if got := s.attemptsAt(t, step.site, 2, header); got != step.want {
			t.Errorf("%s: %s, want %s", step.site, got, step.want)
		}
	}
}

// What has failed is still known after a reload, also by another limit. Nobody
// gets new guesses because the owner reloads.
func TestTheLimitOutlivesAReload(t *testing.T) {
	s := serveLimited(t, "sign_in basic {\nalice "+bcryptOf(t, "secret")+"\n}")
	wrong := basicFrom("192.0.2.1", "alice")
	wrong.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte("alice:guess")))
	if got := s.attempts(t, 3, wrong); got != "401 401 429" {
		t.Fatalf("before: %s", got)
	}
	for _, limit := range []string{"sign_in_limit 2 1h", "sign_in_limit 1 2h"} {
		// At another port: connections to this one may still lead to what was
		// configured before.
		s.port = freePort(t)
		sites := strings.Replace(limitedSite, "sign_in_limit 2 1h", limit, 1)
		if err := s.load(t, strings.Replace(sites, "SIGN_INS", "sign_in basic {\nbob "+bcryptOf(t, "b")+"\nalice "+bcryptOf(t, "secret")+"\n}", 1)); err != nil {
			t.Fatal(err)
		}
		if got := s.attemptsAt(t, "", 1, basicFrom("192.0.2.1", "alice")); got != "429" {
			t.Errorf("with %s: %s", limit, got)
		}
		if got := s.attemptsAt(t, "", 1, basicFrom("192.0.2.2", "alice")); got != "200" {
			t.Errorf("with %s, from elsewhere: %s", limit, got)
		}
	}
}
