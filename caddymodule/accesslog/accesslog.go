// Package accesslog adds to the lines that Caddy writes to its access log, and
// writes a line of its own where Caddy's would hold a token. In Caddy's log of
// errors it does the same.
//
// Caddy copies a request for its lines before any handler runs, so that a token
// in a URL or a header can't be taken out of them. The line is skipped then, and
// one of the same form, with the token masked, goes to the same loggers.
package accesslog

import (
	"errors"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/incoming"
	"github.com/caddy-access-tokens/caddy-access-tokens/internal/token"
)

// Log writes to the access logs of Caddy's HTTP servers.
type Log struct{ logger, errors *zap.Logger }

// New returns the Log of a configuration.
func New(ctx caddy.Context) *Log {
	logger := ctx.Logger(new(caddyhttp.App)).Named("log")
	return &Log{logger.Named("access"), logger.Named("error")}
}

// Add adds a field to the line of r, if its server writes any.
func Add(r *http.Request, field zap.Field) {
	ctx := r.Context()
	if server, ok := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server); ok && server.Logs == nil {
		return
	}
	if line, ok := caddyhttp.GetVar(ctx, lineVar).(*Line); ok {
		line.fields = append(line.fields, field)
		return
	}
	if extra, ok := ctx.Value(caddyhttp.ExtraLogFieldsCtxKey).(*caddyhttp.ExtraLogFields); ok {
		extra.Set(field)
	}
}

// lineVar is the variable of a request that has a Line.
const lineVar = "access_tokens.access_log_line"

// Line is the line of one request in place of Caddy's; nil where Caddy's holds
// no token.
type Line struct {
	log     *Log
	began   time.Time
	request *http.Request
	came    *http.Request // a copy, as it came
	mask    func(token.Value) string
	written caddyhttp.ResponseRecorder // nil where the access log gets no line
	read    counter
	fields  []zap.Field // that were added
}

// Begin looks for secrets in what Caddy's line of r would hold. If there are any,
// it returns a Line, and the writer and the request to go on with. mask returns
// what stands for a token.
//
// It is to be called before anything of r changes.
func (l *Log) Begin(w http.ResponseWriter, r *http.Request, mask func(token.Value) string) (*Line, http.ResponseWriter) {
	if !holdsSecret(r) {
		return nil, w
	}
	server, _ := r.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if server == nil {
		return nil, w
	}
	line := &Line{log: l, began: time.Now(), request: r, came: r.Clone(r.Context()), mask: mask}
	if skip, _ := caddyhttp.GetVar(r.Context(), caddyhttp.LogSkipVar).(bool); skip {
		return line, w // as the owner wants it
	}
	caddyhttp.SetVar(r.Context(), caddyhttp.LogSkipVar, true)
	if !isLogged(server, r.Host) {
		return line, w
	}
	line.written = caddyhttp.NewResponseRecorder(w, nil, nil)
	if r.Body != nil {
		line.read.ReadCloser = r.Body
		r.Body = &line.read
	}
	caddyhttp.SetVar(r.Context(), lineVar, line)
	return line, line.written
}

// redacted are the headers whose values Caddy doesn't log.
var redacted = map[string]bool{"Authorization": true, "Proxy-Authorization": true, "Cookie": true, "Set-Cookie": true}

// holdsSecret tells whether Caddy's line of r would hold a token, or the password
// of a target with one (RFC 9110 section 4.2.4).
func holdsSecret(r *http.Request) bool {
	if r.URL.User != nil || incoming.LineHoldsToken("", r.RequestURI) || incoming.LineHoldsToken("", r.Host) || incoming.LineHoldsToken("", r.Method) {
		return true
	}
	for name, lines := range r.Header {
		if redacted[name] {
			continue
		}
		for _, line := range lines {
			if incoming.LineHoldsToken(name, line) {
				return true
			}
		}
	}
	return false
}

var userInfo = regexp.MustCompile(`//[^/?#]*@`)

