package command

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"filippo.io/age"
	"github.com/caddyserver/caddy/v2"
	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/backup"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/registry"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store/badgerstore"
)

func restoreCommand() *cobra.Command {
	var c restoreCall
	var yes bool
	cmd := &cobra.Command{
		Use:                   "restore [--into <dir>] [--identity <file>] [--deleted <file> | --allow-undelete] [--lost-key] [--dry-run] [--yes] <backup>",
		DisableFlagsInUseLine: true,
		Short:                 "Makes a store of a backup",
		Long: `
Makes a new token store of a backup, in a directory in which there is none: there
can be a hash.key. Everything is verified first.

What was taken away since the backup is taken away again: tokens that were deleted,
blocks and unblocks, and the switch api_access. The file deleted.list knows it, which
scheduled backups keep beside them, and which is in the directory of the store that
was. Without it, or where it is damaged or ends before the backup, --allow-undelete is
needed, and what was deleted since works again.

If the hash key that its tokens are under is lost, nobody can recognise them: with
--lost-key they end, and their users have to make new ones.

Last uses, settings and new tokens since the backup are lost. The server must not
run on the directory meanwhile, and starts on it afterwards as ever.`,
		Example: `  $ caddy access-tokens restore --dry-run /var/backups/access-tokens/access-tokens-20260501T030000Z.backup
  $ caddy access-tokens restore --into /var/lib/caddy/access-tokens tokens.backup
  $ caddy access-tokens restore --identity key.txt --deleted old/deleted.list tokens.backup.age`,
		Args: func(cmd *cobra.Command, args []string) error {
			switch {
			case len(args) != 1:
				return wrongUse(cmd, errors.New("name one backup"))
			case c.deleted != "" && c.allowUndelete:
				return wrongUse(cmd, errors.New("--deleted and --allow-undelete exclude each other; if the list isn't whole, leave out --deleted"))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			c.file = args[0]
			c.into = storeDirectory(c.into)
			c.out, c.progress, c.now = cmd.OutOrStdout(), newProgress(cmd.ErrOrStderr()), time.Now
			c.agreed = func() (bool, error) {
				if yes {
					return true, nil
				}
				return askedForConsent(cmd.InOrStdin(), cmd.ErrOrStderr(), "Restore it?")
			}
			ctx, stop := untilInterrupted(cmd)
			defer stop()
			c.ctx = ctx
			err := c.run()
			c.progress.clear()
			switch {
			case errors.Is(err, errNoConsent):
				return wrongUse(cmd, err)
			case err != nil:
				return fail(cmd, err)
			}
			return exit(cmd, exitDone)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&c.into, "into", "", "the new store's directory; access-tokens in Caddy's data directory if it isn't given")
	flags.StringArrayVarP(&c.identities, "identity", "i", nil, "a file of age identities, for an encrypted backup; can be repeated")
	flags.StringVar(&c.deleted, "deleted", "", "the file deleted.list; that beside the backup if it isn't given")
	flags.BoolVar(&c.allowUndelete, "allow-undelete", false, "restore without what deleted.list knows, or as far as it goes")
	flags.BoolVar(&c.lostKey, "lost-key", false, "the hash key is lost: end all tokens, and keep blocks, settings and what is known of tokens")
	flags.BoolVar(&c.dryRun, "dry-run", false, "verify everything and say what would be restored")
	flags.BoolVarP(&yes, "yes", "y", false, "don't ask")
	return cmd
}

// storeDirectory is a store's directory, the one that Caddy takes by itself if none
// is given.
func storeDirectory(given string) string {
	if given == "" {
		return filepath.Join(caddy.AppDataDir(), "access-tokens")
	}
	return given
}

var errNoConsent = errors.New("nobody is there to be asked: give --yes")

// askedForConsent asks whoever sits at a terminal.
func askedForConsent(in io.Reader, out io.Writer, question string) (bool, error) {
	if f, ok := in.(*os.File); ok {
		if info, err := f.Stat(); err != nil || info.Mode()&os.ModeCharDevice == 0 {
			return false, errNoConsent
		}
	}
	fmt.Fprintf(out, "%s [y/N] ", question)
	line, err := bufio.NewReader(in).ReadString('\n')
	if err != nil {
		return false, errNoConsent
	}
	answer := strings.ToLower(strings.TrimSpace(line))
	return answer == "y" || answer == "yes", nil
}

// readIdentities reads files of age identities.
func readIdentities(files []string) (all []age.Identity, err error) {
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		some, err := age.ParseIdentities(f)
		_ = f.Close()
		if err != nil {
			return nil, fmt.Errorf("reading the age identities in %s: %w", name, err)
		}
		all = append(all, some...)
	}
	return all, nil
}

// restoreCall is what is restored and how.
type restoreCall struct {
	file, into            string
	identities            []string
	deleted               string
	allowUndelete, dryRun bool
	lostKey               bool

	ctx      context.Context // of this one call
	out      io.Writer
	progress *progress
	now      func() time.Time
	agreed   func() (bool, error)
}

func (c *restoreCall) say(format string, args ...any) {
	c.progress.clear()
	fmt.Fprintf(c.out, format+"\n", args...)
}

func (c *restoreCall) run() error {
	identities, err := readIdentities(c.identities)
	if err != nil {
		return err
	}
	f, err := os.Open(c.file)
	if err != nil {
		return err
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.IsDir() {
		return aDirectory(c.file)
	}
	sum, err := verifyBackup(f, identities, c.progress)
	if err != nil {
		return fmt.Errorf("%s: %w", c.file, err)
	}
	c.say("%s is whole: %s.", c.file, backupText(&sum))
	list, err := c.openList(&sum.Head.Head)
	if err != nil {
		return err
	}
	if list != nil {
		defer list.Close()
	}
	if err := badgerstore.CheckEmpty(c.into); err != nil {
		return err
	}
	since := sum.Time.UTC().Format(time.RFC3339)
	c.say("What was made or changed later is lost: tokens, settings and last uses since %s. `caddy access-tokens audit --since %s <file>...` lists tokens and settings, if there is an audit file.", since, since)
	c.say("It goes into %s.", c.into)
	if c.dryRun {
		c.say("Nothing was restored: --dry-run.")
		return nil
	}
	if ok, err := c.agreed(); err != nil || !ok {
		if err == nil {
			c.say("Nothing was restored.")
		}
		return err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	return c.restore(f, identities, &sum, list)
}

// aDirectory says which file of a directory may be meant.
func aDirectory(name string) error {
	if newest, err := newestBackup(name); err == nil && newest != "" {
		return fmt.Errorf("%s is a directory: name one of its backups, of which the newest is %s", name, newest)
	}
	return fmt.Errorf("%s is a directory, in which there is no backup: name a file", name)
}

// openList opens the list of what was taken away, once it is known to be good enough;
// nil if there is none.
func (c *restoreCall) openList(of *store.Head) (*os.File, error) {
	name := c.deleted
	if name == "" {
		name = listFor(c.file, of)
	}
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) && c.deleted == "" {
		return nil, c.without(fmt.Sprintf("There is no %s beside the backup: tokens that were deleted, users who were blocked and projects that were switched off since", badgerstore.DeletedListName))
	}
	if err != nil {
		return nil, err
	}
	list, err := badgerstore.ReadDeletedList(f, *of)
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	switch {
	case errors.Is(err, badgerstore.ErrNoList), errors.Is(err, badgerstore.ErrOtherList):
		_ = f.Close()
		return nil, c.without(fmt.Sprintf("%s can't be used (%v): tokens that were deleted, users who were blocked and projects that were switched off since", name, err))
	case err != nil:
		_ = f.Close()
		return nil, fmt.Errorf("reading %s: %w", name, err)
	case list.Damaged:
		err = c.without(fmt.Sprintf("%s is damaged behind revision %d of epoch %d: what was taken away later", name, list.UpTo.Revision, list.UpTo.Epoch))
	case list.UpTo.Before(of.Position):
		err = c.without(fmt.Sprintf("%s ends at revision %d of epoch %d, before the backup: what was taken away later", name, list.UpTo.Revision, list.UpTo.Epoch))
	default:
		c.say("%s knows what was taken away up to revision %d of epoch %d: %s since the backup.", name, list.UpTo.Revision, list.UpTo.Epoch, counted(list.Changes, "record"))
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// listFor is the list beside a backup: deleted.list, unless one knows more that was
// kept when another store, or an earlier state of that one, began to make its backups
// there.
func listFor(file string, of *store.Head) string {
	name := filepath.Join(filepath.Dir(file), badgerstore.DeletedListName)
	kept, _ := filepath.Glob(backup.OtherList(globQuote(name), "*"))
	found, upTo := name, store.Position{}
	for _, one := range append([]string{name}, kept...) {
		if taken, ok := listKnows(one, of); ok && upTo.Before(taken.UpTo) {
			found, upTo = one, taken.UpTo
		}
	}
	return found
}

// listKnows reads a list, and tells whether it is one of the store that a backup is
// of.
func listKnows(name string, of *store.Head) (taken badgerstore.Taken, ok bool) {
	f, err := os.Open(name)
	if err != nil {
		return taken, false
	}
	defer f.Close()
	taken, err = badgerstore.ReadDeletedList(f, *of)
	return taken, err == nil
}

// globQuote is a pattern that only name matches.
func globQuote(name string) string {
	if filepath.Separator == '\\' {
		return name // there nothing can be quoted
	}
	return strings.NewReplacer(`*`, `\*`, `?`, `\?`, `[`, `\[`, `\`, `\\`).Replace(name)
}

// without returns nil if the owner takes it that something is forgotten.
func (c *restoreCall) without(what string) error {
	if !c.allowUndelete {
		return fmt.Errorf("%s would work again as if nothing had been. Look for the newest %s (it is in the directory of the store that was) and give it by --deleted, or accept that by --allow-undelete", lowerFirst(what), badgerstore.DeletedListName)
	}
	c.say("%s work again: --allow-undelete.", what)
	return nil
}

func lowerFirst(text string) string {
	if strings.HasPrefix(text, "There") {
		return "t" + text[1:]
	}
	return text
}

// restore makes the store. The file is read once more, and has to be what it was.
func (c *restoreCall) restore(f io.Reader, identities []age.Identity, sum *backup.Summary, list *os.File) (err error) {
	r, err := badgerstore.Restore(c.into, badgerstore.Options{Logger: zap.NewNop()}, sum.Head.Head)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Discard()) }()
	var keys []string
	done := 0
	again, err := backup.Read(f, identities, backup.Into{
		Key: func(text string) error { keys = append(keys, text); return nil },
		Record: func(record store.Record) error {
			if c.ctx.Err() != nil {
				return errInterrupted
			}
			done++
			c.progress.at("%d of %d tokens restored", done, sum.Records)
			return r.AddRecord(record)
		},
		Use: r.AddUse, Account: r.AddAccount, Settings: r.AddSettings,
	})
	if err != nil {
		return err
	}
	if again.Position != sum.Position || again.Records != sum.Records {
		return fmt.Errorf("%s has changed since it was verified", c.file)
	}
	event := registry.Event{Time: registry.Time{Time: c.now()}, Kind: registry.Restored, Actor: registry.Actor{By: registry.ByAdmin}, Restoration: &registry.Restoration{
		BackupTime: registry.Time{Time: sum.Time}, BackupEpoch: sum.Epoch, BackupRevision: sum.Revision, Tokens: sum.Records,
	}}
	if list != nil {
		taken, err := r.TakeAway(list, registry.ByAdmin, c.now())
		if err != nil {
			return err
		}
		event.TakenAway, event.UpToEpoch, event.UpToRevision = taken.Changes, taken.UpTo.Epoch, taken.UpTo.Revision
	}
	var said string
	if c.lostKey {
		event.KeyLost = true
		said, err = c.goOnWithoutKey(r, sum)
	} else {
		said, err = badgerstore.RestoreKeys(c.into, sum.Keys, keys)
	}
	if err != nil {
		return err
	}
	if c.ctx.Err() != nil {
		return errInterrupted
	}
	at, err := r.Finish(event.Text())
	if err != nil {
		return err
	}
	c.say("Restored: the records of %s. Taken away again: %s.", counted(sum.Records, "token"), counted(event.TakenAway, "change"))
	c.say("The store is at revision %d, and epoch %d begins.", at.Revision, at.Epoch)
	c.say("%s", said)
	return nil
}

// goOnWithoutKey ends all tokens, since their hash key is lost.
func (c *restoreCall) goOnWithoutKey(r *badgerstore.Restoring, sum *backup.Summary) (said string, err error) {
	key, err := badgerstore.ReplaceLostKey(c.into, sum.Keys)
	if err != nil {
		return "", err
	}
	ended, err := r.EndAll(key, c.now())
	return fmt.Sprintf("All tokens have ended, %s among them that were living: their hash key is lost. Blocks and settings are kept. New tokens are under hash key %s, in %s, or under the one that the Caddyfile gives.",
		counted(ended, "token"), key, filepath.Join(c.into, "hash.key")), err
}

// counted is a number of things.
func counted(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// verifyBackup reads a backup to its end.
func verifyBackup(f io.Reader, identities []age.Identity, p *progress) (backup.Summary, error) {
	n := 0
	return backup.Read(f, identities, backup.Into{Record: func(store.Record) error {
		n++
		p.at("%d tokens verified", n)
		return nil
	}})
}

// backupText says what a backup holds.
func backupText(s *backup.Summary) string {
	text := fmt.Sprintf("of %s, revision %d of epoch %d, the records of %s, %s with settings, %s",
		s.Time.UTC().Format(time.RFC3339), s.Revision, s.Epoch, counted(s.Records, "token"), counted(s.Settings, "project"), counted(s.Accounts, "user"))
	if s.WithKeys {
		text += ", with the hash keys"
	}
	return text
}
