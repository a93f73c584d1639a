package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
)

// writeProfile writes what the server with the directive spends its CPU time on
// while it gets the requests of a comparison.
func (b *bench) writeProfile(ctx context.Context, c comparison) error {
	url := fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%d", c.with.admin, max(int(b.busy.Seconds()), 1))
	written := make(chan error, 1)
	go func() { written <- download(ctx, url, b.profile) }()
	o := order{Targets: []target{{c.with.address, c.with.want}}, Clients: clients, Count: b.perRound}
	for window := 0; ; window++ {
		select {
		case err := <-written:
			return err
		default:
		}
		o.Tokens = c.tokens(window, o.Count)
		if _, err := b.load.carryOut(ctx, o); err != nil {
			return errors.Join(err, <-written)
		}
	}
}

func download(ctx context.Context, url, path string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", response.Status, body)
	}
	if err != nil {
		return err
	}
	return os.WriteFile(path, body, 0o600)
}
