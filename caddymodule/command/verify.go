package command

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/backup"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/registry"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store/badgerstore"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/token"
)

func verifyCommand() *cobra.Command {
	var c verifyCall
	var clock, yes bool
	cmd := &cobra.Command{
		Use:                   "verify [--identity <file>] [--json] [--clock [--yes]] [<dir> | <backup>]",
		DisableFlagsInUseLine: true,
		Short:                 "Checks a stopped store or a backup",
		Long: `
Reads a store that no server runs on, or a backup, to the last byte, says what is
there, and changes nothing. Of a backup it also says what the deleted.list beside it
knows. In a directory of backups it takes the newest one. Without a name it is the
store in Caddy's data directory.

With --clock it takes back the time that a stopped store remembers: when the machine's
clock was ahead for a while, tokens are taken for expired until it is as late as that
in truth. Set the machine's clock first.

The exit code is 0 where all is well, 1 where something is damaged or can't be read,
2 where the command was used wrongly, and 3 where there is neither store nor backup.`,
		Example: `  $ caddy access-tokens verify /var/lib/caddy/access-tokens
  $ caddy access-tokens verify /var/backups/access-tokens
  $ caddy access-tokens verify --identity key.txt /var/backups/access-tokens/access-tokens-20260501T030000Z.backup.age
  $ caddy access-tokens verify --clock`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return wrongUse(cmd, errors.New("name one directory or one backup"))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			name := storeDirectory("")
			if len(args) == 1 {
				name = args[0]
			}
			c.out, c.progress = cmd.OutOrStdout(), newProgress(cmd.ErrOrStderr())
			info, err := os.Stat(name)
			switch {
			case errors.Is(err, fs.ErrNotExist):
				cmd.PrintErrf("There is nothing at %s.\n", name)
				return exit(cmd, exitNothingMatched)
			case err != nil:
				return fail(cmd, err)
			case clock && !info.IsDir():
				return wrongUse(cmd, errors.New("--clock is for a store's directory"))
			case clock:
				return c.resetClock(cmd, name, yes)
			case info.IsDir():
				err = c.directory(name)
			default:
				err = c.backup(name)
			}
			c.progress.clear()
			switch {
			case errors.Is(err, badgerstore.ErrNoStore), errors.Is(err, backup.ErrNoBackup):
				cmd.PrintErrln(err)
				return exit(cmd, exitNothingMatched)
			case err != nil:
				return fail(cmd, err)
			}
			return exit(cmd, exitDone)
		},
	}
	flags := cmd.Flags()
	flags.StringArrayVarP(&c.identities, "identity", "i", nil, "a file of age identities, for an encrypted backup; can be repeated")
	flags.BoolVar(&c.json, "json", false, "say it as JSON")
	flags.BoolVar(&clock, "clock", false, "take back the time that a stopped store remembers")
	flags.BoolVarP(&yes, "yes", "y", false, "don't ask")
	return cmd
}

// verifyCall is how something is verified.
type verifyCall struct {
	identities []string
	json       bool
	out        io.Writer
	progress   *progress
}

func (c *verifyCall) say(format string, args ...any) {
	c.progress.clear()
	fmt.Fprintf(c.out, format+"\n", args...)
}

// show says what was found as JSON, and tells whether it did.
func (c *verifyCall) show(v any) (bool, error) {
	if !c.json {
		return false, nil
	}
	c.progress.clear()
	return true, json.NewEncoder(c.out).Encode(v)
}

// directory verifies a store, or where there is none the newest backup.
func (c *verifyCall) directory(dir string) error {
	err := c.store(dir)
	if !errors.Is(err, badgerstore.ErrNoStore) {
		return err
	}
	newest, findErr := newestBackup(dir)
	if findErr != nil || newest == "" {
		return errors.Join(fmt.Errorf("%s: %w", dir, err), findErr)
	}
	return c.backup(newest)
}

