package command

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// output is where a command's result goes: for people, who look at a terminal, or
// as JSON, for programs.
type output struct {
	json bool
	to   *bufio.Writer
	// width is how many characters a line of the terminal has.
	width int
	now   time.Time
}

func (o *output) addFlag(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&o.json, "json", false, "print JSON, a line for each result, as is done wherever the output is no terminal")
}

// begin finds out where cmd's output goes.
func (o *output) begin(cmd *cobra.Command) {
	out := cmd.OutOrStdout()
	o.to, o.now = bufio.NewWriter(out), time.Now()
	if o.width == 0 {
		o.width = widthOf(out)
	}
	o.json = o.json || o.width == 0
}

// widthOf returns how wide a terminal is, 0 if w is none.
func widthOf(w any) int {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return 0
	}
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil || width == 0 {
		return 80
	}
	return width
}

// line writes a value as a line of JSON.
func (o *output) line(v any) error {
	encoder := json.NewEncoder(o.to)
	encoder.SetEscapeHTML(false)
	return encoder.Encode(v)
}

// result writes what has been done: a value, or for people a sentence.
func (o *output) result(v any, format string, args ...any) error {
	if o.json {
		return errors.Join(o.line(v), o.to.Flush())
	}
	fmt.Fprintf(o.to, format+"\n", args...)
	return o.to.Flush()
}

// facts writes names with their values, those left out that are "".
func (o *output) facts(all ...[2]string) {
	widest := 0
	for _, f := range all {
		if f[1] != "" {
			widest = max(widest, len(f[0]))
		}
	}
	for _, f := range all {
		if f[1] != "" {
			fmt.Fprintf(o.to, "%-*s  %s\n", widest, f[0], f[1])
		}
	}
}

// confirm asks whether to go on. Where nobody can be asked, that is wrong use.
func confirm(cmd *cobra.Command, yes bool, question string) (goOn bool, err error) {
	if yes {
		return true, nil
	}
	in := cmd.InOrStdin()
	if f, ok := in.(*os.File); ok && !term.IsTerminal(int(f.Fd())) {
		return false, wrongUse(cmd, errors.New("nobody can be asked here: add --yes, or --dry-run to see what would be done"))
	}
	cmd.PrintErr(question + " Go on? [y/N] ")
	answer, err := bufio.NewReader(in).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return false, fail(cmd, err)
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return true, nil
	}
	cmd.PrintErrln("Nothing has been changed.")
	return false, exit(cmd, exitFailed)
}

// ago says how far a time is from now.
func ago(at, now time.Time) string {
	switch d := at.Sub(now); {
	case d > 0:
		return "in " + short(d)
	default:
		return short(-d) + " ago"
	}
}

// short is a duration in its largest unit, rounded down.
func short(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%dm", d/time.Minute)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", d/time.Hour)
	}
	return fmt.Sprintf("%dd", d/(24*time.Hour))
}

// plural counts things whose name ends in s if there are several.
func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
