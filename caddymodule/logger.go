package caddymodule

import (
	"slices"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// currentLogger logs to whatever Caddy's default log is at that moment. What
// outlives a configuration needs it: a reload closes the logs of the old one.
func currentLogger(name string) *zap.Logger {
	return zap.New(currentCore{}).Named(name)
}

type currentCore struct{ fields []zapcore.Field }

func (currentCore) Enabled(l zapcore.Level) bool { return caddy.Log().Core().Enabled(l) }
func (currentCore) Sync() error                  { return caddy.Log().Core().Sync() }

func (c currentCore) With(fields []zapcore.Field) zapcore.Core {
	return currentCore{slices.Concat(c.fields, fields)}
}

func (c currentCore) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if caddy.Log().Core().Check(e, nil) == nil {
		return ce
	}
	return ce.AddCore(e, c)
}

func (c currentCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	return caddy.Log().Core().Write(e, slices.Concat(c.fields, fields))
}
