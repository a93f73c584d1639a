package command

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/caddy-access-tokens/caddy-access-tokens/caddymodule/admin"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/registry"
)

func showCommand() *cobra.Command {
	var s server
	var out output
	cmd := &cobra.Command{
		Use:                   "show [--json] <token id>...",
		DisableFlagsInUseLine: true,
		Short:                 "Shows all that is known of a token, and why it was refused lately",
		Long: `
Shows all that is known of tokens: whose they are, whether they work, when they
ended, when and from where they were used last, and why they were refused lately:
that is kept in memory, of the tokens that were refused last, since Caddy's start.

The id of a token that was refused is in the access log, as token_id. A token's
value is nowhere, and can't be looked for.`,
		Example: `  $ caddy access-tokens show 0f8fad5b-d9cb-469f-a165-70867728950e
  $ caddy access-tokens show --json 0f8fad5b-d9cb-469f-a165-70867728950e | jq .refusals`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return wrongUse(cmd, errors.New("say which token, by its id"))
			}
			return checkIDs(cmd, args)
		},
		RunE: func(cmd *cobra.Command, ids []string) error {
			out.begin(cmd)
			for i, id := range ids {
				var text json.RawMessage
				if err := s.ask(http.MethodGet, "/access_tokens/tokens/"+id, nil, &text); err != nil {
					_ = out.to.Flush()
					return notDone(cmd, err)
				}
				if out.json {
					if err := out.line(text); err != nil {
						return fail(cmd, err)
					}
					continue
				}
				var t admin.TokenDetails
				if err := json.Unmarshal(text, &t); err != nil {
					return fail(cmd, fmt.Errorf("reading Caddy's answer: %w", err))
				}
				if i > 0 {
					fmt.Fprintln(out.to)
				}
				out.token(&t)
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

// checkIDs says which argument is no token's id.
func checkIDs(cmd *cobra.Command, args []string) error {
	for _, arg := range args {
		if id, err := uuid.Parse(arg); err != nil || id.String() != strings.ToLower(arg) {
			// It may be a token's value, pasted by mistake: it isn't repeated.
			return wrongUse(cmd, errors.New("a token id looks like 0f8fad5b-d9cb-469f-a165-70867728950e; what was given isn't one"))
		}
	}
	return nil
}

// refusedBecause says in words what the access log says in one.
var refusedBecause = map[string]string{
	registry.WhyExpired: "it had expired",
	registry.WhyDeleted: "it had been deleted",
	registry.WhyOff:     "API access was off",
	registry.WhyBlocked: "its user was blocked",
	registry.WhyProject: "it was sent to a site of another project",
	registry.WhyAddress: "it came from an address that it isn't for",
	"scope":             "the request was outside of its scopes",
}

// wouldBeRefused says why a token that hasn't ended doesn't work at present.
var wouldBeRefused = map[string]string{
	registry.WhyOff:     "but API access is off: it is refused",
	registry.WhyBlocked: "but its user is blocked: it is refused",
	"unavailable":       "but the configuration has no site of this project",
}

// token writes what is known of one.
func (o *output) token(t *admin.TokenDetails) {
	state := t.State
	switch {
	case t.DeletedAt != nil:
		state += " " + o.exactly(t.DeletedAt)
		if by := t.DeletedBy; by != nil {
			state += " by " + who(&registry.Actor{User: by.User, By: by.By, TokenID: by.TokenID})
			if by.ClientIP != "" {
				state += " from " + by.ClientIP
			}
		}
	case t.State == "active" && t.RefusedNow != "":
		state += ", " + wouldBeRefused[t.RefusedNow]
	}
	expires := "never"
	if t.ExpiredAt != nil {
		expires = o.exactly(t.ExpiredAt)
	}
	used := "never"
	if t.LastUsed != nil {
		used = o.exactly(t.LastUsed)
		if t.LastUsedAddress != "" {
			used += " from " + t.LastUsedAddress
		}
	}
	user := printable(t.UserID)
	for _, more := range []string{t.UserName, t.UserEmail} {
		if more != "" {
			user += ", " + printable(more)
		}
	}
	var claims []string
	for _, name := range slices.Sorted(maps.Keys(t.Claims)) {
		claims = append(claims, printable(name)+" "+printable(t.Claims[name]))
	}
	parent := ""
	if t.ParentID != uuid.Nil {
		parent = t.ParentID.String()
	}
	facts := [][2]string{
		{"Token", t.ID.String()},
		{"Description", printable(t.Description)},
		{"Project", printable(t.Project)},
		{"User", user},
		{"Claims", strings.Join(claims, ", ")},
		{"State", state},
		{"Made", o.exactly(&t.CreatedAt)},
		{"Expires", expires},
		{"Last used", used},
		{"Renews", parent},
		{"Scopes", strings.Join(t.Scopes, " ")},
		{"Addresses", strings.Join(t.Addresses, " ")},
		{"Hash key", t.HashKey},
	}
	refusals := "not since Caddy's start"
	for _, r := range t.Refusals {
		because, known := refusedBecause[r.Refusal]
		if !known {
			because = printable(r.Refusal)
		}
		refusals = fmt.Sprintf("%s, because %s: last %s", plural(r.Count, "time"), because, o.exactly(&r.Last))
		if r.Address != "" {
			refusals += " from " + r.Address
		}
		facts = append(facts, [2]string{"Refused", refusals})
	}
	if len(t.Refusals) == 0 {
		facts = append(facts, [2]string{"Refused", refusals})
	}
	o.facts(facts...)
}

// exactly is a time, and how far it is from now.
func (o *output) exactly(at *registry.Time) string {
	return at.String() + " (" + ago(at.Time, o.now) + ")"
}
