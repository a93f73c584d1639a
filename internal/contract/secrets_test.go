package contract

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"hash/crc32"
	"io"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// secrets are all values of this run that no server may write down, and no API
// behind may see.
var secrets secretSet

// A secretSet finds any of many secrets in one pass over a text.
type secretSet struct {
	mu    sync.Mutex
	texts []string            // few, of any shape: passwords and their base64 forms
	runs  map[string][]string // many, made of base64 characters: by their first keySize bytes
}

const keySize = 16

// secret notes a token value or a password, and returns it.
func secret(value string) string {
	secrets.add(value)
	return value
}

func (s *secretSet) add(value string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	// Of a token, the part without prefix and checksum is secret enough.
	_, body, found := strings.Cut(value, "_")
	if !found || len(body) != 49 {
		s.texts = append(append(s.texts, value), base64Forms(value)...)
		return
	}
	if s.runs == nil {
		s.runs = map[string][]string{}
	}
	for _, run := range append(base64Forms(body[:43]), body[:43]) {
		s.runs[run[:keySize]] = append(s.runs[run[:keySize]], run)
	}
}

// base64Forms returns what is left of a text in base64 wherever in the encoded
// text it stands: one form for each way it can fall on groups of three bytes,
// in both alphabets.
func base64Forms(text string) []string {
	var forms []string
	for before := range 3 {
		whole := base64.RawStdEncoding.EncodeToString([]byte(strings.Repeat("x", before) + text))
		// Characters that also hold bits of the neighbours are cut off.
		form := whole[(before*8+5)/6 : (before+len(text))*8/6]
		forms = append(forms, form)
		if url := strings.NewReplacer("+", "-", "/", "_").Replace(form); url != form {
			forms = append(forms, url)
		}
	}
	return forms
}

// foundIn tells whether a text contains any secret.
func (s *secretSet) foundIn(text []byte) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, secret := range s.texts {
		if bytes.Contains(text, []byte(secret)) {
			return true
		}
	}
	begin := 0 // of the base64 characters up to i
	for i, c := range text {
		if !base64Character[c] {
			begin = i + 1
			continue
		}
		if i+1-begin < keySize {
			continue
		}
		rest := text[i+1-keySize:]
		for _, run := range s.runs[string(rest[:keySize])] {
			if bytes.HasPrefix(rest, []byte(run)) {
				return true
			}
		}
	}
	return false
}

var base64Character = func() (set [256]bool) {
	for _, c := range []byte(alphabet + "+/-_") {
		set[c] = true
	}
	return set
}()

// leaksBelow names the files below dir that contain a secret.
func (s *secretSet) leaksBelow(dir string) ([]string, error) {
	var leaks []string
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		leaked, err := s.inFile(path)
		if leaked || s.foundIn([]byte(path)) {
			leaks = append(leaks, path)
		}
		return err
	})
	return leaks, err
}

// inFile searches a file block by block, quickly over the empty ones: a
// database maps files that are large and mostly nothing.
func (s *secretSet) inFile(path string) (bool, error) {
	file, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer file.Close()
	const size, overlap = 1 << 20, 256
	block, empty := make([]byte, overlap+size), make([]byte, overlap+size)
	for {
		n, err := io.ReadFull(file, block[overlap:])
		text := block[:overlap+n]
		if !bytes.Equal(text, empty[:len(text)]) && s.foundIn(text) {
			return true, nil
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		copy(block, text[len(text)-overlap:])
	}
}

const alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// base62 writes a number with the contract's alphabet, most significant digit
// first, padded with zeros.
func base62(number *big.Int, width int) string {
	rest, digit := new(big.Int).Set(number), new(big.Int)
	var digits []byte
	for range width {
		rest.DivMod(rest, big.NewInt(62), digit)
		digits = append(digits, alphabet[digit.Int64()])
	}
	slices.Reverse(digits)
	return string(digits)
}

// checksum computes the six last characters of a token value from all before.
func checksum(before string) string {
	return base62(new(big.Int).SetUint64(uint64(crc32.ChecksumIEEE([]byte(before)))), 6)
}

// neverIssued makes a value of our shape, checksum and all, that no server made.
func neverIssued(prefix string) string {
	random := make([]byte, 32)
	_, _ = rand.Read(random) // never fails
	value := prefix + "_" + base62(new(big.Int).SetBytes(random), 43)
	return secret(value + checksum(value))
}

// mistyped is a token value with one character of its checksum wrong.
func mistyped(value string) string {
	last := value[len(value)-1]
	return value[:len(value)-1] + string(alphabet[(strings.IndexByte(alphabet, last)+1)%len(alphabet)])
}

func TestTheSearchForSecretsFindsThemInEveryForm(t *testing.T) {
	const body, password = "f00dfacef00dfacef00dfacef00dfacef00dfacef00", "open: sesamé"
	var set secretSet
	set.add("cat_" + body + "000000")
	set.add("cat_" + strings.Repeat("f00dface", 2) + strings.Repeat("1", 33)) // begins like the other
	set.add(password)
	hidden := func(text string) []string {
		return []string{
			text,
			"before " + text + " after",
			base64.StdEncoding.EncodeToString([]byte(text)),
			base64.StdEncoding.EncodeToString([]byte("cat_" + text + "abc")),
			base64.URLEncoding.EncodeToString([]byte("alice:" + text)),
			base64.RawURLEncoding.EncodeToString([]byte("Bearer cat_" + text + "?")),
		}
	}
	for _, text := range append(hidden(body), hidden(password)...) {
		if !set.foundIn([]byte(text)) {
			t.Errorf("not found in %q", text)
		}
	}
	for _, text := range append(hidden(body[:42]), hidden(password[:8])...) {
		if set.foundIn([]byte(text)) {
			t.Errorf("found in %q", text)
		}
	}
	t.Run("also across the blocks of a file, and nowhere else", func(t *testing.T) {
		for _, before := range []int{0, 5, 1<<20 - 300, 1<<20 - 20, 1 << 20, 3<<20 - 1} {
			dir := t.TempDir()
			text := string(make([]byte, before)) + "cat_" + body + "000000"
			for name, text := range map[string]string{"leak": text, "none": strings.ToUpper(text)} {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			leaks, err := set.leaksBelow(dir)
			if err != nil || !slices.Equal(leaks, []string{filepath.Join(dir, "leak")}) {
				t.Errorf("%d bytes before: found %v, error %v", before, leaks, err)
			}
		}
	})
}
