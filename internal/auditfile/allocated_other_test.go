//go:build !linux

package auditfile

import "testing"

func allocated(testing.TB, string) int64 { return 0 }
