package accesslog

import (
	"errors"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// Failed ends a request that the handlers behind have returned err for, if Caddy's
// line of it in the log of errors would hold a token: it answers as Caddy would
// (caddyhttp.Server.ServeHTTP), by the server's error routes if there are any, and
// logs the request with the token masked. What it returns is left to Caddy.
func (l *Line) Failed(w http.ResponseWriter, r *http.Request, err error) error {
	if l == nil || err == nil {
		return err
	}
	if original, ok := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request); ok {
		r.Method, r.RemoteAddr, r.RequestURI = original.Method, original.RemoteAddr, original.RequestURI
		*r.URL = *original.URL
	}
	server := r.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	failure, ours := errors.AsType[caddyhttp.HandlerError](err)
	if !ours {
		failure = caddyhttp.HandlerError{StatusCode: http.StatusInternalServerError}
	}
	level := zapcore.DebugLevel
	if server.Errors == nil || len(server.Errors.Routes) == 0 {
		if failure.StatusCode >= http.StatusInternalServerError {
			level = zapcore.ErrorLevel
		}
		w.WriteHeader(failure.StatusCode)
	} else if wrong := server.Errors.Routes.Compile(noErrorRoute).ServeHTTP(w, server.Errors.WithError(r, err)); wrong != nil {
		level = zapcore.ErrorLevel
		err = errors.Join(err, wrong)
		w.WriteHeader(failure.StatusCode)
	}
	l.logError(level, err, &failure)
	return nil
}

// noErrorRoute answers where no error route does.
var noErrorRoute caddyhttp.Handler = caddyhttp.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
	status := http.StatusInternalServerError
	if failure, ok := r.Context().Value(caddyhttp.ErrorCtxKey).(caddyhttp.HandlerError); ok {
		status = failure.StatusCode
	}
	w.WriteHeader(status)
	return nil
})

func (l *Line) logError(level zapcore.Level, err error, failure *caddyhttp.HandlerError) {
	message := err.Error()
	if failure.Err != nil {
		message = failure.Err.Error()
	}
	for _, name := range names(l.request) {
		logger := l.log.errors
		if name != "" {
			logger = logger.Named(name)
		}
		if c := logger.Check(level, message); c != nil {
			c.Write(zap.Object("request", l.masked()), zap.Duration("duration", time.Since(l.began)), zap.Int("status", failure.StatusCode),
				zap.String("err_id", failure.ID), zap.String("err_trace", failure.Trace), zap.Error(err))
		}
	}
}
