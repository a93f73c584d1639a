package command

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/caddyserver/caddy/v2"
	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/auditfile"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/registry"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
)

func auditCommand() *cobra.Command {
	var wanted auditFilter
	var token, since, until string
	var show auditView
	cmd := &cobra.Command{
		Use:                   "audit [--user <id>] [--token <id>] [--since <time>] [--until <time>] [--json | --quiet] <file>...",
		DisableFlagsInUseLine: true,
		Short:                 "Verifies audit files and prints what they hold",
		Long: `
Reads the files that the option "audit file" of the Caddyfile has made, in any
order, compressed by gzip or not. It verifies that each line follows the one
before, says where that isn't so, and prints the lines, oldest first.

Whether there were lines before the first one or behind the last one that is given
can't be told.

The exit code is 0 where the chain is whole, 1 where it isn't or where a file
can't be read, 2 where the command was used wrongly, and 3 where no line matched.`,
		Example: `  $ caddy access-tokens audit --quiet /var/log/caddy/access-tokens.jsonl*
  $ caddy access-tokens audit --user alice --since 2026-05-01 --until 2026-06-01 access-tokens.jsonl
  $ caddy access-tokens audit --token 0f8fad5b-d9cb-469f-a165-70867728950e access-tokens.jsonl
  $ caddy access-tokens audit --since 24h --json access-tokens.jsonl | jq .actor`,
		Args: func(cmd *cobra.Command, args []string) error {
			switch {
			case len(args) == 0:
				return wrongUse(cmd, errors.New("name at least one file"))
			case show.json && show.quiet:
				return wrongUse(cmd, errors.New("--json and --quiet exclude each other"))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, files []string) (err error) {
			if token != "" {
				if wanted.token, err = uuid.Parse(token); err != nil {
					return wrongUse(cmd, errors.New("--token: a token id looks like 0f8fad5b-d9cb-469f-a165-70867728950e; what was given isn't one"))
				}
			}
			now := time.Now()
			if wanted.since, err = parseWhen(since, now); err != nil {
				return wrongUse(cmd, fmt.Errorf("--since: %w", err))
			}
			if wanted.until, err = parseWhen(until, now); err != nil {
				return wrongUse(cmd, fmt.Errorf("--until: %w", err))
			}
			show.out, show.errors, show.progress = bufio.NewWriter(cmd.OutOrStdout()), cmd.ErrOrStderr(), newProgress(cmd.ErrOrStderr())
			code, err := audit(files, &wanted, &show)
			if err != nil {
				return fail(cmd, err)
			}
			return exit(cmd, code)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&wanted.user, "user", "", "only what this user did, and what was done about this user")
	flags.StringVar(&token, "token", "", "only what became of this token, and what was done with it")
	flags.StringVar(&since, "since", "", "only from this time on: 2026-05-01, 2026-05-01T12:00:00Z, or 24h or 30d ago")
	flags.StringVar(&until, "until", "", "only before this time")
	flags.BoolVar(&show.json, "json", false, "print the lines as they are, as JSON")
	flags.BoolVarP(&show.quiet, "quiet", "q", false, "print no lines, only whether the chain is whole")
	return cmd
}

// parseWhen reads a time, a day in UTC or a duration before now. Without text it is
// zero.
func parseWhen(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if at, err := time.Parse(layout, text); err == nil {
			return at, nil
		}
	}
	ago, err := caddy.ParseDuration(text)
	if err != nil {
		return time.Time{}, fmt.Errorf("%q is neither a day such as 2026-05-01, nor a time such as 2026-05-01T12:00:00Z, nor a duration such as 24h or 30d", text)
	}
	return now.Add(-ago), nil
}

// audit reads the files of a chain, shows those lines that are wanted, and returns
// the exit code.
func audit(names []string, wanted *auditFilter, show *auditView) (code int, err error) {
	var files []auditfile.Source
	for _, name := range names {
		f, err := os.Open(name)
		if err != nil {
			return 0, err
		}
		defer f.Close()
		text, err := uncompressed(f)
		if err != nil {
			return 0, fmt.Errorf("reading %s: %w", name, err)
		}
		files = append(files, auditfile.Source{Name: name, Reader: text})
	}
	matched := 0
	chain, err := auditfile.Read(files, func(line *auditfile.Found) error {
		var e registry.Event
		if err := json.Unmarshal(line.Text, &e); err != nil {
			return fmt.Errorf("%s:%d: it can't be read: %w", line.File, line.Number, err)
		}
		if !wanted.matches(&e) {
			show.progress.at("%d lines read", line.Seq)
			return nil
		}
		matched++
		return show.line(line, &e)
	}, show.broken)
	show.progress.clear()
	if err := errors.Join(err, show.out.Flush()); err != nil {
		return 0, err
	}
	show.sum(matched, chain)
	switch {
	case chain.Breaks > 0:
		return exitFailed, nil
	case matched == 0:
		return exitNothingMatched, nil
	}
	return exitDone, nil
}

// uncompressed returns what f holds, uncompressed where it is compressed by gzip.
func uncompressed(f io.Reader) (io.Reader, error) {
	in := bufio.NewReader(f)
	if magic, err := in.Peek(2); err == nil && string(magic) == "\x1f\x8b" {
		return gzip.NewReader(in)
	}
	return in, nil
}

// auditFilter says which lines are wanted. What is zero matters not.
type auditFilter struct {
	user         string
	token        uuid.UUID
	since, until time.Time

	// Of tokens that have been read: their parents, and whose the wanted one is.
	parents        map[uuid.UUID]uuid.UUID
	owner, project string
}

func (f *auditFilter) matches(e *registry.Event) bool {
	return f.ofToken(e) &&
		(f.user == "" || e.User == f.user || e.Actor.User == f.user) &&
		!e.Time.Before(f.since) && (f.until.IsZero() || e.Time.Before(f.until))
}

// ofToken tells whether e says what became of the token that is wanted: also as
// one of a line of renewals, or as one of all its user's.
func (f *auditFilter) ofToken(e *registry.Event) bool {
	if f.token == uuid.Nil {
		return true
	}
	if e.Kind == registry.TokenCreated || e.Kind == registry.TokenRenewed {
		if f.parents == nil {
			f.parents = make(map[uuid.UUID]uuid.UUID)
		}
		if e.Parent != uuid.Nil {
			f.parents[e.TokenID] = e.Parent
		}
		if e.TokenID == f.token {
			f.owner, f.project = e.User, e.Project
		}
	}
	switch {
	case e.TokenID == f.token, e.Parent == f.token, e.Actor.TokenID == f.token:
		return true
	case e.Kind == registry.TokensDeleted:
		return f.owner != "" && e.User == f.owner && e.Project == f.project
	case !e.Successors:
		return false
	}
	for ancestor := f.token; ancestor != uuid.Nil; ancestor = f.parents[ancestor] {
		if ancestor == e.TokenID {
			return true
		}
	}
	return false
}

// auditView shows lines, and what is wrong with them.
type auditView struct {
	json, quiet bool
	out         *bufio.Writer
	errors      io.Writer
	progress    *progress
	headed      bool
	breaks      int
}

const auditColumns = "%-24v  %-16s  %-12s  %-28s  %-15s  %s\n"

func (v *auditView) line(line *auditfile.Found, e *registry.Event) error {
	if v.quiet {
		v.progress.at("%d lines read", line.Seq)
		return nil
	}
	v.progress.clear()
	if v.json {
		_, err := fmt.Fprintf(v.out, "%s\n", line.Text)
		return err
	}
	if !v.headed {
		v.headed = true
		fmt.Fprintf(v.out, auditColumns, "TIME", "EVENT", "PROJECT", "WHO", "FROM", "WHAT")
	}
	_, err := fmt.Fprintf(v.out, auditColumns, e.Time, printable(e.Kind), printable(e.Project), who(&e.Actor), printable(e.ClientIP), what(e))
	return err
}

// mostBreaks is how many breaks are shown: in a file that isn't one of an audit every
// line is one.
const mostBreaks = 20

func (v *auditView) broken(b auditfile.Break) {
	v.breaks++
	if v.breaks > mostBreaks {
		return
	}
	v.progress.clear()
	_ = v.out.Flush() // so that it stands behind what comes before it
	fmt.Fprintln(v.errors, b)
}

// sum says at the end what there was.
func (v *auditView) sum(matched int, c auditfile.Chain) {
	text := fmt.Sprintf("%d of %d lines match", matched, c.Lines)
	if c.Lines > 0 {
		text += fmt.Sprintf("; the chain is whole from line %d to line %d", c.First, c.Last)
	}
	if c.Breaks > 0 {
		text = fmt.Sprintf("%d of %d lines match; the chain is NOT whole: see above", matched, c.Lines)
	}
	if v.breaks > mostBreaks {
		text += fmt.Sprintf(", and %d more places", v.breaks-mostBreaks)
	}
	if c.First > 1 {
		text += fmt.Sprintf("; lines before %d are in none of these files", c.First)
	}
	if c.Repeated > 0 {
		text += fmt.Sprintf("; %d lines are in several files", c.Repeated)
	}
	fmt.Fprintln(v.errors, text)
}

// who names an actor and how it is known.
func who(a *registry.Actor) string {
	by := a.By[strings.LastIndexByte(a.By, '.')+1:]
	if a.TokenID != uuid.Nil {
		by += " " + a.TokenID.String()[:8]
	}
	if a.User == "" {
		return printable(by)
	}
	return printable(a.User) + " (" + printable(by) + ")"
}

// what says what a change was about.
func what(e *registry.Event) string {
	var parts []string
	add := func(format string, args ...any) { parts = append(parts, fmt.Sprintf(format, args...)) }
	switch {
	case e.TokenID != uuid.Nil:
		add("%s of %s", e.TokenID, printable(e.User))
	case e.User != "":
		add("%s", printable(e.User))
	}
	if e.Parent != uuid.Nil {
		add("renews %s", e.Parent)
	}
	if e.Successors {
		add("and its successors")
	}
	if !e.Expires.IsZero() {
		add("until %s", e.Expires)
	}
	if len(e.Scopes) > 0 {
		add("scopes %s", printable(strings.Join(e.Scopes, " ")))
	}
	if len(e.Addresses) > 0 {
		add("from %s", strings.Trim(fmt.Sprint(e.Addresses), "[]"))
	}
	if e.Key != "" {
		add("hash key %s", printable(e.Key))
	}
	if len(e.PreviousKeys) > 0 {
		add("previous %s", printable(strings.Join(e.PreviousKeys, " ")))
	}
	if e.Before != nil && e.After != nil {
		add("%s -> %s", settingsText(e.Before), settingsText(e.After))
	}
	if r := e.Restoration; r != nil {
		add("the backup of %s, revision %d of epoch %d, the records of %s", r.BackupTime, r.BackupRevision, r.BackupEpoch, counted(r.Tokens, "token"))
		add("taken away again %s", counted(r.TakenAway, "change"))
	}
	return strings.Join(parts, ", ")
}

func settingsText(s *store.Settings) string {
	text, err := json.Marshal(s)
	if err != nil {
		panic(err) // it has been read from JSON
	}
	return printable(string(text))
}

// printable is text that does nothing to a terminal but being read.
func printable(text string) string {
	if strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return strconv.Quote(text)
	}
	return text
}
