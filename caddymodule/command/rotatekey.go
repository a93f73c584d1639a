package command

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/spf13/cobra"

	"github.com/caddy-access-tokens/caddy-access-tokens/caddymodule/admin"
)

func rotateKeyCommand() *cobra.Command {
	var c change
	var finish, next bool
	cmd := &cobra.Command{
		Use:                   "rotate-key [--new | --finish] [--yes] [--dry-run] [--json]",
		DisableFlagsInUseLine: true,
		Short:                 "Lists the tokens that are still under an older hash key, or ends them",
		Long: `
Tokens are kept by a hash under a key. A new key is put in front by "hash_key" in
the Caddyfile, with the one before under "previous"; or, where the store has made
its key by itself, by --new. New tokens are under that one, and each older token
moves to it when it is used, since its value is needed for that.

Without an option it lists the tokens that haven't been used since, and ends with 3
if there are none. --finish ends those, after it has asked: then nothing is under an
older key any more.`,
		Example: `  $ caddy access-tokens rotate-key --new
  $ caddy access-tokens rotate-key
  $ caddy access-tokens rotate-key --finish --dry-run
  $ caddy access-tokens rotate-key --finish`,
		Args: func(cmd *cobra.Command, args []string) error {
			if finish && next {
				return wrongUse(cmd, errors.New("--new and --finish exclude each other"))
			}
			return noArguments(cmd, args)
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			c.begin(cmd)
			switch {
			case next:
				return c.newKey(cmd)
			case finish:
				return c.finishKeys(cmd)
			}
			return c.underOlderKeys(cmd)
		},
	}
	cmd.Flags().BoolVar(&next, "new", false, "make the next key, where the store has made the present one")
	cmd.Flags().BoolVar(&finish, "finish", false, "end the tokens that are still under an older key")
	c.addFlags(cmd)
	return cmd
}

const rotatePath = "/access_tokens/rotate_key"

func (c *change) underOlderKeys(cmd *cobra.Command) error {
	found, list := 0, newTokenList(cmd, &c.output)
	err := c.list(http.MethodPost, rotatePath, map[string]any{}, func(item json.RawMessage) error {
		found++
		if err := list.add(item); err != nil || found%1000 > 0 {
			list.progress.at("%d tokens read", found)
			return err
		}
		return list.flush()
	})
	if err := errors.Join(err, list.flush()); err != nil {
		return notDone(cmd, err)
	}
	if found == 0 {
		cmd.PrintErrln("No living token is under an older hash key.")
		return exit(cmd, exitNothingMatched)
	}
	cmd.PrintErrf("%s under an older hash key until used, or until --finish.\n", plural(found, "token"))
	return nil
}

func (c *change) newKey(cmd *cobra.Command) error {
	var made admin.NewKey
	if err := c.post(cmd, rotatePath, map[string]any{"new": true}, c.dryRun, &made); err != nil {
		return notDone(cmd, err)
	}
	text := fmt.Sprintf("New tokens are under the key %s from now on. Others move to it when they are used; until then they are under %s.", made.Key, strings.Join(made.Previous, " or "))
	if c.dryRun {
		text = fmt.Sprintf("A new key would be put in front of %s.", strings.Join(made.Previous, " and "))
	}
	if err := c.result(&made, "%s", text); err != nil {
		return fail(cmd, err)
	}
	return nil
}

func (c *change) finishKeys(cmd *cobra.Command) error {
	body := map[string]any{"finish": true}
	if !c.yes && !c.dryRun {
		var would admin.Deletion
		if err := c.post(cmd, rotatePath, body, true, &would); err != nil {
			return notDone(cmd, err)
		}
		if would.Deleted > 0 {
			question := fmt.Sprintf("This ends %s under older hash keys for good.", plural(would.Deleted, "token"))
			if goOn, err := confirm(cmd, false, question); !goOn {
				return err
			}
		}
	}
	var did admin.Deletion
	if err := c.post(cmd, rotatePath, body, c.dryRun, &did); err != nil {
		return notDone(cmd, err)
	}
	text := "Ended %s. No living token is under an older hash key."
	if c.dryRun {
		text = "It would end %s."
	}
	if err := c.result(&did, text, plural(did.Deleted, "token")); err != nil {
		return fail(cmd, err)
	}
	return nil
}
