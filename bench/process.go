package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// patience is how long a process may take to start or to end.
const patience = time.Minute

// process is a server, or another role, that runs.
type process struct {
	name    string
	log     string
	command *exec.Cmd
	stdin   io.WriteCloser
	started time.Time
	ended   chan struct{}
}

// start starts a program with its own directory for what it keeps, and its output in
// a log there.
func (b *bench) start(name string, env []string, program string, args ...string) (*process, error) {
	home := filepath.Join(b.dir, name)
	if err := os.MkdirAll(home, 0o700); err != nil {
		return nil, err
	}
	p := &process{name: name, log: filepath.Join(home, "output.log"), ended: make(chan struct{})}
	p.command = exec.Command(program, args...)
	p.command.Dir = home
	p.command.Env = append(os.Environ(), "HOME="+home, "XDG_DATA_HOME="+home, "XDG_CONFIG_HOME="+home)
	p.command.Env = append(p.command.Env, env...)
	return p, p.run(nil)
}

func (p *process) run(stdout *os.File) error {
	log, err := os.OpenFile(p.log, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	p.command.Stdout, p.command.Stderr = log, log
	if stdout != nil {
		p.command.Stdout = stdout
	}
	if p.stdin, err = p.command.StdinPipe(); err != nil {
		return err
	}
	p.started = time.Now()
	if err := p.command.Start(); err != nil {
		return err
	}
	go func() {
		_ = p.command.Wait() // whoever waited for it to work says why it didn't
		close(p.ended)
	}()
	return nil
}

// stop ends a process as its owner would, and waits until it is gone.
func (p *process) stop() error {
	_ = p.stdin.Close()
	if err := p.command.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-p.ended:
		return nil
	case <-time.After(patience):
		return errors.Join(fmt.Errorf("%s doesn't end", p.name), p.command.Process.Kill())
	}
}

// failed is an error that says what a process has written.
func (p *process) failed(what error) error {
	text, _ := os.ReadFile(p.log)
	return fmt.Errorf("%s: %w\n%s", p.name, what, strings.TrimSpace(string(text)))
}

// awaitAnswer asks until the answer is as wanted, and returns its size, and how long
// after the process was started it came.
func (p *process) awaitAnswer(ctx context.Context, address, authorization string, want int) (size int, after time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	c := &client{address: address}
	defer c.close()
	var last error
	for tick := time.NewTicker(time.Millisecond); ; {
		status, size, err := c.ask(aJob, authorization)
		switch {
		case err == nil && status == want:
			return size, time.Since(p.started), nil
		case err == nil:
			last = fmt.Errorf("it answers %d, not %d", status, want)
		case !errors.Is(err, syscall.ECONNREFUSED):
			last = err
		}
		select {
		case <-tick.C:
		case <-p.ended:
			return 0, 0, p.failed(errors.New("it has ended"))
		case <-ctx.Done():
			return 0, 0, p.failed(errors.Join(ctx.Err(), last))
		}
	}
}

// used is how much CPU time processes have used.
func used(processes []*process) (sum time.Duration, err error) {
	for _, p := range processes {
		t, err := cpuTime(p.command.Process.Pid)
		if err != nil {
			return 0, p.failed(err)
		}
		sum += t
	}
	return sum, nil
}

// freeAddress is one of this machine that nobody listens on.
func freeAddress() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return listener.Addr().String(), listener.Close()
}

// startRole starts this program as another one, and waits until it listens.
func (b *bench) startRole(ctx context.Context, role, name string, env ...string) (*process, string, error) {
	address, err := freeAddress()
	if err != nil {
		return nil, "", err
	}
	p, err := b.start(name, append(env, roleEnv+"="+role, addressEnv+"="+address), b.self)
	if err != nil {
		return nil, "", err
	}
	if err := p.awaitListening(ctx, address); err != nil {
		return nil, "", errors.Join(err, p.stop())
	}
	return p, address, nil
}

// awaitListening waits until somebody listens there.
func (p *process) awaitListening(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for tick := time.NewTicker(5 * time.Millisecond); ; {
		if conn, err := net.Dial("tcp", address); err == nil {
			return conn.Close()
		}
		select {
		case <-tick.C:
		case <-p.ended:
			return p.failed(errors.New("it has ended"))
		case <-ctx.Done():
			return p.failed(ctx.Err())
		}
	}
}

// loader is a load process.
type loader struct {
	*process
	orders  *json.Encoder
	reports *json.Decoder
}

func (b *bench) startLoader(name string) (*loader, error) {
	read, write, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer write.Close()
	home := filepath.Join(b.dir, name)
	if err := os.MkdirAll(home, 0o700); err != nil {
		return nil, err
	}
	p := &process{name: name, log: filepath.Join(home, "output.log"), ended: make(chan struct{})}
	p.command = exec.Command(b.self) //nolint:gosec // ourselves
	p.command.Env = append(os.Environ(), roleEnv+"=load")
	if err := p.run(write); err != nil {
		return nil, err
	}
	return &loader{p, json.NewEncoder(p.stdin), json.NewDecoder(read)}, nil
}

// carryOut has an order carried out, and waits for its end.
func (l *loader) carryOut(ctx context.Context, o order) (report, error) {
	if err := ctx.Err(); err != nil {
		return report{}, err
	}
	if err := l.orders.Encode(o); err != nil {
		return report{}, l.failed(err)
	}
	var r report
	if err := l.reports.Decode(&r); err != nil {
		return report{}, l.failed(err)
	}
	if r.Error != "" {
		return r, errors.New(r.Error)
	}
	return r, nil
}
