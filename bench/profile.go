package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

// writeProfile writes what a server spends its CPU time on while it is asked.
func (b *bench) writeProfile(ctx context.Context, s *server, t tokens) error {
	asked := make(chan error, 1)
	go func() {
		_, err := b.load.carryOut(ctx, order{Targets: []target{{s.at[respond], 204}}, Clients: clients, For: b.busy + time.Second, Tokens: t})
		asked <- err
	}()
	url := fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%d", s.at[admin], max(int(b.busy.Seconds()), 1))
	err := download(ctx, url, b.profile)
	if failed := <-asked; err == nil {
		err = failed
	}
	return err
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
