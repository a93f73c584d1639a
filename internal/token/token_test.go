package token

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"math/big"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// base62 is an independent, slow reading of the format.
func base62(n *big.Int, width int) string {
	const digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	n = new(big.Int).Set(n)
	out := ""
	for range width {
		var m big.Int
		n.DivMod(n, big.NewInt(62), &m)
		out = string(digits[m.Int64()]) + out
	}
	return out
}

func oracle(prefix string, secret []byte) string {
	s := prefix + "_" + base62(new(big.Int).SetBytes(secret), 43)
	return s + base62(big.NewInt(int64(crc32.ChecksumIEEE([]byte(s)))), 6)
}

func TestMakeFollowsTheFormat(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		prefix := rapid.StringMatching(`[a-z0-9]{2,12}`).Draw(t, "prefix")
		secret := rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "secret")
		v, err := Make(prefix, bytes.NewReader(secret))
		if err != nil {
			t.Fatal(err)
		}
		if want := oracle(prefix, secret); v.Reveal() != want {
			t.Fatalf("made %q, want %q", v.Reveal(), want)
		}
		back, ok := Parse(v.Reveal())
		if !ok || back != v {
			t.Fatalf("Parse(%q) = %v, %v", v.Reveal(), back, ok)
		}
	})
}

// The vectors are fixed: a change of format would refuse every token in use.
func TestVectors(t *testing.T) {
	for _, c := range []struct {
		prefix string
		fill   byte
		want   string
	}{
		{"cat", 0x00, "cat_000000000000000000000000000000000000000000047sp0i"},
		{"cat", 0xff, "cat_yhjskwdA6OZ1AL1YmHWZWm8LLG7HjnuCA2j5rOw8Xp11MxHjs"},
		{"dataprep2026", 0x01, "dataprep2026_0El6XFXwsUFD8J2vGxsaboW7rZYnQRBP5d9erwRwd291f8gJC"},
	} {
		v, err := Make(c.prefix, bytes.NewReader(bytes.Repeat([]byte{c.fill}, 32)))
		if err != nil {
			t.Fatal(err)
		}
		if v.Reveal() != c.want {
			t.Errorf("prefix %q of %#x: %q, want %q", c.prefix, c.fill, v.Reveal(), c.want)
		}
	}
}

func TestMakeRefuses(t *testing.T) {
	for _, prefix := range []string{"", "c", "Cat", "ca_t", "thirteenchars", "ca-t", "čat"} {
		if _, err := Make(prefix, rand.Reader); !errors.Is(err, ErrPrefix) {
			t.Errorf("prefix %q: %v, want ErrPrefix", prefix, err)
		}
	}
	if _, err := Make("cat", strings.NewReader("too few")); err == nil {
		t.Error("made a value from too few random bytes")
	}
}

