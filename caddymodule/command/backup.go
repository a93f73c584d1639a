package command

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"mime"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/backup"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/store/badgerstore"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/wholefile"
)

func backupCommand() *cobra.Command {
	var c backupCall
	cmd := &cobra.Command{
		Use:                   "backup [--output <file>|-] [--recipient <age1...> | --plain] [--with-key] [--address <admin address> | --config <file> [--adapter <name>] | --from <dir>]",
		DisableFlagsInUseLine: true,
		Short:                 "Backs up the store of the running server to a file",
		Long: `
Asks the running server for a backup, which it makes while it serves, of one moment,
and writes it to a file. What is written is verified; if it can't be had whole, there
is no file.

A backup holds the records of tokens, not their values: nobody can use a token out
of it. It holds names and e-mail addresses of users. It is encrypted to age recipients
if there are any: those that are given, or else those of the option "backup" of the
Caddyfile.

With --from it is of a store that no server runs on. That needs no hash key, and it
is encrypted only to recipients that are given.

The hash key, without which no token can be recognised, isn't in it unless --with-key
is given, for which it has to be encrypted.`,
		Example: `  $ caddy access-tokens backup
  $ caddy access-tokens backup --output /mnt/usb/tokens.backup --recipient age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p
  $ caddy access-tokens backup --from /var/lib/caddy/access-tokens --output tokens.backup
  $ caddy access-tokens backup --output - | ssh backup@example.com 'cat > tokens.backup'`,
		Args: func(cmd *cobra.Command, args []string) error {
			switch {
			case len(args) > 0:
				return wrongUse(cmd, fmt.Errorf("there is nothing to be done with %q", args[0]))
			case len(c.recipients) > 0 && c.plain:
				return wrongUse(cmd, errors.New("--recipient and --plain exclude each other"))
			case c.from != "" && (c.address != "" || c.config != ""):
				return wrongUse(cmd, errors.New("--from excludes --address and --config: no server is asked"))
			case c.from != "" && c.withKey:
				return wrongUse(cmd, errors.New("--from excludes --with-key: copy the file hash.key"))
			case c.plain && c.withKey:
				return wrongUse(cmd, fmt.Errorf("--with-key: %w", backup.ErrKeyWithoutRecipients))
			}
			if _, err := backup.ParseRecipients(c.recipients); err != nil {
				return wrongUse(cmd, fmt.Errorf("--recipient: %w", err))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			c.out, c.progress = cmd.OutOrStdout(), newProgress(cmd.ErrOrStderr())
			if c.output == "-" && widthOf(c.out) > 0 {
				return wrongUse(cmd, errors.New("--output -: a backup is no text for a terminal; let it go to a file or another program"))
			}
			ctx, stop := untilInterrupted(cmd)
			defer stop()
			c.ctx = ctx
			said, err := c.run()
			c.progress.clear()
			if err != nil {
				return fail(cmd, err)
			}
			cmd.PrintErrln(said)
			return exit(cmd, exitDone)
		},
	}
	flags := cmd.Flags()
	flags.StringVarP(&c.output, "output", "o", "", `where to write it to, "-" for standard output; a name by the time if it isn't given`)
	flags.StringArrayVar(&c.recipients, "recipient", nil, "an age public key to encrypt it to; can be repeated")
	flags.BoolVar(&c.plain, "plain", false, "don't encrypt it, whatever the Caddyfile says")
	flags.BoolVar(&c.withKey, "with-key", false, "put the hash keys into it, too")
	flags.StringVar(&c.from, "from", "", "the directory of a stopped store, in place of the running server's")
	flags.StringVar(&c.address, "address", "", "the address of the admin endpoint")
	flags.StringVarP(&c.config, "config", "c", "", "the configuration that says the admin endpoint's address")
	flags.StringVarP(&c.adapter, "adapter", "a", "", "the name of that configuration's adapter")
	return cmd
}

// backupCall is what is asked of a server.
type backupCall struct {
	output                   string
	recipients               []string
	plain, withKey           bool
	address, config, adapter string
	from                     string

	ctx      context.Context // of this one call
	out      io.Writer
	progress *progress
}

func (c *backupCall) run() (said string, err error) {
	// A file that is there already is somebody's backup.
	if c.output != "" && c.output != "-" {
		if err := notThere(c.output); err != nil {
			return "", err
		}
	}
	if c.from != "" {
		return c.ofStopped()
	}
	answer, err := c.ask()
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	// One that has stalled, too.
	defer context.AfterFunc(c.ctx, func() { _ = answer.Body.Close() })()
	body := bufio.NewReader(answer.Body)
	begin, _ := body.Peek(64)
	encrypted := backup.IsEncrypted(begin)
	if c.withKey && !encrypted {
		return "", errors.New("the server hasn't encrypted it")
	}
	if c.output == "-" {
		_, size, err := c.receive(c.out, body, encrypted)
		return fmt.Sprintf("%d bytes", size), err
	}
	name := c.output
	if name == "" {
		if name, err = nameOf(answer.Header); err == nil {
			err = notThere(name)
		}
		if err != nil {
			return "", err
		}
	}
	var sum backup.Summary
	var size int64
	err = wholefile.Write(name, func(to *os.File) error {
		sum, size, err = c.receive(to, body, encrypted)
		return err
	})
	if err != nil {
		return "", err
	}
	sum.Encrypted = encrypted
	return madeText(name, size, &sum), nil
}

// ofStopped makes a backup of a store that no server runs on.
func (c *backupCall) ofStopped() (said string, err error) {
	if _, err := os.Stat(filepath.Join(c.from, badgerstore.DeletedListName)); err != nil {
		return "", fmt.Errorf("%s: %w", c.from, badgerstore.ErrNoStore)
	}
	o := backup.Options{Time: time.Now()}
	if o.Recipients, err = backup.ParseRecipients(c.recipients); err != nil {
		return "", err
	}
	s, err := badgerstore.Open(c.from, badgerstore.Options{Logger: zap.NewNop(), WithoutKey: true})
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	snapshot, err := s.Snapshot()
	if err != nil {
		return "", err
	}
	defer snapshot.Close()
	var sum backup.Summary
	to := &counting{ctx: c.ctx, progress: c.progress}
	write := func(w io.Writer) (err error) {
		to.to = w
		sum, err = backup.Write(to, snapshot, o)
		return err
	}
	name := c.output
	switch name {
	case "-":
		err = write(c.out)
		return fmt.Sprintf("%d bytes", to.size), err
	case "":
		if name = backup.Name(o.Time, len(o.Recipients) > 0); notThere(name) != nil {
			return "", notThere(name)
		}
	}
	if err := wholefile.Write(name, func(f *os.File) error { return write(f) }); err != nil {
		return "", err
	}
	return madeText(name, to.size, &sum), nil
}

// madeText says what was made, as far as it can be read.
func madeText(name string, size int64, sum *backup.Summary) string {
	text := fmt.Sprintf("%s: %d bytes", name, size)
	if sum.Encrypted {
		text += ", encrypted"
	}
	if sum.Epoch > 0 {
		text += fmt.Sprintf(", the records of %s, at revision %d of epoch %d", counted(sum.Records, "token"), sum.Revision, sum.Epoch)
	}
	return text
}

func notThere(file string) error {
	if _, err := os.Lstat(file); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s is there already: choose another name", file)
	}
	return nil
}

