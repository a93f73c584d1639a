package basic

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/caddyauth"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"
	"pgregory.net/rapid"

	"github.com/caddy-access-tokens/caddy-access-tokens/caddymodule/signin"
)

const (
	bcryptOfSomething   = "$2a$14$X3ulqf/iGxnf1k6oMZ.RZeJUoqI9PX2PM4rS5lkIKJXduLGXGPrt6"
	argon2idOfSomething = "$argon2id$v=19$m=47104,t=1,p=1$P2nzckEdTZ3bxCiBCkRTyA$xQL3Z32eo5jKl7u5tcIsnEKObYiyNZQQf5/4sAau6Pg"
)

// The cheapest hashes there are.
func bcryptOf(t testing.TB, password string) string {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	return string(hash)
}

func argon2idOf(password string) string {
	salt := []byte("sixteen bytes 16")
	key := argon2.IDKey([]byte(password), salt, 1, 8, 1, 32)
	return fmt.Sprintf("$argon2id$v=%d$m=8,t=1,p=1$%s$%s", argon2.Version,
		base64.RawStdEncoding.EncodeToString(salt), base64.RawStdEncoding.EncodeToString(key))
}

// provision readies a sign-in as Caddy does.
func provision(t testing.TB, accounts ...Account) *SignIn {
	t.Helper()
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	t.Cleanup(cancel)
	b := &SignIn{Accounts: accounts}
	if err := b.Provision(ctx); err != nil {
		t.Fatal(err)
	}
	return b
}

func basicRequest(user, password string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.SetBasicAuth(user, password)
	return r
}

// spy sees the hashes that passwords are compared with.
type spy struct {
	compared []string
	// before, if set, is called at each comparison instead of noting it.
	before func()
}

// on makes the spy see what b compares.
func (s *spy) on(b *SignIn) *spy {
	for _, a := range b.all {
		a.comparer = spied{s, a.comparer}
	}
	return s
}

type spied struct {
	by    *spy
	inner interface {
		Compare(hashed, plaintext []byte) (bool, error)
	}
}

func (s spied) Compare(hashed, plaintext []byte) (bool, error) {
	if s.by.before != nil {
		s.by.before()
	} else {
		s.by.compared = append(s.by.compared, string(hashed))
	}
	return s.inner.Compare(hashed, plaintext)
}

// Three users whose passwords take different work to compare.
func threeAccounts(t testing.TB) []Account {
	return []Account{
		{User: "alice", Hash: bcryptOf(t, "alice's"), Email: "alice@example.com", Name: "Alice A."},
		{User: "bob", Hash: argon2idOf("bob's")},
		{User: "carol", Hash: base64.StdEncoding.EncodeToString([]byte(bcryptOf(t, "carol's")))},
	}
}

func TestBasicSignIn(t *testing.T) {
	b := provision(t, threeAccounts(t)...)
	for _, test := range []struct {
		user, password string
		want           signin.User
		err            error
	}{
		{"alice", "alice's", signin.User{ID: "alice", Email: "alice@example.com", Name: "Alice A."}, nil},
		{"bob", "bob's", signin.User{ID: "bob"}, nil},
		{"carol", "carol's", signin.User{ID: "carol"}, nil},
		{"alice", "bob's", signin.User{}, signin.ErrDenied},
		{"bob", "", signin.User{}, signin.ErrDenied},
		{"Alice", "alice's", signin.User{}, signin.ErrNotMine},
		{"dora", "", signin.User{}, signin.ErrNotMine},
	} {
		got, err := b.SignIn(basicRequest(test.user, test.password))
		if got.ID != test.want.ID || got.Email != test.want.Email || got.Name != test.want.Name || got.Admin || !errors.Is(err, test.err) {
			t.Errorf("%s with %q: %+v, %v, want %+v, %v", test.user, test.password, got, err, test.want, test.err)
		}
	}
	for name, lines := range map[string][]string{
		"no credentials":     nil,
		"a token":            {"Bearer cat_x"},
		"two lines":          {basicRequest("alice", "alice's").Header.Get("Authorization"), basicRequest("bob", "bob's").Header.Get("Authorization")},
		"no colon":           {"Basic " + base64.StdEncoding.EncodeToString([]byte("alice"))},
		"no base64":          {"Basic alice:alice's"},
		"another scheme":     {"Digest username=alice"},
		"a malformed header": {"Basic"},
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header["Authorization"] = lines
		if _, err := b.SignIn(r); !errors.Is(err, signin.ErrNotMine) {
			t.Errorf("%s: %v, want signin.ErrNotMine", name, err)
		}
	}
}

