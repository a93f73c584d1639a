package auditfile

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
)

// chainOf returns the lines of a chain that ends with the nth.
func chainOf(n int) (lines []string) {
	var at tail
	for i := range n {
		var line []byte
		line, at = at.then([]store.Line{{
			LinePlace: store.LinePlace{Position: store.Position{Epoch: 1, Revision: uint64(10 + i)}}, Text: []byte(text(i)),
		}})
		lines = append(lines, string(line))
	}
	return lines
}

// inFiles returns files of these contents, called a, b and so on.
func inFiles(contents ...string) (files []Source) {
	for i, content := range contents {
		files = append(files, Source{string(rune('a' + i)), strings.NewReader(content)})
	}
	return files
}

// readAll returns the numbers of the lines that are read, and what is wrong.
func readAll(t testing.TB, files []Source) (read []uint64, breaks []string, chain Chain) {
	t.Helper()
	chain, err := Read(files, func(f *Found) error {
		read = append(read, f.Seq)
		return nil
	}, func(b Break) { breaks = append(breaks, b.String()) })
	if err != nil {
		t.Fatal(err)
	}
	if chain.Breaks != uint64(len(breaks)) || chain.Lines != uint64(len(read)) {
		t.Errorf("%d breaks and %d lines are told of, and %+v is said", len(breaks), len(read), chain)
	}
	return read, breaks, chain
}