// newestBackup is that of a directory of backups, "" if there is none.
func newestBackup(dir string) (string, error) {
	// A day more, for a clock that was a bit ahead.
	return backup.Newest(dir, time.Now().AddDate(0, 0, 1))
}

func (c *verifyCall) store(dir string) error {
	v, err := badgerstore.VerifyDir(dir, func(done, of int) { c.progress.at("%d of %d tables verified", done, of) })
	if err != nil {
		return err
	}
	type verifiedStore struct {
		Kind          string        `json:"kind"`
		Epoch         uint64        `json:"epoch"`
		Revision      uint64        `json:"revision"`
		Made          uint64        `json:"tokensEverMade"`
		Bytes         int64         `json:"bytes"`
		Keys          []string      `json:"keys"`
		KeyInFile     string        `json:"keyInFile,omitempty"`
		DeletedList   int           `json:"deletedListRecords"`
		Clock         registry.Time `json:"rememberedTime,omitzero"`
		AuditToWrite  int64         `json:"auditBytesToWrite"`
		WithoutAClose bool          `json:"leftByACrash"`
		Warnings      []string      `json:"warnings,omitempty"`
	}
	inFile := ""
	if v.InFile != (token.KeyID{}) {
		inFile = v.InFile.String()
	}
	if shown, err := c.show(verifiedStore{
		"store", v.Epoch, v.Revision, v.Made, v.Bytes, keyTexts(v.Keys), inFile, v.Listed, registry.Time{Time: v.Clock}, v.Waiting, v.ListTorn, v.Warnings,
	}); shown {
		return err
	}
	c.say("%s is whole: a store at revision %d of epoch %d, in which %s were ever made; %d tables, %d MB.", dir, v.Revision, v.Epoch, counted(int(v.Made), "token"), v.Tables, v.Bytes/1e6)
	c.say("%s is as long as it should be: %s of what was taken away.", badgerstore.DeletedListName, counted(v.Listed, "record"))
	if v.ListTorn {
		c.say("What stands behind them was left by a crash; the next start completes it.")
	}
	c.say("%s", keysText(dir, &v))
	if !v.Clock.IsZero() {
		c.say("It remembers that it was %s.%s", v.Clock.UTC().Format(time.RFC3339), aheadText(v.Clock, time.Now()))
	}
	if v.Waiting > 0 {
		c.say("%d bytes wait to be written to the audit file, which the next start does.", v.Waiting)
	}
	for _, warning := range v.Warnings {
		c.say("Note: %s.", warning)
	}
	return nil
}

func keyTexts(ids []token.KeyID) (texts []string) {
	for _, id := range ids {
		texts = append(texts, id.String())
	}
	return texts
}

// keysText says which hash keys a store needs, and whether it has them.
func keysText(dir string, v *badgerstore.Verified) string {
	text := fmt.Sprintf("Its tokens are under hash key %s", v.Keys[0])
	for i, id := range v.Keys[1:] {
		if i == 0 {
			text += ", older ones maybe under"
		}
		text += " " + id.String()
	}
	file := filepath.Join(dir, "hash.key")
	switch {
	case v.InFile == (token.KeyID{}):
		text += ", which isn't here: the Caddyfile has to give it as hash_key."
	case v.InFile == v.Keys[0]:
		text += ", which is in " + file + "."
	case slices.Contains(v.Keys, v.InFile):
		text += "; the older one is in " + file + ", so that the Caddyfile has to give the newer one."
	default:
		text += "; " + file + " is another one."
	}
	return text
}

// aheadText says that a remembered time hasn't come yet, by this machine's clock.
func aheadText(remembered, now time.Time) string {
	if ahead := remembered.Sub(now).Round(time.Second); ahead > time.Minute {
		return fmt.Sprintf(" That is %v ahead of this machine's clock: if the clock is right, take it back by --clock.", ahead)
	}
	return ""
}

