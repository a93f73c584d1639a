package command

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/caddy-access-tokens/caddy-access-tokens/caddymodule/admin"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/registry"
)

func listCommand() *cobra.Command {
	var s server
	var out output
	var wanted struct{ project, user, state, unusedFor, expiringWithin string }
	var limit int
	cmd := &cobra.Command{
		Use:                   "list [--project <name>] [--user <id>] [--state active|expired] [--expiring-within <days>] [--unused-for <days>] [--limit <n>] [--json]",
		DisableFlagsInUseLine: true,
		Short:                 "Lists tokens: whose they are, when they expire, when and from where they were used",
		Long: `
Lists the tokens of all projects, or those that are asked for, the oldest of each
project first. Tokens that were deleted are in no list; "show" knows them.`,
		Example: `  $ caddy access-tokens list
  $ caddy access-tokens list --expiring-within 7d
  $ caddy access-tokens list --project dataprep --user alice
  $ caddy access-tokens list --unused-for 90d --json | jq -r .tokenId`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			query := url.Values{}
			for flag, parameter := range map[string]struct{ name, value string }{
				"project": {"project", wanted.project}, "user": {"user", wanted.user}, "state": {"state", wanted.state},
				"unused-for":      {"unusedFor", strings.TrimSuffix(wanted.unusedFor, "d")},
				"expiring-within": {"expiringWithin", strings.TrimSuffix(wanted.expiringWithin, "d")},
			} {
				if cmd.Flags().Changed(flag) {
					query.Set(parameter.name, parameter.value)
				}
			}
			if limit < 0 {
				return wrongUse(cmd, fmt.Errorf("--limit: %d is no number of tokens", limit))
			}
			out.begin(cmd)
			found, err := listTokens(&s, query, limit, newTokenList(cmd, &out))
			if err != nil {
				return notDone(cmd, err)
			}
			if found == 0 {
				cmd.PrintErrln("No token matches.")
				return exit(cmd, exitNothingMatched)
			}
			return nil
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&wanted.project, "project", "", "only those of this project")
	flags.StringVar(&wanted.user, "user", "", "only those of this user, by id")
	flags.StringVar(&wanted.state, "state", "", "only those that are active, or expired")
	flags.StringVar(&wanted.expiringWithin, "expiring-within", "", "only active ones that expire within so many days: 7d")
	flags.StringVar(&wanted.unusedFor, "unused-for", "", "only those that haven't been used for so many days, since they were made if they never were: 90d")
	flags.IntVar(&limit, "limit", 0, "no more than so many")
	out.addFlag(cmd)
	s.addFlags(cmd)
	return cmd
}

// listTokens hands the tokens that a query asks for to a list, a page at a time, and
// returns how many there are. Limit is 0 for all.
func listTokens(s *server, query url.Values, limit int, to *tokenList) (found int, err error) {
	const page = 1000
	for {
		size := page
		if limit > 0 {
			size = min(page, limit-found)
		}
		query.Set("limit", strconv.Itoa(size))
		n := 0
		err := s.list(http.MethodGet, "/access_tokens/tokens?"+query.Encode(), nil, func(item json.RawMessage) error {
			n++
			return to.add(item)
		})
		if found += n; err != nil {
			return found, err
		}
		if err := to.flush(); err != nil || n < size || found == limit {
			return found, err
		}
		query.Set("after", to.last.String())
		to.progress.at("%d tokens read", found)
	}
}

// tokenList prints tokens.
type tokenList struct {
	*output
	table    table
	progress *progress
	last     fmt.Stringer
}

func newTokenList(cmd *cobra.Command, out *output) *tokenList {
	return &tokenList{
		output: out, progress: newProgress(cmd.ErrOrStderr()),
		table: table{to: out.to, width: out.width, columns: []column{
			{"TOKEN", 0, 0}, {"PROJECT", 8, 5}, {"USER", 8, 1}, {"EXPIRES", 0, 2}, {"LAST USED", 0, 3}, {"FROM", 0, 6}, {"MADE", 0, 7}, {"DESCRIPTION", 8, 4},
		}},
	}
}

func (l *tokenList) add(item json.RawMessage) error {
	var t admin.Token
	if err := json.Unmarshal(item, &t); err != nil {
		return fmt.Errorf("reading Caddy's answer: %w", err)
	}
	l.last = t.ID
	if l.json {
		return l.line(item)
	}
	l.table.add(t.ID.String(), t.Project, t.UserID, l.when(t.ExpiredAt, "never"), l.when(t.LastUsed, "never"), t.LastUsedAddress, ago(t.CreatedAt.Time, l.now), t.Description)
	return nil
}

func (o *output) when(at *registry.Time, never string) string {
	if at == nil {
		return never
	}
	return ago(at.Time, o.now)
}

// flush shows what has been added so far.
func (l *tokenList) flush() error {
	l.progress.clear()
	if len(l.table.rows) > 0 {
		l.table.flush()
	}
	return l.to.Flush()
}

// noArguments is for commands that take none.
func noArguments(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return wrongUse(cmd, fmt.Errorf("it takes no argument such as %q", args[0]))
	}
	return nil
}