func TestLinesAsTheyAreWritten(t *testing.T) {
	got := strings.Join(chainOf(2), "")
	want := `{"seq":1,"previous":"","epoch":1,"revision":10,"event":"test","n":0}
{"seq":2,"previous":"` + hashOf([]byte(`{"seq":1,"previous":"","epoch":1,"revision":10,"event":"test","n":0}`)) + `","epoch":1,"revision":11,"event":"test","n":1}
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got, _ := (tail{}).then([]store.Line{{Text: []byte("{}")}}); string(got) != `{"seq":1,"previous":"","epoch":0,"revision":0}`+"\n" {
		t.Errorf("a line of nothing: %s", got)
	}
	// As anybody can check: printf %s "$line" | sha256sum
	if got := hashOf([]byte("x\n")); got != "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881" {
		t.Errorf("the hash of x is %s", got)
	}
}

func TestChainsAreReadInOrder(t *testing.T) {
	l := chainOf(6)
	all := []uint64{1, 2, 3, 4, 5, 6}
	for name, test := range map[string]struct {
		files []string
		want  []uint64
		again uint64
	}{
		"one file":            {[]string{strings.Join(l, "")}, all, 0},
		"two files":           {[]string{l[0] + l[1], l[2] + l[3] + l[4] + l[5]}, all, 0},
		"in any order":        {[]string{l[4] + l[5], l[0] + l[1], "", l[2] + l[3]}, all, 0},
		"there and back":      {[]string{l[0] + l[3], l[1] + l[2] + l[4] + l[5]}, all, 0},
		"without a beginning": {[]string{l[3] + l[4], l[5]}, all[3:], 0},
		"lines in two files":  {[]string{l[0] + l[1] + l[2], l[1] + l[2] + l[3] + l[4] + l[5]}, all, 2},
		"the same file twice": {[]string{l[0] + l[1], l[0] + l[1]}, all[:2], 2},
		"nothing":             {[]string{"", ""}, nil, 0},
		"no file":             {nil, nil, 0},
	} {
		read, breaks, chain := readAll(t, inFiles(test.files...))
		if diff := cmp.Diff(test.want, read); diff != "" || len(breaks) > 0 || chain.Repeated != test.again {
			t.Errorf("%s: %v, %+v (-want +got):\n%s", name, breaks, chain, diff)
		}
		if n := len(test.want); n > 0 && (chain.First != test.want[0] || chain.Last != test.want[n-1]) {
			t.Errorf("%s: %+v", name, chain)
		}
	}
}

func TestBreaksAreFound(t *testing.T) {
	l, other := chainOf(6), chainOf(7)
	changed := strings.Replace(l[2], `"n":2`, `"n":9`, 1)
	for name, test := range map[string]struct {
		files []string
		want  []string
	}{
		"a line has been changed":            {[]string{l[0] + l[1] + changed + l[3] + l[4]}, []string{"a:4: it doesn't follow the line before, a:3: one of the two has been changed"}},
		"and its hash too":                   {[]string{l[0] + l[1] + changed + strings.Replace(l[3], hashOf([]byte(l[2])), hashOf([]byte(changed)), 1) + l[4]}, []string{"a:5: it doesn't follow the line before, a:4: one of the two has been changed"}},
		"a line is missing":                  {[]string{l[0] + l[2] + l[3]}, []string{"a:2: line 2 of the chain is missing before it, behind a:1"}},
		"a file is missing":                  {[]string{l[4] + l[5], l[0]}, []string{"a:1: lines 2 to 4 of the chain are missing before it, behind b:1"}},
		"a line is there twice":              {[]string{l[0] + l[1] + l[1] + l[2]}, []string{"a:3: line 2 of the chain comes behind line 2"}},
		"lines have changed places":          {[]string{l[0] + l[2] + l[1] + l[3]}, []string{"a:2: line 2 of the chain is missing before it, behind a:1", "a:3: line 2 of the chain comes behind line 3"}},
		"a line has been put in":             {[]string{l[0] + strings.Replace(l[1], `"n":1`, `"n":9`, 1) + l[1]}, []string{"a:3: line 2 of the chain comes behind line 2"}},
		"another chain":                      {[]string{l[0] + l[1], strings.Replace(other[1], `"n":1`, `"n":9`, 1) + other[2]}, []string{"b:1: line 2 of the chain is another one at a:2", "b:2: it doesn't follow the line before, b:1: one of the two has been changed"}},
		"something else":                     {[]string{l[0] + "GET /\n" + l[1] + "\n"}, []string{"a:2: it is no line of an audit file", "a:4: it is no line of an audit file"}},
		"the end is missing":                 {[]string{l[0] + strings.TrimSuffix(l[1], "\n")}, []string{"a:2: the line isn't finished; where Caddy has been killed, its next start does that"}},
		"another order of members":           {[]string{`{"previous":"","seq":1,"epoch":1,"revision":1}` + "\n"}, []string{"a:1: it is no line of an audit file"}},
		"a member twice":                     {[]string{`{"seq":1,"previous":"","epoch":1,"revision":1,"seq":2}` + "\n"}, []string{"a:1: it is no line of an audit file"}},
		"a number that goes on":              {[]string{`{"seq":1,"previous":"","epoch":1,"revision":1.5}` + "\n"}, []string{"a:1: it is no line of an audit file"}},
		"the first line names one before it": {[]string{`{"seq":1,"previous":"` + hashOf(nil) + `","epoch":1,"revision":1}` + "\n"}, []string{"a:1: it is no line of an audit file"}},
		"another line names none":            {[]string{`{"seq":2,"previous":"","epoch":1,"revision":1}` + "\n"}, []string{"a:1: it is no line of an audit file"}},
		"no number":                          {[]string{`{"seq":0,"previous":"","epoch":1,"revision":1}` + "\n"}, []string{"a:1: it is no line of an audit file"}},
		"a line too long":                    {[]string{l[0] + `{"seq":2,"previous":"` + strings.Repeat("0", 2*maxLine) + "\n" + l[1]}, []string{"a:2: it is no line of an audit file"}},
	} {
		_, breaks, _ := readAll(t, inFiles(test.files...))
		if diff := cmp.Diff(test.want, breaks); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestAFileThatCantBeReadIsTold(t *testing.T) {
	l := chainOf(2)
	broken := io.MultiReader(strings.NewReader(l[0]), iotest.ErrReader(io.ErrClosedPipe))
	_, err := Read([]Source{{"a", broken}}, func(*Found) error { return nil }, func(Break) {})
	if err == nil || err.Error() != "reading a: "+io.ErrClosedPipe.Error() {
		t.Errorf("%v", err)
	}
	stop := fmt.Errorf("enough")
	if _, err := Read(inFiles(l[0]+l[1]), func(*Found) error { return stop }, func(Break) {}); err != stop {
		t.Errorf("%v", err)
	}
}

// Whatever files hold, lines that are read are such as are written.
func FuzzRead(f *testing.F) {
	l := chainOf(4)
	f.Add([]byte(l[0]+l[1]), []byte(l[2]+l[3]))
	f.Add([]byte(l[0]+l[2]), []byte(l[1]+"\n"))
	f.Add([]byte(strings.TrimSuffix(l[0], "\n")), []byte{})
	f.Add([]byte(`{"seq":1,"previous":"","epoch":1,"revision":1,"seq":2}`), []byte("null\n{}\n[]\n"))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		var last uint64
		_, err := Read([]Source{{"a", bytes.NewReader(a)}, {"b", bytes.NewReader(b)}}, func(found *Found) error {
			if found.Seq < last {
				t.Errorf("%d comes behind %d", found.Seq, last)
			}
			last = found.Seq
			if line := append(bytes.Clone(found.Text), '\n'); !bytes.Contains(a, line) && !bytes.Contains(b, line) {
				t.Errorf("%q is in no file", line)
			}
			rest := append([]byte("{"), bytes.TrimPrefix(found.Text[len(found.appendHead(nil)):], []byte(","))...)
			if again := found.append(nil, rest); string(again) != string(found.Text)+"\n" {
				t.Errorf("%q is written as %q", found.Text, again)
			}
			return nil
		}, func(Break) {})
		if err != nil {
			t.Error(err)
		}
	})
}

// No change of a chain goes unnoticed, but for one of its end.
func FuzzChangedChain(f *testing.F) {
	f.Add(uint16(3), uint8(1), []byte("x"))
	f.Add(uint16(70), uint8(80), []byte{})
	f.Add(uint16(0), uint8(0), []byte("\n"))
	lines := chainOf(6)
	whole := []byte(strings.Join(lines, ""))
	last := len(whole) - len(lines[5])
	f.Fuzz(func(t *testing.T, at uint16, remove uint8, insert []byte) {
		begin := int(at) % last
		end := min(begin+int(remove), last-1)
		changed := append(append(bytes.Clone(whole[:begin]), insert...), whole[max(begin, end):]...)
		if bytes.Equal(changed, whole) || bytes.HasSuffix(whole, changed) {
			return // nothing, or a beginning that isn't there
		}
		breaks := 0
		if _, err := Read([]Source{{"a", bytes.NewReader(changed)}}, func(*Found) error { return nil }, func(Break) { breaks++ }); err != nil {
			t.Fatal(err)
		}
		if breaks == 0 {
			t.Errorf("nothing is wrong with\n%s", changed)
		}
	})
}