func (c *verifyCall) backup(name string) error {
	identities, err := readIdentities(c.identities)
	if err != nil {
		return err
	}
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	sum, err := verifyBackup(f, identities, c.progress)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	list, listErr := listBeside(name, &sum)
	type verifiedBackup struct {
		Kind      string        `json:"kind"`
		Time      registry.Time `json:"time"`
		Epoch     uint64        `json:"epoch"`
		Revision  uint64        `json:"revision"`
		Tokens    int           `json:"tokens"`
		Users     int           `json:"users"`
		Projects  int           `json:"projectsWithSettings"`
		Keys      []string      `json:"keys"`
		WithKeys  bool          `json:"withKeys"`
		Encrypted bool          `json:"encrypted"`
		// The list beside it, if it is whole and goes as far as the backup.
		DeletedListUpTo uint64 `json:"deletedListUpToRevision,omitempty"`
		Since           int    `json:"takenAwaySince"`
	}
	if shown, err := c.show(verifiedBackup{
		"backup", registry.Time{Time: sum.Time}, sum.Epoch, sum.Revision, sum.Records, sum.Accounts, sum.Settings, keyTexts(sum.Keys), sum.WithKeys, sum.Encrypted, list.UpTo.Revision, list.Changes,
	}); shown {
		return err
	}
	c.say("%s is whole: %s.", name, backupText(&sum))
	if !sum.WithKeys {
		c.say("Its tokens are under hash key %s, which isn't in it.", sum.Keys[0])
	}
	if listErr != nil {
		c.say("A restore would need --deleted or --allow-undelete: %v.", listErr)
		return nil
	}
	c.say("The %s beside it knows what was taken away up to revision %d of epoch %d: %s since the backup.", filepath.Base(listFor(name, &sum.Head.Head)), list.UpTo.Revision, list.UpTo.Epoch, counted(list.Changes, "record"))
	return nil
}

// listBeside reads the list beside a backup, and says what keeps a restore from
// taking it as it is.
func listBeside(name string, sum *backup.Summary) (list badgerstore.Taken, err error) {
	f, err := os.Open(listFor(name, &sum.Head.Head))
	if errors.Is(err, fs.ErrNotExist) {
		return list, fmt.Errorf("there is no %s beside it", badgerstore.DeletedListName)
	}
	if err != nil {
		return list, err
	}
	defer f.Close()
	list, err = badgerstore.ReadDeletedList(f, sum.Head.Head)
	switch {
	case err != nil:
		return badgerstore.Taken{}, fmt.Errorf("the %s beside it can't be used: %w", badgerstore.DeletedListName, err)
	case list.Damaged:
		return badgerstore.Taken{}, fmt.Errorf("the %s beside it is damaged", badgerstore.DeletedListName)
	case list.UpTo.Before(sum.Position):
		return badgerstore.Taken{}, fmt.Errorf("the %s beside it ends before the backup", badgerstore.DeletedListName)
	}
	return list, nil
}

func (c *verifyCall) resetClock(cmd *cobra.Command, dir string, yes bool) error {
	if _, err := os.Stat(filepath.Join(dir, badgerstore.DeletedListName)); errors.Is(err, fs.ErrNotExist) {
		cmd.PrintErrf("%s: %v\n", dir, badgerstore.ErrNoStore)
		return exit(cmd, exitNothingMatched)
	}
	now := time.Now()
	if !yes {
		agreed, err := askedForConsent(cmd.InOrStdin(), cmd.ErrOrStderr(), fmt.Sprintf("Have the store in %s remember %s, which this machine's clock says?", dir, now.UTC().Format(time.RFC3339)))
		if err != nil {
			return wrongUse(cmd, err)
		}
		if !agreed {
			c.say("Nothing was changed.")
			return exit(cmd, exitDone)
		}
	}
	if err := badgerstore.ResetClock(dir, now); err != nil {
		return fail(cmd, err)
	}
	c.say("The store in %s remembers that it is %s.", dir, now.UTC().Format(time.RFC3339))
	return exit(cmd, exitDone)
}