func make1(t testing.TB) Value {
	t.Helper()
	v, err := Make("cat", rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestParseRefusesEveryTypo(t *testing.T) {
	s := make1(t).Reveal()
	for i := range len(s) {
		for _, c := range []byte("0Az_-. \x00\xff") {
			if s[i] == c {
				continue
			}
			typo := s[:i] + string([]byte{c}) + s[i+1:]
			if _, ok := Parse(typo); ok {
				t.Errorf("accepted a wrong character at %d", i)
			}
		}
	}
	for _, other := range []string{"", s[1:], s[:len(s)-1], s + "0", " " + s, s + " ", strings.ToUpper(s), strings.Repeat(s, 2)} {
		if _, ok := Parse(other); ok {
			t.Errorf("accepted %d characters that are no value", len(other))
		}
	}
}

func TestValueNeverPrintsItself(t *testing.T) {
	v := make1(t)
	secret := v.Reveal()[4:]
	type holder struct {
		V Value
		P *Value
	}
	h := holder{v, &v}
	js, err := json.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("made", "value", v, "holder", h)
	texts := []string{string(js), log.String()}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T"} {
		texts = append(texts, fmt.Sprintf(verb, v), fmt.Sprintf(verb, &v), fmt.Sprintf(verb, h), fmt.Sprintf(verb, []Value{v}))
	}
	for _, text := range texts {
		if strings.Contains(text, secret) || strings.Contains(text, fmt.Sprintf("%x", secret)) {
			t.Errorf("the secret shows in %q", text)
		}
	}
	if v.String() != "cat_…" {
		t.Errorf("String() = %q", v.String())
	}
}

func TestFindSeesAValueAmidText(t *testing.T) {
	s := make1(t).Reveal()
	for _, text := range []string{s, "/v4/" + s + "/x", "token=" + s, "abcdefghijklmnop" + s, s + "TRAILING", "_" + s, "__" + s, "cat_" + s, strings.Repeat("a_", 100) + s} {
		if v, ok := Find(text); !ok || v.Reveal() != s {
			t.Errorf("not found in %q", strings.ReplaceAll(text, s, "<value>"))
		}
	}
	broken := s[:10] + "-" + s[11:]
	for _, text := range []string{"", "_", broken, s[:52], s[1:], "/v4/people_current"} {
		if Contains(text) {
			t.Errorf("found a value in %q", text)
		}
	}
}

func TestKey(t *testing.T) {
	v, w := make1(t), make1(t)
	k1, err := NewKey(strings.Repeat("k", 32) + "\n")
	if err != nil {
		t.Fatal(err)
	}
	same, _ := NewKey(strings.Repeat("k", 32))
	other, _ := NewKey(strings.Repeat("x", 32))
	if k1.Hash(v) != same.Hash(v) || k1.ID() != same.ID() {
		t.Error("white space around the key text changes the key")
	}
	if k1.Hash(v) == other.Hash(v) || k1.ID() == other.ID() {
		t.Error("two keys hash alike")
	}
	if k1.Hash(v) == k1.Hash(w) {
		t.Error("hashes don't follow the value")
	}
	if _, err := NewKey(strings.Repeat("k", 31)); !errors.Is(err, ErrShortKey) {
		t.Errorf("a short key: %v", err)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%x", "%s"} {
		if text := fmt.Sprintf(verb, k1); text != k1.ID().String() {
			t.Errorf("%s prints the key as %q", verb, text)
		}
	}
}

func TestHashIsHMACSHA256(t *testing.T) {
	v := make1(t)
	for _, n := range []int{32, 63, 64, 65, 200} {
		text := strings.Repeat("k", n)
		key, err := NewKey(text)
		if err != nil {
			t.Fatal(err)
		}
		m := hmac.New(sha256.New, []byte(text))
		m.Write([]byte(v.Reveal()))
		if h := key.Hash(v); !bytes.Equal(h[:], m.Sum(nil)) {
			t.Errorf("key of %d bytes: not the HMAC", n)
		}
	}
}

func TestRequestPathDoesNotAllocate(t *testing.T) {
	v := make1(t)
	s := v.Reveal()
	key, _ := NewKey(strings.Repeat("k", 32))
	var sink Hash
	if n := testing.AllocsPerRun(100, func() {
		v, _ := Parse(s)
		sink = key.Hash(v)
	}); n != 0 {
		t.Errorf("%v allocations to parse and hash (%x…)", n, sink[:1])
	}
}

func FuzzParse(f *testing.F) {
	f.Add("cat_000000000000000000000000000000000000000000047sp0i")
	f.Add(oracle("dataprep2026", bytes.Repeat([]byte{7}, 32)))
	f.Add("cat_")
	f.Fuzz(func(t *testing.T, s string) {
		v, ok := Parse(s)
		if !ok {
			return
		}
		prefix, body, _ := strings.Cut(s, "_")
		if v.Reveal() != s || !ValidPrefix(prefix) || len(body) != 49 {
			t.Fatalf("accepted %q", s)
		}
		sum := base62(big.NewInt(int64(crc32.ChecksumIEEE([]byte(s[:len(s)-6])))), 6)
		if s[len(s)-6:] != sum {
			t.Fatalf("accepted a wrong checksum in %q", s)
		}
		if found, ok := Find("/" + s); !ok || found != v {
			t.Fatalf("Find misses %q", s)
		}
	})
}

func BenchmarkParseAndHash(b *testing.B) {
	s := make1(b).Reveal()
	key, _ := NewKey(strings.Repeat("k", 32))
	b.ReportAllocs()
	for b.Loop() {
		v, _ := Parse(s)
		key.Hash(v)
	}
}
