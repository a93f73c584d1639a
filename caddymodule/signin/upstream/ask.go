package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"go.uber.org/zap"
	"golang.org/x/time/rate"

	"github.com/caddy-access-tokens/caddy-access-tokens/caddymodule/signin"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/incoming"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/whoami"
)

// SignIn implements signin.SignIn.
func (u *SignIn) SignIn(r *http.Request) (signin.User, error) {
	header, byBasic := u.credentials(r)
	if header == nil {
		return signin.User{}, signin.ErrNotMine
	}
	begun := time.Now()
	said, status, err := u.ask(header)
	if err != nil {
		return signin.User{}, err
	}
	took := time.Since(begun)
	user, whyNobody, err := u.read(said)
	if err != nil {
		return signin.User{}, err
	}
	u.took.note(answer{byBasic, whyNobody != ""}, took)
	if whyNobody == "" {
		return user, nil
	}
	// That a session has ended says nothing about other ways to sign in.
	refused := signin.ErrNotMine
	if byBasic {
		refused = signin.ErrDenied
	}
	return signin.User{}, fmt.Errorf("%w: the who-am-I route answers with status %d and %s", refused, status, whyNobody)
}

// credentials returns the header to ask with, nil if r has no credentials.
func (u *SignIn) credentials(r *http.Request) (header http.Header, byBasic bool) {
	auth, err := incoming.ParseAuthorization(r.Header)
	if err == nil && auth.Scheme == incoming.Basic && u.TakesBasic() {
		// What the limit can't read a user from isn't sent: a laxer reader
		// behind could find one in it, whose failures nobody would count.
		if _, _, ok := incoming.DecodeBasic(auth.Token68); !ok {
			return nil, false
		}
		return http.Header{"Authorization": {"Basic " + auth.Token68}}, true
	}
	if kept := u.session.KeptCookies(r.Header["Cookie"]); kept != "" {
		return http.Header{"Cookie": {kept}}, false
	}
	return nil, false
}

// dialInfo is the key under which Caddy's transports look for an address to dial
// instead of the URL's.
const dialInfo = caddy.CtxKey("reverse_proxy.dial_info")

// ask returns the route's answer, nil if it says that nobody is signed in, and
// its status.
//
// The request's own context stays behind. A reverse_proxy in front, such as
// forward_auth, leaves in it which server Caddy's transports are to dial. And
// its end would be for the client to choose: who goes away before a slow "no"
// has still been told that it was no quick "yes", and that has to count.
func (u *SignIn) ask(header http.Header) (answer *whoami.Answer, status int, err error) {
	ctx := context.WithValue(context.Background(), caddy.ReplacerCtxKey, caddy.NewReplacer())
	if u.socket != nil {
		ctx = context.WithValue(ctx, dialInfo, *u.socket)
	}
	ctx, cancel := context.WithTimeout(ctx, time.Duration(u.Timeout))
	defer cancel()

	request, err := http.NewRequestWithContext(ctx, http.MethodGet, u.url.String(), nil)
	if err != nil {
		return nil, 0, err
	}
	header.Set("Accept", "application/json")
	header.Set("User-Agent", "caddy-access-tokens")
	for name, values := range u.header {
		header[name] = values
	}
	request.Header = header
	request, notSent := traced(request)
	response, err := u.api.RoundTrip(request)
	if err != nil {
		why := u.whyNot(ctx, err)
		if notSent(err) {
			why = fmt.Errorf("%w: %w", signin.ErrNotChecked, why)
		}
		return nil, 0, why
	}
	defer response.Body.Close()
	answer, err = whoami.Read(response)
	if err != nil && ctx.Err() != nil {
		err = u.whyNot(ctx, err)
	}
	return answer, response.StatusCode, err
}

// whyNot says why there is no answer. An error's text is shown only where it
// can't hold anything that the API has sent once it was asked: that may be the
// credentials again.
func (u *SignIn) whyNot(ctx context.Context, err error) error {
	var why string
	var dialing reverseproxy.DialError // which unwraps to nothing
	var certificate *tls.CertificateVerificationError
	var alert *net.OpError
	var record tls.RecordHeaderError
	switch {
	case ctx.Err() != nil:
		why = fmt.Sprintf("it took longer than %v", time.Duration(u.Timeout))
	case errors.As(err, &dialing):
		why = dialing.Error()
	case errors.As(err, &certificate):
		why = certificate.Error()
	case errors.As(err, &alert) && alert.Op == "remote error": // as crypto/tls calls an alert
		why = "it refuses TLS: " + alert.Err.Error()
	case errors.As(err, &record):
		why = "it doesn't speak TLS at that port; write http:// if it is meant to be asked without"
	case u.url.Scheme == "http" && strings.Contains(err.Error(), `malformed HTTP response "\x15\x03`):
		why = "it speaks TLS at that port; write https://"
	case strings.Contains(err.Error(), "server response headers exceeded"):
		why = "its answer's header is too long"
	case isClosed(err):
		why = "it closed the connection before an answer"
	case strings.Contains(err.Error(), "malformed"):
		why = "what it sends is not HTTP"
	default:
		why = "the connection to it failed"
	}
	return errors.New("the who-am-I route can't be asked: " + why)
}

func isClosed(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// read returns the user whom the answer names, or why it names nobody.
func (u *SignIn) read(answer *whoami.Answer) (user signin.User, whyNobody string, err error) {
	for _, path := range slices.Sorted(maps.Keys(u.Require)) {
		if !answer.Is(path, u.Require[path]) {
			return signin.User{}, fmt.Sprintf("what is required at %q isn't so", path), nil
		}
	}
	if user.ID, err = answer.ID(u.UserID); err != nil {
		return signin.User{}, "", err
	}
	if user.ID == "" {
		u.complain(answer)
		return signin.User{}, fmt.Sprintf("nothing at %q", u.UserID), nil
	}
	u.ids.found.Store(true)
	for _, field := range []struct {
		path string
		to   *string
	}{{u.Email, &user.Email}, {u.Name, &user.Name}} {
		if *field.to, err = answer.Text(field.path); err != nil {
			return signin.User{}, "", err
		}
	}
	user.Admin = answer.IsTrue(u.Admin)
	user.Claims = make(map[string]string, len(u.Claims))
	for name, path := range u.Claims {
		if user.Claims[name], err = answer.Text(path); err != nil {
			return signin.User{}, "", err
		}
	}
	return user, "", nil
}

// ids tells whether any answer has named a user, and how often it was complained
// of those that don't.
type ids struct {
	found      atomic.Bool
	complaints rate.Sometimes
}

// complain tells the owner of answers that say something, but of no user, as long
// as none has named anybody: the path of the id may be wrong.
func (u *SignIn) complain(answer *whoami.Answer) {
	if !answer.Lacks(u.UserID) || u.ids.found.Load() {
		return
	}
	u.ids.complaints.Do(func() {
		u.logger.Warn("the who-am-I route answers, but has nothing where user_id says that the id is: if nobody can sign in, correct user_id",
			zap.String("host", u.url.Host), zap.String("user_id", u.UserID))
	})
}