// masked is the request with what it mustn't show masked.
func (l *Line) masked() caddyhttp.LoggableHTTPRequest {
	hide := func(text string) string { return incoming.MaskTokens(text, l.mask) }
	came := l.came
	came.RequestURI, came.Host, came.Method = hide(userInfo.ReplaceAllString(came.RequestURI, "//***@")), hide(came.Host), hide(came.Method)
	for name, lines := range came.Header {
		if redacted[name] {
			continue
		}
		for i, line := range lines {
			lines[i] = hide(line)
		}
	}
	return caddyhttp.LoggableHTTPRequest{Request: came, ShouldLogCredentials: l.showsCredentials()}
}

// showsCredentials tells whether the owner wants to see them (log_credentials).
func (l *Line) showsCredentials() bool {
	logs := l.request.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server).Logs
	return logs != nil && logs.ShouldLogCredentials
}

// isLogged tells whether Caddy logs the requests of a host.
func isLogged(s *caddyhttp.Server, host string) bool {
	if s.Logs == nil {
		return false
	}
	host = withoutPort(host)
	for name := range s.Logs.LoggerNames {
		if certmagic.MatchWildcard(host, name) {
			return true
		}
	}
	for _, skipped := range s.Logs.SkipHosts {
		if certmagic.MatchWildcard(host, skipped) {
			return false
		}
	}
	return !s.Logs.SkipUnmappedHosts
}

func withoutPort(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		return name
	}
	return host
}

// End writes the line, if there is one. err is what the handlers behind returned.
func (l *Line) End(err error) {
	if l == nil || l.written == nil {
		return
	}
	status := l.written.Status()
	var failed caddyhttp.HandlerError
	if status == 0 && errors.As(err, &failed) {
		status = failed.StatusCode
	} else if status == 0 && err != nil {
		status = http.StatusInternalServerError
	}
	level := zapcore.InfoLevel
	if status >= http.StatusInternalServerError {
		level = zapcore.ErrorLevel
	}
	ctx := l.request.Context()
	var fields []zap.Field
	for _, name := range names(l.request) {
		logger := l.log.logger
		if name != "" {
			logger = logger.Named(name)
		}
		c := logger.Check(level, "handled request")
		if c == nil {
			continue
		}
		if fields == nil {
			userID, _ := ctx.Value(caddy.ReplacerCtxKey).(*caddy.Replacer).GetString("http.auth.user.id")
			fields = []zap.Field{
				zap.Object("request", l.masked()),
				zap.Int("bytes_read", l.read.n), zap.String("user_id", userID), zap.Duration("duration", time.Since(l.began)),
				zap.Int("size", l.written.Size()), zap.Int("status", status),
				zap.Object("resp_headers", caddyhttp.LoggableHTTPHeader{Header: l.written.Header(), ShouldLogCredentials: l.showsCredentials()}),
			}
			fields = append(fields, l.fields...)
		}
		c.Write(fields...)
	}
}

// names are those of the loggers that Caddy's line would go to, below the access
// log's own.
func names(r *http.Request) (names []string) {
	if chosen, ok := caddyhttp.GetVar(r.Context(), caddyhttp.AccessLoggerNameVarKey).([]any); ok {
		for _, name := range chosen {
			text, _ := name.(string)
			names = append(names, text)
		}
		return names
	}
	logs := r.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server).Logs
	if logs == nil {
		return []string{""}
	}
	host := strings.ToLower(withoutPort(r.Host))
	if of, known := logs.LoggerNames[host]; known {
		return of
	}
	labels := strings.Split(host, ".")
	for i := range labels {
		if labels[i] == "" {
			continue
		}
		labels[i] = "*"
		if of, known := logs.LoggerNames[strings.Join(labels, ".")]; known {
			return of
		}
	}
	return []string{logs.DefaultLoggerName}
}

// counter counts what is read of a body.
type counter struct {
	io.ReadCloser
	n int
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.n += n
	return n, err
}
