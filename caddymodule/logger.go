package caddymodule

import (
	"slices"
	"sync/atomic"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// followingLog goes to the logs of the configuration that runs. What outlives a
// configuration needs it: a reload closes the logs of the old one.
type followingLog struct{ core atomic.Pointer[zapcore.Core] }

func newFollowingLog(l *zap.Logger) *followingLog {
	f := new(followingLog)
	f.follow(l)
	return f
}

// follow makes all loggers of f write to where l does.
func (f *followingLog) follow(l *zap.Logger) {
	core := l.Core()
	f.core.Store(&core)
}

func (f *followingLog) logger(name string) *zap.Logger {
	return zap.New(followingCore{log: f}).Named(name)
}

type followingCore struct {
	log    *followingLog
	fields []zapcore.Field
}

func (c followingCore) core() zapcore.Core { return *c.log.core.Load() }

func (c followingCore) Enabled(l zapcore.Level) bool { return c.core().Enabled(l) }
func (c followingCore) Sync() error                  { return c.core().Sync() }

func (c followingCore) With(fields []zapcore.Field) zapcore.Core {
	return followingCore{c.log, slices.Concat(c.fields, fields)}
}

func (c followingCore) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.core().Check(e, nil) == nil {
		return ce
	}
	return ce.AddCore(e, c)
}

// Write lets each of the logs decide that the core stands for: they differ in
// level and in whom they take.
func (c followingCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	if ce := c.core().Check(e, nil); ce != nil {
		ce.Write(slices.Concat(c.fields, fields)...)
	}
	return nil
}
