// Command bench measures what the directive costs, on the machine it runs on: the
// CPU time of a request through Caddy with it and without, and beside it what other
// servers pay for asking who it is.
//
// It starts real servers, loads those that are compared in the same windows with
// the same requests, and reads from the operating system how much CPU time each has
// used. A second server without the directive is loaded along with them: by how
// much the two that are the same differ is how well this machine can tell anything.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

// roleEnv names the environment variable that makes this program one of the others
// that a measurement needs. They are processes of their own, so that their CPU time
// is nobody else's.
const roleEnv = "ACCESS_TOKENS_BENCH_AS"

var roles = map[string]func() error{
	"load":     serveOrders,
	"api":      serveAPI,
	"verifier": serveVerifier,
}

func main() {
	role := os.Getenv(roleEnv)
	run, known := roles[role]
	if !known {
		run = func() error { return measure(os.Args[1:]) }
	}
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// options are what the command line says.
type options struct {
	tokens, used      int
	windows, perRound int
	starts            int
	busy, idle        time.Duration
	handler           bool
	only, profile     string
	write             string
	provisional       bool
	dir               string
}

func parse(args []string) (options, error) {
	var o options
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.IntVar(&o.tokens, "tokens", 100_000, "tokens in the store; up to 10 million have been tried")
	flags.IntVar(&o.used, "used", 100_000, "of these, how many are in use where many are")
	flags.IntVar(&o.windows, "windows", 20, "windows a comparison")
	flags.IntVar(&o.perRound, "requests", 3000, "requests to each server in a window")
	flags.IntVar(&o.starts, "starts", 5, "starts of the server that are timed, warm and cold")
	flags.DurationVar(&o.busy, "busy", 10*time.Second, "how long tokens are made, and others wait beside that")
	flags.DurationVar(&o.idle, "idle", 5*time.Second, "how long a server is left alone before its memory is looked at")
	flags.BoolVar(&o.handler, "handler", true, "measure the handler alone too, by go test -bench")
	flags.StringVar(&o.only, "only", "", "measure nothing but the comparisons whose names contain this")
	flags.StringVar(&o.profile, "profile", "", "instead of comparing what -only names, write into this file, for go tool pprof, what the server with the directive does meanwhile")
	flags.StringVar(&o.write, "write", "", "put the results into this document, and its pictures into images beside it")
	flags.BoolVar(&o.provisional, "provisional", false, "call the results provisional: others are at work on this machine")
	flags.StringVar(&o.dir, "dir", "", "where servers and the store are; what is there is used again; a temporary directory if empty")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("unknown argument %q", flags.Arg(0))
	}
	for name, n := range map[string]int{"tokens": o.tokens, "used": o.used, "windows": o.windows, "requests": o.perRound, "starts": o.starts} {
		if n < 1 {
			return o, fmt.Errorf("-%s has to be at least 1", name)
		}
	}
	if o.profile != "" && o.only == "" {
		return o, errors.New("-profile needs -only")
	}
	o.used = min(o.used, o.tokens)
	return o, nil
}

func measure(args []string) error {
	o, err := parse(args)
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	dir := o.dir
	if dir == "" {
		if dir, err = os.MkdirTemp("", "access-tokens-bench"); err != nil {
			return err
		}
		defer os.RemoveAll(dir)
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	b := &bench{options: o, dir: dir, progress: os.Stderr}
	if b.self, err = os.Executable(); err != nil {
		return err
	}
	if b.caddy, err = buildCaddy(ctx, dir); err != nil {
		return err
	}
	results, err := b.run(ctx)
	if err != nil {
		return err
	}
	if o.profile != "" {
		return nil
	}
	fmt.Println(results.markdown())
	if o.write == "" {
		return nil
	}
	return results.writeInto(o.write)
}
