package contract

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"
)

// argon2id hashes a password in the form that caddy hash-password writes.
func argon2id(password string) string {
	salt := []byte("sixteen bytes 16")
	key := argon2.IDKey([]byte(password), salt, 1, 64, 1, 32)
	return fmt.Sprintf("$argon2id$v=%d$m=64,t=1,p=1$%s$%s", argon2.Version,
		base64.RawStdEncoding.EncodeToString(salt), base64.RawStdEncoding.EncodeToString(key))
}

func TestSigningInWithAPassword(t *testing.T) {
	t.Parallel()
	g := start(t, `
http://:{$PORT} {
	bind 127.0.0.1
	access_tokens {
		project dataprep
		admins alice
		allow_generate everyone
		sign_in_limit 1000 1m
		sign_in basic {
			alice {$ALICE_HASH}
			carol {$CAROL_HASH}
			"dora d'or" {$DORA_HASH} dora@example.com Dora
		}
	}
	reverse_proxy {$UPSTREAM}
}`, env("DORA_HASH", argon2id("dora's")))

	t.Run("each hash by its own prefix: bcrypt and argon2id side by side", func(t *testing.T) {
		for user, auth := range map[string]string{"alice": as("alice"), "carol": as("carol"), "dora d'or": basic("dora d'or", "dora's")} {
			made := g.create(t, auth, 60, "")
			wantProxied(t, g.do(t, ask{auth: bearer(made.value)}), user)
		}
	})
	t.Run("a failed one is the same 401 whether or not the user exists", func(t *testing.T) {
		want := g.do(t, ask{target: api, auth: basic("alice", "guess")})
		wantRefused(t, want, http.StatusUnauthorized, "AuthenticationRequired")
		want.header.Del("Date")
		for name, auth := range map[string]string{
			"a wrong password, argon2id": basic("dora d'or", "guess"),
			"an unknown user":            basic("eve", "guess"),
			"an unknown user's nothing":  basic("eve", ""),
			"nobody":                     basic("", ""),
			"nobody with a password":     basic("", passwords["alice"]),
			"no password":                basic("alice", ""),
			"another's password":         basic("alice", passwords["carol"]),
			"the name in another case":   basic("Alice", passwords["alice"]),
			"the name and a space":       basic("alice ", passwords["alice"]),
			"the password and a space":   basic("alice", passwords["alice"]+" "),
			"the password and a NUL":     basic("alice", passwords["alice"]+"\x00"),
			"the password cut":           basic("alice", passwords["alice"][:10]),
			"the hash":                   basic("alice", passwordHashes()["ALICE_HASH"]),
			"a placeholder":              basic("alice", "{env.ALICE_HASH}"),
			"a password of 80 bytes":     basic("alice", strings.Repeat("x", 80)), // bcrypt takes 72
		} {
			for _, a := range []ask{{target: api}, {method: "POST", target: api, body: `{"lifetimeSeconds": 60}`}} {
				a.auth = auth
				got := g.do(t, a)
				got.header.Del("Date")
				if diff := cmp.Diff(want.String(), got.String()); diff != "" {
					t.Errorf("%s (-a wrong password +this):\n%s", name, diff)
				}
			}
		}
	})
}

// A password takes as long to check whether or not there is such a user. This
// test runs alone: what it measures is work, and others would add theirs.
func TestTheTimeToAnswerDoesntTellWhetherAUserExists(t *testing.T) {
	hash, err := bcrypt.GenerateFromPassword([]byte(passwords["alice"]), 10)
	if err != nil {
		t.Fatal(err)
	}
	costly := string(hash)
	for name, hash := range map[string]string{"bcrypt": costly, "argon2id": slowArgon2id(passwords["alice"])} {
		t.Run(name, func(t *testing.T) {
			g := start(t, `
http://:{$PORT} {
	bind 127.0.0.1
	access_tokens {
		project dataprep
		admins alice
		sign_in basic {
			alice {$COSTLY_HASH}
		}
	}
	reverse_proxy {$UPSTREAM}
}`, env("COSTLY_HASH", hash))
			took := map[string][]time.Duration{}
			for range 6 {
				for _, user := range []string{"alice", "eve"} {
					began := time.Now()
					got := g.do(t, ask{target: api, auth: basic(user, "guess")})
					took[user] = append(took[user], time.Since(began))
					wantStatus(t, got, http.StatusUnauthorized)
				}
			}
			known, unknown := slices.Min(took["alice"]), slices.Min(took["eve"])
			if unknown < known/3 || unknown > known*3 {
				t.Errorf("a wrong password takes %v, an unknown user %v", known, unknown)
			}
		})
	}
}

// slowArgon2id is a hash that takes some tens of milliseconds to check.
func slowArgon2id(password string) string {
	salt := []byte("sixteen bytes 16")
	key := argon2.IDKey([]byte(password), salt, 1, 47104, 1, 32)
	return fmt.Sprintf("$argon2id$v=%d$m=47104,t=1,p=1$%s$%s", argon2.Version,
		base64.RawStdEncoding.EncodeToString(salt), base64.RawStdEncoding.EncodeToString(key))
}
