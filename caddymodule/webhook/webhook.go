// Package webhook tells other programs of events by HTTP.
package webhook

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/caddy-access-tokens/caddy-access-tokens/caddymodule/internal/caddyvalue"
	"github.com/caddy-access-tokens/caddy-access-tokens/caddymodule/internal/grammar"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/incoming"
)

func init() { caddy.RegisterModule(new(Webhook)) }

// Webhook POSTs each event as JSON to a URL, with the fields "id", "event",
// "time", "project" and "data". X-Access-Tokens-Timestamp is when it was sent, in
// seconds since 1970, and X-Access-Tokens-Signature "sha256=" and the HMAC
// (RFC 2104) in hexadecimal of timestamp, "." and body under the secret.
//
// Any 2xx says that the event was taken. Else it is sent again, eight times in
// an hour in all; a receiver may see an id twice. A thousand events wait at
// most; what waits is lost when the server stops.
type Webhook struct {
	// Where to. Redirects aren't followed.
	URL string `json:"url"`

	// What the signature is made with, at least 16 characters. Best as a
	// placeholder such as {env.WEBHOOK_SECRET}.
	Secret string `json:"secret"`

	// How long an answer may take. Default: 10s.
	Timeout caddy.Duration `json:"timeout,omitempty"`

	queue    *queue
	poolName string
}

const minSecret = 16

func checkTimeout(timeout time.Duration) error {
	if timeout <= 0 || timeout > time.Minute {
		return fmt.Errorf("timeout: %v is not above 0 and at most 1m", timeout)
	}
	return nil
}

// CaddyModule implements caddy.Module.
func (*Webhook) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "events.handlers.access_tokens_webhook",
		New: func() caddy.Module { return new(Webhook) },
	}
}

// queues are in use, by where they send to and how. Configurations share them, so
// that a reload loses nothing.
var queues = caddy.NewUsagePool()

// Provision implements caddy.Provisioner.
func (h *Webhook) Provision(ctx caddy.Context) error {
	logger := ctx.Logger()
	target, err := caddyvalue.Expand(h.URL)
	if err != nil {
		return fmt.Errorf("access_tokens_webhook: url: %w", err)
	}
	secret, err := caddyvalue.Expand(h.Secret)
	if err != nil {
		return fmt.Errorf("access_tokens_webhook: secret: %w", err)
	}
	parsed, err := url.Parse(target)
	if err != nil || parsed.Scheme != "http" && parsed.Scheme != "https" || parsed.Host == "" {
		return errors.New("access_tokens_webhook: url is none such as https://hooks.example.com/access-tokens")
	}
	if len(secret) < minSecret {
		return fmt.Errorf("access_tokens_webhook: secret: it has less than %d characters; `openssl rand -hex 32` makes one", minSecret)
	}
	if parsed.Scheme == "http" && !incoming.IsLoopback(parsed.Hostname()) {
		logger.Warn("events are sent over plain http: whoever is in between reads them", zap.String("host", parsed.Host))
	}
	if h.Timeout == 0 {
		h.Timeout = caddy.Duration(10 * time.Second)
	}
	if err := checkTimeout(time.Duration(h.Timeout)); err != nil {
		return fmt.Errorf("access_tokens_webhook: %w", err)
	}
	s := &sender{target, []byte(secret), &http.Client{
		Timeout:       time.Duration(h.Timeout),
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	name := sha256.Sum256(fmt.Append(nil, h.Timeout, "\n", target, "\n", secret))
	value, _, err := queues.LoadOrNew(hex.EncodeToString(name[:]), func() (caddy.Destructor, error) {
		return newQueue(s.send, caddy.Log().Named("access_tokens.webhook").With(zap.String("host", parsed.Host))), nil
	})
	if err != nil {
		return err
	}
	h.queue, h.poolName = value.(*queue), hex.EncodeToString(name[:])
	return nil
}

// Cleanup implements caddy.CleanerUpper.
func (h *Webhook) Cleanup() error {
	if h.queue == nil {
		return nil
	}
	_, err := queues.Delete(h.poolName)
	return err
}

// Handle implements caddyevents.Handler. It never waits.
func (h *Webhook) Handle(_ context.Context, e caddy.Event) error {
	data := make(map[string]any, len(e.Data))
	var project any
	for name, value := range e.Data {
		if name == "project" {
			project = value
			continue
		}
		data[name] = value
	}
	body, err := json.Marshal(struct {
		ID      string         `json:"id"`
		Event   string         `json:"event"`
		Time    string         `json:"time"`
		Project any            `json:"project,omitempty"`
		Data    map[string]any `json:"data"`
	}{e.ID().String(), e.Name(), e.Timestamp().UTC().Format("2006-01-02T15:04:05.000Z"), project, data})
	if err == nil && len(body) > maxMessage {
		err = fmt.Errorf("it has %d bytes, more than %d", len(body), maxMessage)
	}
	if err != nil {
		return fmt.Errorf("event %s can't be sent: %w", e.Name(), err)
	}
	h.queue.add(message{id: e.ID().String(), name: e.Name(), body: body})
	return nil
}

// sender sends to one receiver.
type sender struct {
	url    string
	secret []byte
	client *http.Client
}

// The headers beside the body.
const (
	timestampHeader = "X-Access-Tokens-Timestamp"
	signatureHeader = "X-Access-Tokens-Signature"
)

func (s *sender) send(ctx context.Context, m message) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, bytes.NewReader(m.body))
	if err != nil {
		return err
	}
	timestamp := strconv.FormatInt(time.Now().Unix(), 10)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("User-Agent", "caddy-access-tokens")
	r.Header.Set(timestampHeader, timestamp)
	r.Header.Set(signatureHeader, "sha256="+hex.EncodeToString(sign(s.secret, timestamp, m.body)))
	resp, err := s.client.Do(r)
	if err != nil {
		return whyNot(err)
	}
	defer resp.Body.Close()
	_, _ = io.CopyN(io.Discard, resp.Body, 4<<10) // so that the connection can be used again
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("the receiver answers with status %d", resp.StatusCode)
	}
	return nil
}

