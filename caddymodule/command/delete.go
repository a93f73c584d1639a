package command

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/caddy-access-tokens/caddy-access-tokens/caddymodule/admin"
)

// change is what commands have in common that take something away.
type change struct {
	server
	output
	yes, dryRun bool
}

func (c *change) addFlags(cmd *cobra.Command) {
	cmd.Flags().BoolVarP(&c.yes, "yes", "y", false, "don't ask")
	cmd.Flags().BoolVar(&c.dryRun, "dry-run", false, "only say what would be done")
	c.output.addFlag(cmd)
	c.server.addFlags(cmd)
}

// post asks for a change, or for what it would be.
func (c *change) post(cmd *cobra.Command, path string, body map[string]any, dryRun bool, answer any) error {
	if dryRun {
		body["dryRun"] = true
	} else {
		delete(body, "dryRun")
	}
	return newProgress(cmd.ErrOrStderr()).during(func() error { return c.ask(http.MethodPost, path, body, answer) })
}

func deleteCommand() *cobra.Command {
	var c change
	var project, user string
	var all bool
	cmd := &cobra.Command{
		Use:                   "delete (<token id>... | --project <name> (--user <id> | --all)) [--yes] [--dry-run] [--json]",
		DisableFlagsInUseLine: true,
		Short:                 "Ends tokens: these, all of a user's, or all of a project",
		Long: `
Ends tokens for good, from the next request on: those of these ids, all that a user
has in a project, or all that there are in a project. Nothing else is ended; so a
successor, which a token has made, lives on unless it is named, too.

It asks before, unless there is --yes.`,
		Example: `  $ caddy access-tokens delete 0f8fad5b-d9cb-469f-a165-70867728950e
  $ caddy access-tokens delete --project dataprep --user bob
  $ caddy access-tokens delete --project old --all --dry-run
  $ caddy access-tokens list --unused-for 365d --json | jq -r .tokenId | xargs caddy access-tokens delete --yes`,
		Args: func(cmd *cobra.Command, ids []string) error {
			byProject := cmd.Flags().Changed("project") || cmd.Flags().Changed("user") || all
			switch {
			case len(ids) > 0 && byProject:
				return wrongUse(cmd, errors.New("name tokens, or a project, not both"))
			case len(ids) > 0:
				return checkIDs(cmd, ids)
			case !byProject:
				return wrongUse(cmd, errors.New("say what to delete: ids of tokens, --project with --user, or --project with --all"))
			case project == "":
				return wrongUse(cmd, errors.New("say of which --project"))
			case all == (user != ""):
				return wrongUse(cmd, errors.New("say which --user, or --all"))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, ids []string) error {
			c.begin(cmd)
			if len(ids) > 0 {
				return c.deleteTokens(cmd, ids)
			}
			body, of := map[string]any{"project": project, "all": true}, "project "+printable(project)
			if !all {
				body, of = map[string]any{"project": project, "user": user}, printable(user)+" in "+of
			}
			return c.delete(cmd, of, body)
		},
	}
	cmd.Flags().StringVar(&project, "project", "", "of this project")
	cmd.Flags().StringVar(&user, "user", "", "all of this user's, by id")
	cmd.Flags().BoolVar(&all, "all", false, "all of the project")
	c.addFlags(cmd)
	return cmd
}

// maxIDs is how many are sent at a time.
const maxIDs = 1000

func (c *change) deleteTokens(cmd *cobra.Command, ids []string) error {
	var bodies []map[string]any
	for some := range slices.Chunk(ids, maxIDs) {
		bodies = append(bodies, map[string]any{"ids": some})
	}
	return c.delete(cmd, "", bodies...)
}

// delete ends what bodies select, after it has asked.
func (c *change) delete(cmd *cobra.Command, of string, bodies ...map[string]any) error {
	if !c.yes || c.dryRun {
		would, err := c.deleteEach(cmd, bodies, true)
		if err != nil {
			return notDone(cmd, err)
		}
		if c.dryRun || would.Deleted+would.Expired == 0 {
			return c.deleted(cmd, &would, of)
		}
		if goOn, err := confirm(cmd, false, "This ends "+count(&would, of)+" for good."); !goOn {
			return err
		}
	}
	did, err := c.deleteEach(cmd, bodies, false)
	if err != nil {
		if did.Deleted+did.Expired > 0 {
			cmd.PrintErrf("%s ended before that.\n", count(&did, of))
		}
		return notDone(cmd, err)
	}
	return c.deleted(cmd, &did, of)
}

func (c *change) deleteEach(cmd *cobra.Command, bodies []map[string]any, dryRun bool) (sum admin.Deletion, err error) {
	sum.DryRun = dryRun
	for _, body := range bodies {
		var d admin.Deletion
		if err := c.post(cmd, "/access_tokens/delete", body, dryRun, &d); err != nil {
			return sum, err
		}
		sum.Deleted, sum.Expired = sum.Deleted+d.Deleted, sum.Expired+d.Expired
		sum.Unknown = append(sum.Unknown, d.Unknown...)
	}
	return sum, nil
}

// deleted says what has been done.
func (c *change) deleted(cmd *cobra.Command, d *admin.Deletion, of string) error {
	if len(d.Unknown) > 0 {
		cmd.PrintErrf("There is no token %s, or it is deleted.\n", join(d.Unknown))
	}
	format := "Ended %s."
	if d.DryRun {
		format = "It would end %s."
	}
	if err := c.result(d, format, count(d, of)); err != nil {
		return fail(cmd, err)
	}
	if d.Deleted+d.Expired == 0 {
		return exit(cmd, exitNothingMatched)
	}
	return nil
}

func count(d *admin.Deletion, of string) string {
	text := plural(d.Deleted, "token")
	if of != "" {
		text += " of " + of
	}
	if d.Expired > 0 {
		text += fmt.Sprintf(", and takes %s out of lists", plural(d.Expired, "expired one"))
	}
	return text
}

func join(ids []uuid.UUID) string {
	texts := make([]string, len(ids))
	for i, id := range ids {
		texts[i] = id.String()
	}
	return strings.Join(texts, ", ")
}