// Who tries names can't tell from the work done which of them are listed: each
// attempt is one comparison, with the hash of one account, which is the same at
// each attempt and after a restart.
func TestAnUnlistedUserCostsWhatAListedOneDoes(t *testing.T) {
	accounts := threeAccounts(t)
	first, restarted := provision(t, accounts...), provision(t, accounts...)
	spies := []*spy{new(spy).on(first), new(spy).on(restarted)}
	hashes := make(map[string]int)
	for i := range 120 {
		name := fmt.Sprintf("user-%d", i)
		var compared []string
		for range 2 {
			for n, b := range []*SignIn{first, restarted} {
				// Their passwords mustn't help anybody who isn't listed.
				password := []string{"alice's", "bob's", "carol's"}[i%3]
				if u, err := b.SignIn(basicRequest(name, password)); u.ID != "" || !errors.Is(err, signin.ErrNotMine) {
					t.Fatalf("%s: %+v, %v, want nobody and signin.ErrNotMine", name, u, err)
				}
				compared = append(compared, spies[n].compared...)
				spies[n].compared = nil
			}
		}
		if len(compared) != 4 || len(slices.Compact(slices.Clone(compared))) != 1 {
			t.Fatalf("%s: four attempts compare with %q, want one and the same hash each", name, compared)
		}
		hashes[compared[0]]++
	}
	for _, a := range first.all {
		if hashes[string(a.hash)] < 15 {
			t.Errorf("of 120 unlisted users, %d are compared with the hash of %s, want about 40", hashes[string(a.hash)], a.user.ID)
		}
		delete(hashes, string(a.hash))

		for _, password := range []string{a.user.ID + "'s", "wrong"} {
			_, _ = first.SignIn(basicRequest(a.user.ID, password))
			if got := spies[0].compared; len(got) != 1 || got[0] != string(a.hash) {
				t.Errorf("%s: compared with %q, want only the own hash", a.user.ID, got)
			}
			spies[0].compared = nil
		}
	}
	if len(hashes) > 0 {
		t.Errorf("compared with hashes of nobody: %v", hashes)
	}
}

// A configuration that is loaded compares nothing: with many users that would
// take minutes.
func TestProvisioningComparesNothing(t *testing.T) {
	const slow = "$2a$18$X3ulqf/iGxnf1k6oMZ.RZeJUoqI9PX2PM4rS5lkIKJXduLGXGPrt6" // takes 15 s
	var accounts []Account
	for i := range 1000 {
		accounts = append(accounts, Account{User: fmt.Sprint("user", i), Hash: slow})
	}
	if b := provision(t, accounts...); !b.Knows("user999") {
		t.Error("the last user isn't listed")
	}
}