// whyNot says why there is no answer. An error's text is shown only where it can't
// hold anything that the receiver has sent, which may be the request again, or what
// the URL holds.
func whyNot(err error) error {
	var of *url.Error
	var timeout net.Error
	var certificate *tls.CertificateVerificationError
	var network *net.OpError
	if errors.As(err, &of) {
		err = of.Err
	}
	switch {
	case errors.As(err, &timeout) && timeout.Timeout():
		return errors.New("the receiver doesn't answer in time")
	case errors.As(err, &certificate):
		return certificate
	case errors.As(err, &network):
		return network
	case errors.Is(err, context.Canceled):
		return context.Canceled
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("the receiver ends the connection without an answer")
	}
	return errors.New("what the receiver answers isn't HTTP as it should be; does the URL begin with http:// where it has to be https://, or the other way round?")
}

// sign returns the HMAC of timestamp, "." and body.
func sign(secret []byte, timestamp string, body []byte) []byte {
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(timestamp + "."))
	mac.Write(body)
	return mac.Sum(nil)
}

// MarshalLogObject implements zapcore.ObjectMarshaler: Caddy logs its event
// handlers, and this one has a secret.
func (*Webhook) MarshalLogObject(e zapcore.ObjectEncoder) error {
	e.AddString("handler", "access_tokens_webhook")
	return nil
}

// UnmarshalCaddyfile implements caddyfile.Unmarshaler. Syntax:
//
//	access_tokens_webhook <url> {
//	    secret  <text>
//	    timeout <duration>
//	}
func (h *Webhook) UnmarshalCaddyfile(d *caddyfile.Dispenser) (err error) {
	d.Next() // the handler's name
	if h.URL, err = grammar.OneArgBeforeBlock(d, "<url>"); err != nil {
		return err
	}
	options := grammar.Options{
		"secret": func(d *caddyfile.Dispenser) (err error) {
			h.Secret, err = grammar.OneArg(d, "<text of at least 16 characters, best as a placeholder such as {env.WEBHOOK_SECRET}>")
			return err
		},
		"timeout": func(d *caddyfile.Dispenser) error {
			text, err := grammar.OneArg(d, "<duration>")
			if err != nil {
				return err
			}
			timeout, err := caddy.ParseDuration(text)
			if err != nil {
				return d.Errf("timeout: %q is no duration; write one such as 10s", text)
			}
			h.Timeout = caddy.Duration(timeout)
			return grammar.At(d, checkTimeout(timeout))
		},
	}
	if err := options.Parse(d); err != nil {
		return err
	}
	if h.Secret == "" {
		return d.Err("access_tokens_webhook takes a secret, which its receiver knows a true message by; write `secret {env.WEBHOOK_SECRET}` in its block")
	}
	return nil
}

// Interface guards
var (
	_ caddy.Provisioner       = (*Webhook)(nil)
	_ caddy.CleanerUpper      = (*Webhook)(nil)
	_ caddyevents.Handler     = (*Webhook)(nil)
	_ caddyfile.Unmarshaler   = (*Webhook)(nil)
	_ zapcore.ObjectMarshaler = (*Webhook)(nil)
)
