package command

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/caddy-access-tokens/caddy-access-tokens/caddymodule/admin"
)

func statsCommand() *cobra.Command {
	var s server
	var out output
	cmd := &cobra.Command{
		Use:                   "stats [--json]",
		DisableFlagsInUseLine: true,
		Short:                 "Shows how many tokens there are, under which hash keys, and how much room is left",
		Long: `
Shows where the store is, how large it is and how much room its disk has; whether
everything can be written, and to the audit file; which hash keys are in use, and
how many living tokens are under each; and of each project how many tokens there
are, how many expire soon, who is blocked, and what is allowed.

All tokens are counted for it, which takes some seconds for a million.`,
		Example: `  $ caddy access-tokens stats
  $ caddy access-tokens stats --json | jq .freeBytes`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			out.begin(cmd)
			var text json.RawMessage
			err := newProgress(cmd.ErrOrStderr()).during(func() error { return s.ask(http.MethodGet, "/access_tokens/stats", nil, &text) })
			if err != nil {
				return notDone(cmd, err)
			}
			if out.json {
				if err := out.line(text); err != nil {
					return fail(cmd, err)
				}
			} else {
				var told admin.Stats
				if err := json.Unmarshal(text, &told); err != nil {
					return fail(cmd, fmt.Errorf("reading Caddy's answer: %w", err))
				}
				out.stats(&told)
			}
			if err := out.to.Flush(); err != nil {
				return fail(cmd, err)
			}
			return nil
		},
	}
	out.addFlag(cmd)
	s.addFlags(cmd)
	return cmd
}

func (o *output) stats(s *admin.Stats) {
	free := "it isn't known how much is free"
	if s.FreeBytes >= 0 {
		free = size(s.FreeBytes) + " free"
	}
	writable := "yes"
	if !s.Writable {
		writable = "NO: Caddy's log says why"
	}
	audit := "Caddy's log alone"
	switch {
	case s.AuditFailing != "":
		audit = printable(s.AuditFile) + ", which can't be written: " + printable(s.AuditFailing)
	case s.AuditFile != "":
		audit = printable(s.AuditFile)
	}
	o.facts(
		[2]string{"Store", printable(s.Dir)},
		[2]string{"Size", size(s.SizeBytes) + ", " + free},
		[2]string{"Writable", writable},
		[2]string{"Audit", audit},
		[2]string{"Position", fmt.Sprintf("epoch %d, revision %d", s.Epoch, s.Revision)},
	)
	fmt.Fprintln(o.to)
	keys := table{to: o.to, width: o.width, columns: []column{{"HASH KEY", 0, 0}, {"LIVING TOKENS", 0, 0}, {"", 0, 1}}}
	for i, k := range s.Keys {
		what := "for new tokens"
		if i > 0 {
			what = "previous"
		}
		keys.add(k.Key, strconv.Itoa(k.Tokens), what)
	}
	keys.flush()
	fmt.Fprintln(o.to)
	projects := table{to: o.to, width: o.width, columns: []column{
		{"PROJECT", 8, 0}, {"ACTIVE", 0, 0}, {"EXPIRED", 0, 0}, {"IN 1D", 0, 3}, {"IN 7D", 0, 2}, {"IN 30D", 0, 3}, {"BLOCKED", 8, 4}, {"ACCESS", 0, 5}, {"MAY GENERATE", 6, 6}, {"FOR", 0, 7},
	}}
	for _, p := range s.Projects {
		access, longest := "on", strconv.Itoa(p.MaxLifetimeDays)+"d"
		if !p.Enabled {
			access = "off"
		}
		if p.MaxLifetimeDays < 0 {
			longest = "ever"
		}
		generate := p.Generate
		if len(p.Users) > 0 {
			generate += ": " + strings.Join(p.Users, " ")
		}
		projects.add(p.Project, strconv.Itoa(p.Active), strconv.Itoa(p.Expired),
			strconv.Itoa(p.Expiring["1d"]), strconv.Itoa(p.Expiring["7d"]), strconv.Itoa(p.Expiring["30d"]), strings.Join(p.Blocked, " "), access, generate, longest)
	}
	projects.flush()
}

// size is a number of bytes for people.
func size(bytes int64) string {
	const unit = 1024
	value, units := float64(bytes), []string{"B", "KiB", "MiB", "GiB", "TiB"}
	for value >= unit && len(units) > 1 {
		value, units = value/unit, units[1:]
	}
	if units[0] == "B" {
		return fmt.Sprintf("%d B", bytes)
	}
	return fmt.Sprintf("%.1f %s", value, units[0])
}
