package command

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/caddy-access-tokens/caddy-access-tokens/caddymodule/admin"
)

func blockCommand() *cobra.Command {
	var c change
	var project string
	cmd := &cobra.Command{
		Use:                   "block [--project <name>] [--yes] [--dry-run] [--json] <user id>",
		DisableFlagsInUseLine: true,
		Short:                 "Blocks a user: tokens, sign-ins and sessions count for nothing",
		Long: `
Blocks a user, administrators too, in one project or in all that there are, from the
next request on: all tokens, sign-ins and sessions are refused. Nothing is deleted;
"unblock" lets all be as before. A project that comes later doesn't know of it.

It asks before, unless there is --yes.`,
		Example: `  $ caddy access-tokens block bob
  $ caddy access-tokens block --project dataprep --yes bob`,
		Args: oneUser,
		RunE: func(cmd *cobra.Command, args []string) error {
			c.begin(cmd)
			body := blockingBody(cmd, args[0], project)
			if !c.yes && !c.dryRun {
				var would admin.Blocking
				if err := c.post(cmd, "/access_tokens/block", body, true, &would); err != nil {
					return notDone(cmd, err)
				}
				if len(would.Changed) > 0 {
					question := fmt.Sprintf("This blocks %s in %s.", printable(args[0]), inProjects(would.Changed))
					if goOn, err := confirm(cmd, false, question); !goOn {
						return err
					}
				}
			}
			var did admin.Blocking
			if err := c.post(cmd, "/access_tokens/block", body, c.dryRun, &did); err != nil {
				return notDone(cmd, err)
			}
			return c.blocked(cmd, &did, args[0], "blocked")
		},
	}
	cmd.Flags().StringVar(&project, "project", "", "in this project alone")
	c.addFlags(cmd)
	return cmd
}

func unblockCommand() *cobra.Command {
	var c change
	var project string
	cmd := &cobra.Command{
		Use:                   "unblock [--project <name>] [--dry-run] [--json] <user id>",
		DisableFlagsInUseLine: true,
		Short:                 "Lets a user who is blocked be as before",
		Long: `
Unblocks a user in one project or in all, from the next request on. Tokens that
haven't been deleted and haven't expired work again.

The exit code is 3 where the user isn't blocked.`,
		Example: `  $ caddy access-tokens unblock bob
  $ caddy access-tokens unblock --project dataprep bob`,
		Args: oneUser,
		RunE: func(cmd *cobra.Command, args []string) error {
			c.begin(cmd)
			var did admin.Blocking
			if err := c.post(cmd, "/access_tokens/unblock", blockingBody(cmd, args[0], project), c.dryRun, &did); err != nil {
				return notDone(cmd, err)
			}
			if err := c.blocked(cmd, &did, args[0], "unblocked"); err != nil || len(did.Changed) > 0 {
				return err
			}
			return exit(cmd, exitNothingMatched)
		},
	}
	cmd.Flags().StringVar(&project, "project", "", "in this project alone")
	cmd.Flags().BoolVar(&c.dryRun, "dry-run", false, "only say what would be done")
	c.output.addFlag(cmd)
	c.server.addFlags(cmd)
	return cmd
}

func oneUser(cmd *cobra.Command, args []string) error {
	if len(args) != 1 {
		return wrongUse(cmd, errors.New("say which user, by id"))
	}
	return nil
}

func blockingBody(cmd *cobra.Command, user, project string) map[string]any {
	body := map[string]any{"user": user}
	if cmd.Flags().Changed("project") {
		body["project"] = project
	}
	return body
}

// blocked says where that has been done.
func (c *change) blocked(cmd *cobra.Command, b *admin.Blocking, user, what string) error {
	text := printable(user) + " is " + what
	switch {
	case len(b.Changed) == 0 && what == "blocked":
		text += " already"
	case len(b.Changed) == 0:
		text = printable(user) + " isn't blocked"
	case b.DryRun:
		text = printable(user) + " would be " + what + " in " + inProjects(b.Changed)
	default:
		text += " in " + inProjects(b.Changed)
	}
	if err := c.result(b, "%s.", text); err != nil {
		return fail(cmd, err)
	}
	return nil
}

func inProjects(names []string) string {
	text := printable(strings.Join(names, ", "))
	if len(names) == 1 {
		return "project " + text
	}
	return "projects " + text
}