func TestHashes(t *testing.T) {
	wrapped := func(hash string) string { return base64.StdEncoding.EncodeToString([]byte(hash)) }
	const tail = "X3ulqf/iGxnf1k6oMZ.RZeJUoqI9PX2PM4rS5lkIKJXduLGXGPrt6"
	for _, test := range []struct{ name, text, algorithm, hash string }{
		{"bcrypt", bcryptOfSomething, "bcrypt", bcryptOfSomething},
		{"bcrypt of other programs", "$2y$10$" + tail, "bcrypt", "$2y$10$" + tail},
		{"bcrypt of other programs", "$2b$12$" + tail, "bcrypt", "$2b$12$" + tail},
		{"bcrypt of old programs", "$2$04$" + tail, "bcrypt", "$2$04$" + tail},
		{"bcrypt in base64", wrapped(bcryptOfSomething), "bcrypt", bcryptOfSomething},
		{"argon2id", argon2idOfSomething, "argon2id", argon2idOfSomething},
		{"argon2id in base64", wrapped(argon2idOfSomething), "argon2id", argon2idOfSomething},
	} {
		algorithm, hash, err := parseHash(test.text)
		if algorithm != test.algorithm || string(hash) != test.hash || err != nil {
			t.Errorf("%s: %s, %q, %v", test.name, algorithm, hash, err)
		}
	}
	for name, text := range map[string]string{
		"nothing":                      "",
		"a password":                   "secret",
		"a password like base64":       "c2VjcmV0",
		"a bcrypt hash without its $":  bcryptOfSomething[1:],
		"base64 without its end":       wrapped(bcryptOfSomething)[:70],
		"base64 of base64":             wrapped(wrapped(bcryptOfSomething)),
		"another member of the family": strings.Replace(argon2idOfSomething, "argon2id", "argon2i", 1),
		"a bcrypt that isn't yet":      "$3a$14$" + tail,
		"MD5":                          "$1$salt$qJH7.N4xYta3aEG/dfqo/0",
		"SHA-512":                      "$6$salt$IxDD3jeSOb5eB1CX5LBsqZFVkJdido3OUILO5Ifz5iwMuTS4XMS130MTSuDDl3aCI6WouIL9AjRbLCelDCy.g.",
	} {
		if algorithm, _, err := parseHash(text); !errors.Is(err, errNoHash) {
			t.Errorf("%s: %s, %v, want %v", name, algorithm, err, errNoHash)
		}
	}
	argon2idWith := func(old, new string) string {
		t.Helper()
		changed := strings.Replace(argon2idOfSomething, old, new, 1)
		if changed == argon2idOfSomething {
			t.Fatalf("no %s in the hash", old)
		}
		return changed
	}
	for name, text := range map[string]string{
		"bcrypt cut":                      bcryptOfSomething[:59],
		"bcrypt and more":                 bcryptOfSomething + "x",
		"bcrypt and a line break":         bcryptOfSomething + "\n",
		"bcrypt in quotes inside base64":  wrapped(bcryptOfSomething + `"`),
		"bcrypt with a wrong character":   bcryptOfSomething[:59] + "!",
		"bcrypt, no cost":                 "$2a$" + tail,
		"argon2id cut in its key":         argon2idOfSomething[:len(argon2idOfSomething)-25],
		"argon2id without its key":        argon2idOfSomething[:strings.LastIndex(argon2idOfSomething, "$")+1],
		"argon2id without its salt":       argon2idWith("P2nzckEdTZ3bxCiBCkRTyA", ""),
		"argon2id, another version":       argon2idWith("v=19", "v=16"),
		"argon2id, other parameters":      argon2idWith("m=47104,t=1,p=1", "t=1,p=1"),
		"argon2id with a wrong character": argon2idWith("$xQL3", "$x!L3"),
	} {
		algorithm, _, err := parseHash(text)
		if !errors.Is(err, errDamaged) {
			t.Errorf("%s: %s, %v, want %v", name, algorithm, err, errDamaged)
		}
	}
	for _, err := range []error{errNoHash, errDamaged, errCost} {
		if !strings.Contains(err.Error(), "caddy hash-password") {
			t.Errorf("%v: it doesn't say where hashes come from", err)
		}
	}
}