// nameOf is the name that the server gives the file.
func nameOf(header http.Header) (string, error) {
	_, params, err := mime.ParseMediaType(header.Get("Content-Disposition"))
	name := filepath.Base(params["filename"])
	if _, ok := backup.NamedAt(name); err != nil || !ok {
		return "", errors.New("the server's answer has no name: choose one by --output")
	}
	return name, nil
}

// ask asks the server.
func (c *backupCall) ask() (*http.Response, error) {
	address, err := caddycmd.DetermineAdminAPIAddress(c.address, nil, c.config, c.adapter)
	if err != nil {
		return nil, err
	}
	asked := map[string]any{"withKey": c.withKey}
	if c.plain {
		asked["recipients"] = []string{}
	}
	if len(c.recipients) > 0 {
		asked["recipients"] = c.recipients
	}
	body, err := json.Marshal(asked)
	if err != nil {
		return nil, err
	}
	return caddycmd.AdminAPIRequest(address, http.MethodPost, "/access_tokens/backup", nil, bytes.NewReader(body))
}

// receive copies the answer, and fails if it isn't whole: one that is plain is
// verified to its last byte, and of an encrypted one the connection has to end as it
// should.
func (c *backupCall) receive(to io.Writer, from io.Reader, encrypted bool) (sum backup.Summary, size int64, err error) {
	counted := &counting{ctx: c.ctx, to: to, progress: c.progress}
	from = io.TeeReader(from, counted)
	if encrypted {
		_, err = io.Copy(io.Discard, from)
	} else if sum, err = backup.Read(from, nil, backup.Into{}); err != nil {
		err = fmt.Errorf("what the server has sent is no backup: %w", err)
	}
	if err != nil && !errors.Is(err, errInterrupted) {
		err = fmt.Errorf("%w; the server's log says more", err)
	}
	return sum, counted.size, err
}

// counting counts what is written, until it is interrupted, and tells.
type counting struct {
	ctx      context.Context
	to       io.Writer
	size     int64
	progress *progress
}

func (c *counting) Write(b []byte) (int, error) {
	if c.ctx.Err() != nil {
		return 0, errInterrupted
	}
	n, err := c.to.Write(b)
	c.size += int64(n)
	c.progress.at("%d MB", c.size/1e6)
	return n, err
}
