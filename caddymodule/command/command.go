// Package command is what Caddy's command line has of access tokens:
// `caddy access-tokens`, of which each subcommand has a file of its own.
package command

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/token"
)

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  "access-tokens",
		Usage: "<command>",
		Short: "Looks after API access tokens",
		Long: `
Looks after what the module access_tokens keeps. All commands but "audit",
"restore" and "verify", which read files, ask the Caddy that runs, at its admin
endpoint.

At a terminal results are tables and texts, elsewhere lines of JSON; but the three
that read files print texts everywhere, "audit" and "verify" JSON with --json.

The exit code is 0 where all is done, 1 where something failed, 2 where the
command was used wrongly, and 3 where nothing matched.`,
		CobraFunc: setUp,
	})
}

func setUp(cmd *cobra.Command) {
	cmd.Example = `  $ caddy access-tokens list --expiring-within 7d
  $ caddy access-tokens show 0f8fad5b-d9cb-469f-a165-70867728950e
  $ caddy access-tokens audit /var/log/caddy/access-tokens.jsonl`
	cmd.SetFlagErrorFunc(wrongUse)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return cmd.Help()
		}
		return wrongUse(cmd, fmt.Errorf("there is no command %q", args[0]))
	}
	cmd.AddCommand(listCommand(), showCommand(), deleteCommand(), blockCommand(), unblockCommand(), statsCommand(), rotateKeyCommand(),
		backupCommand(), restoreCommand(), verifyCommand(), auditCommand())
}

// What a command's process ends with.
const (
	exitDone           = 0
	exitFailed         = 1
	exitWrongUse       = 2
	exitNothingMatched = 3
)

// exit ends cmd with a code. What there is to say has been said.
func exit(cmd *cobra.Command, code int) error {
	cmd.SilenceErrors = true
	if code == exitFailed {
		return errFailed
	}
	// Caddy keeps how an exit code is passed on to itself, but for this.
	return caddycmd.WrapCommandFuncForCobra(func(caddycmd.Flags) (int, error) { return code, nil })(cmd, nil)
}

// untilInterrupted returns a context that ends when somebody presses Ctrl+C, so that
// what is half done is removed.
func untilInterrupted(cmd *cobra.Command) (context.Context, context.CancelFunc) {
	ctx := cmd.Context()
	if ctx == nil {
		ctx = context.Background()
	}
	return signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
}

var errInterrupted = fmt.Errorf("interrupted")

var errFailed = fmt.Errorf("failed") // which Caddy's main ends with 1

// fail says why cmd can't do what it is to do.
func fail(cmd *cobra.Command, err error) error {
	cmd.PrintErrln("Error:", withoutTokens(err))
	return exit(cmd, exitFailed)
}

// wrongUse says what is wrong with how cmd was called.
func wrongUse(cmd *cobra.Command, err error) error {
	cmd.PrintErrf("Error: %s\nSee `%s --help`.\n", withoutTokens(err), cmd.CommandPath())
	return exit(cmd, exitWrongUse)
}

// withoutTokens is what an error says, which may repeat an argument: somebody has
// given a token's value in place of its id.
func withoutTokens(err error) string {
	return token.Replace(err.Error(), func(token.Value) string { return "…" })
}
