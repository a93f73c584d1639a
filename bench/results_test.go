package main

import (
	"bufio"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/token"
)

func TestSpread(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		values []float64
		want   spread
	}{
		{[]float64{3}, spread{3, 3, 3}},
		{[]float64{4, 1, 3, 2}, spread{1.75, 2.5, 3.25}},
		{[]float64{5, 1, 4, 2, 3}, spread{2, 3, 4}},
	} {
		if got := spreadOf(c.values); got != c.want {
			t.Errorf("of %v: %v, want %v", c.values, got, c.want)
		}
	}
	if got := spreadOf(nil).text(1); got != "–" {
		t.Errorf("of nothing: %q", got)
	}
}

// What the machine can't tell isn't called reached or missed.
func TestVerdict(t *testing.T) {
	t.Parallel()
	quiet, noisy, off := spread{0.995, 1, 1.005}, spread{0.97, 1, 1.03}, spread{1.025, 1.03, 1.035}
	for _, c := range []struct {
		name          string
		ratio, target float64
		control       spread
		want          string
	}{
		{"well above", 1.01, 0.95, quiet, "reached"},
		{"well below", 1.2, 0.95, quiet, "missed"},
		{"at it", 1 / 0.953, 0.95, quiet, "too close to tell (± 0.005)"},
		{"a wide control", 1.2, 0.95, noisy, "too noisy to tell (± 0.030)"},
		{"a control that is off", 1.2, 0.95, off, "too noisy to tell (± 0.030)"},
		{"no target", 1.2, 0, quiet, ""},
	} {
		r := result{ratio: spread{c.ratio, c.ratio, c.ratio}, control: c.control, target: c.target}
		if got := r.verdict(); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestParseBenchmarks(t *testing.T) {
	t.Parallel()
	got, err := parseBenchmarks(`goos: linux
BenchmarkRequest/bare-2         	  128242	     11000 ns/op	   10516 B/op	      80 allocs/op
BenchmarkRequest/bare-2         	   71024	     13000.5 ns/op	   10516 B/op	      80 allocs/op
BenchmarkRequest/unknown-16     	   29769	     43575 ns/op	   14283 B/op	     131 allocs/op
PASS
`)
	want := []handled{
		{"bare", spread{11500.125, 12000.25, 12500.375}, 10516, 80, "bare"},
		{"unknown", spread{43575, 43575, 43575}, 14283, 131, "bare401"},
	}
	if err != nil || !cmp.Equal(got, want, cmp.AllowUnexported(handled{}, spread{})) {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := parseBenchmarks("PASS\n"); err == nil {
		t.Error("nothing is no error")
	}
}

func TestReadAnswer(t *testing.T) {
	t.Parallel()
	type answer struct {
		Status, Size int
		Keep         bool
	}
	for name, c := range map[string]struct {
		text string
		want answer
		err  error
	}{
		"with a body":          {"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi", answer{200, 40, true}, nil},
		"without":              {"HTTP/1.1 204 No Content\r\n\r\n", answer{204, 27, true}, nil},
		"the last":             {"HTTP/1.1 401 No\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", answer{401, 57, false}, nil},
		"cut in its body":      {"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nhi", answer{200, 41, true}, io.ErrUnexpectedEOF},
		"cut in its header":    {"HTTP/1.1 200 OK\r\nConte", answer{200, 17, false}, io.EOF},
		"of an unknown length": {"HTTP/1.1 200 OK\r\n\r\n", answer{200, 19, false}, errNoAnswer},
		"not HTTP":             {"SSH-2.0-OpenSSH_9.2p1\r\n", answer{0, 23, false}, errNoAnswer},
		"no status":            {"HTTP/1.1 abc\r\n\r\n", answer{0, 14, false}, errNoAnswer},
	} {
		var got answer
		var err error
		got.Status, got.Size, got.Keep, err = readAnswer(bufio.NewReader(strings.NewReader(c.text)))
		if got != c.want || !errors.Is(err, c.err) {
			t.Errorf("%s: %+v, %v; want %+v, %v", name, got, err, c.want, c.err)
		}
	}
}

func FuzzReadAnswer(f *testing.F) {
	f.Add("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
	f.Add("HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
	f.Fuzz(func(t *testing.T, text string) {
		_, size, keep, err := readAnswer(bufio.NewReader(strings.NewReader(text)))
		if err == nil && (size < 0 || size > len(text)) || err != nil && keep && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%q: size %d, keep %t, %v", text, size, keep, err)
		}
	})
}

// Pictures are well-formed, whatever came of a run.
func TestPictures(t *testing.T) {
	t.Parallel()
	at := func(ratio float64) result {
		one := spread{1, 1, 1}
		return result{name: "nginx, `map` & <more>", way: proxied, bare: spread{50, 50, 50}, with: one, more: one, control: spread{0.99, 1, 1.01}, ratio: spread{ratio - 0.01, ratio, ratio + 0.01}}
	}
	for name, r := range map[string]results{
		"nothing":  {},
		"near one": {cases: []result{at(1)}, sizes: []size{{tokens: 1000, random: at(0.9)}}},
		"far":      {cases: []result{at(1.02)}, others: []result{at(30)}, sizes: []size{{tokens: 1000, random: at(1.1)}, {tokens: 10_000, random: at(2)}}},
	} {
		for _, picture := range []string{drawCost(&r), drawGrowth(&r)} {
			if strings.Contains(picture, "NaN") || strings.Contains(picture, "Inf") {
				t.Errorf("%s: a place that is none:\n%s", name, picture)
			}
			for d := xml.NewDecoder(strings.NewReader(picture)); ; {
				_, err := d.Token()
				if errors.Is(err, io.EOF) {
					break
				}
				if err != nil {
					t.Fatalf("%s: %v\n%s", name, err, picture)
				}
			}
		}
	}
}

func TestStep(t *testing.T) {
	t.Parallel()
	for span, want := range map[float64]float64{0.15: 0.02, 1: 0.2, 7: 1, 60: 10} {
		if got := step(span); math.Abs(got-want) > 1e-9 {
			t.Errorf("of %v: %v, want %v", span, got, want)
		}
	}
}

func TestMadeUp(t *testing.T) {
	t.Parallel()
	for range 1000 {
		if _, good := token.Parse(madeUp(true)); !good {
			t.Fatal("a wrong checksum instead of a right one")
		}
		if _, good := token.Parse(madeUp(false)); good {
			t.Fatal("a right checksum instead of a wrong one")
		}
	}
}
