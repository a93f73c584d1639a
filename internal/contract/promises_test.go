package contract

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var shownBy = regexp.MustCompile("`([a-z/]+)\\.(Test\\w+|Fuzz\\w+)`")

// Each promise of docs/operations/promises.md names tests, and they exist.
func TestPromisesHaveTheirTests(t *testing.T) {
	sources := make(map[string]string) // of the tests, by package
	promises := 0
	for row := range strings.Lines(read(t, operations(t, "promises.md"))) {
		if !strings.HasPrefix(row, "| ") || strings.HasPrefix(row, "| promise ") || strings.HasPrefix(row, "| --- ") {
			continue
		}
		promises++
		named := shownBy.FindAllStringSubmatch(row, -1)
		if len(named) == 0 || strings.Count(row, ".Test")+strings.Count(row, ".Fuzz") != len(named) {
			t.Errorf("what shows it can't be read: %s", row)
		}
		for _, test := range named {
			dir := test[1]
			if _, known := sources[dir]; !known {
				sources[dir] = testsIn(t, dir)
			}
			if !strings.Contains(sources[dir], "\nfunc "+test[2]+"(") {
				t.Errorf("%s has no %s", dir, test[2])
			}
		}
	}
	if promises == 0 {
		t.Error("there are no promises")
	}
}

// testsIn returns the text of all tests of a package.
func testsIn(t *testing.T, dir string) (text string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(repository, filepath.FromSlash(dir), "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		text += string(source)
	}
	return text
}