func TestJSONRoundTrip(t *testing.T) {
	const text = `{"accounts":[{"user":"alice","hash":"$2a$…","email":"alice@example.com","name":"Alice A."},{"user":"bob","hash":"$2a$…"}]}`
	var b SignIn
	if err := json.Unmarshal([]byte(text), &b); err != nil {
		t.Fatal(err)
	}
	got, err := json.Marshal(&b)
	if diff := cmp.Diff(text, string(got)); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

// What `caddy adapt` and the admin endpoint show is what the owner wrote, with
// placeholders for secrets.
func TestProvisioningChangesNoSecretsIntoText(t *testing.T) {
	t.Setenv("HASH", bcryptOfSomething)
	t.Setenv("NAME", "alice")
	b := provision(t, Account{User: "{env.NAME}", Hash: "{env.HASH}"})
	if !b.Knows("alice") {
		t.Error("the placeholder isn't replaced")
	}
	if got, err := json.Marshal(b); err != nil || string(got) != `{"accounts":[{"user":"{env.NAME}","hash":"{env.HASH}"}]}` {
		t.Errorf("%s, %v", got, err)
	}
	if printed := fmt.Sprintf("%+v", b.Accounts); strings.Contains(printed, bcryptOfSomething) {
		t.Errorf("the accounts hold the hash: %s", printed)
	}
}

// A hash that would take the machine's memory, or hours, is refused before
// anybody signs in by it.
func TestHashesBeyondUse(t *testing.T) {
	bcryptWith := func(cost string) string { return strings.Replace(bcryptOfSomething, "$14$", "$"+cost+"$", 1) }
	argon2idWith := func(parameters string) string {
		return strings.Replace(argon2idOfSomething, "m=47104,t=1,p=1", parameters, 1)
	}
	parts := strings.Split(argon2idOfSomething, "$")
	salt, key := parts[4], parts[5]
	raw := func(n int) string { return base64.RawStdEncoding.EncodeToString(make([]byte, n)) }
	huge := "1" + strings.Repeat("0", 30)
	for _, test := range []struct{ hash, complaint string }{
		{bcryptWith("04"), ""},
		{bcryptWith("18"), ""},
		{bcryptWith("03"), "bcrypt cost 03 is out of range; allowed: 4 to 18"},
		{bcryptWith("19"), "bcrypt cost 19 is out of range; allowed: 4 to 18"},
		{bcryptWith("31"), "bcrypt cost 31 is out of range; allowed: 4 to 18"},
		{bcryptWith("99"), "bcrypt cost 99 is out of range; allowed: 4 to 18"},

		{argon2idWith("m=2097152,t=1,p=4"), ""}, // RFC 9106's first choice
		{argon2idWith("m=65536,t=3,p=4"), ""},   // and its second
		{argon2idWith("m=2097152,t=8,p=255"), ""},
		{argon2idWith("m=8,t=2097152,p=1"), ""},
		{argon2idWith("m=4000000000,t=1,p=1"), "argon2id m=4000000000 is out of range; allowed: 1 to 2097152"},
		{argon2idWith("m=2097153,t=1,p=1"), "argon2id m=2097153 is out of range; allowed: 1 to 2097152"},
		{argon2idWith("m=4294967297,t=1,p=1"), "argon2id m=4294967297 is out of range; allowed: 1 to 2097152"}, // 1, in 32 bits
		{argon2idWith("m=" + huge + ",t=1,p=1"), "argon2id m=" + huge + " is out of range; allowed: 1 to 2097152"},
		{argon2idWith("m=0,t=1,p=1"), "argon2id m=0 is out of range; allowed: 1 to 2097152"},
		{argon2idWith("m=2097152,t=9,p=1"), "beside m=2097152, argon2id t=9 is out of range; allowed: 1 to 8"},
		{argon2idWith("m=47104,t=4294967295,p=1"), "beside m=47104, argon2id t=4294967295 is out of range; allowed: 1 to 356"},
		{argon2idWith("m=47104,t=" + huge + ",p=1"), "beside m=47104, argon2id t=" + huge + " is out of range; allowed: 1 to 356"},
		{argon2idWith("m=47104,t=0,p=1"), "beside m=47104, argon2id t=0 is out of range; allowed: 1 to 356"},
		{argon2idWith("m=1,t=8225,p=255"), "beside m=1, argon2id t=8225 is out of range; allowed: 1 to 8224"}, // takes 2040 KiB
		{argon2idWith("m=47104,t=1,p=0"), "argon2id p=0 is out of range; allowed: 1 to 255"},
		{argon2idWith("m=47104,t=1,p=256"), "argon2id p=256 is out of range; allowed: 1 to 255"},
		{strings.Replace(argon2idOfSomething, salt, raw(64), 1), ""},
		{strings.Replace(argon2idOfSomething, salt, raw(65), 1), "argon2id: a salt of 65 bytes is out of range; allowed: up to 64"},
		{strings.Replace(argon2idOfSomething, key, raw(128), 1), ""},
		{strings.Replace(argon2idOfSomething, key, raw(1<<20), 1), "argon2id: a key of 1048576 bytes is out of range; allowed: up to 128"},
	} {
		for _, text := range []string{test.hash, base64.StdEncoding.EncodeToString([]byte(test.hash))} {
			_, _, err := parseHash(text)
			switch {
			case test.complaint == "":
				if err != nil {
					t.Errorf("%s: %v", test.hash, err)
				}
			case !errors.Is(err, errCost) || !strings.HasPrefix(err.Error(), test.complaint+"; "):
				t.Errorf("%.80s: %v, want %s", test.hash, err, test.complaint)
			}
		}
	}
	// Nor do other spellings of numbers come through.
	for _, m := range []string{"1e30", "-1", "+8", "0x8", " 8", "8.0", ""} {
		if _, _, err := parseHash(argon2idWith("m=" + m + ",t=1,p=1")); !errors.Is(err, errDamaged) {
			t.Errorf("m=%s: %v, want %v", m, err, errDamaged)
		}
	}
}

// Whatever parseHash lets through, Caddy's modules can compare, at a bounded
// cost.
func TestAnyHash(t *testing.T) {
	const number = `([0-9]{1,3}|[0-9]{4,8}|[0-9]{9,40})`
	texts := rapid.OneOf(
		rapid.StringMatching(`\$2[aby]?\$[0-9]{2}\$[./A-Za-z0-9]{53}`),
		rapid.StringMatching(`\$argon2id\$v=19\$m=`+number+`,t=`+number+`,p=`+number+`\$[+/A-Za-z0-9]{0,100}\$[+/A-Za-z0-9]{0,200}`),
		rapid.StringMatching(`\$(2a|argon2id)\$.*`),
		rapid.String(),
	)
	rapid.Check(t, func(t *rapid.T) {
		text := texts.Draw(t, "text")
		if rapid.Bool().Draw(t, "in base64") {
			text = base64.StdEncoding.EncodeToString([]byte(text))
		}
		algorithm, hash, err := parseHash(text)
		switch {
		case err != nil:
			if algorithm != "" || hash != nil {
				t.Fatalf("%s, %q and the error %v", algorithm, hash, err)
			}
		case algorithm == "bcrypt":
			if cost, err := bcrypt.Cost(hash); err != nil || cost > 18 {
				t.Fatalf("%q: cost %d, %v", hash, cost, err)
			}
		default:
			if _, key, err := caddyauth.DecodeHash(hash); err != nil || len(key) > 128 {
				t.Fatalf("%q: a key of %d bytes, %v", hash, len(key), err)
			}
			var memory, passes, threads uint64
			if _, err := fmt.Sscanf(string(hash), "$argon2id$v=19$m=%d,t=%d,p=%d$", &memory, &passes, &threads); err != nil || max(memory, 8*threads)*passes > 16<<20 {
				t.Fatalf("%q: %d KiB, %d times, %v", hash, memory, passes, err)
			}
		}
	})
}
