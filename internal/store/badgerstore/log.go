package badgerstore

import (
	"strings"

	"go.uber.org/zap"
)

// badgerLogger passes Badger's warnings and errors on; its chatter is for
// debugging.
type badgerLogger struct{ *zap.SugaredLogger }

func (l badgerLogger) Errorf(format string, args ...any) {
	l.SugaredLogger.Errorf(strings.TrimSpace(format), args...)
}

func (l badgerLogger) Warningf(format string, args ...any) {
	l.Warnf(strings.TrimSpace(format), args...)
}

func (l badgerLogger) Infof(format string, args ...any) {
	l.SugaredLogger.Debugf(strings.TrimSpace(format), args...)
}

func (badgerLogger) Debugf(string, ...any) {}
