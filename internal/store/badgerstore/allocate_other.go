//go:build unix && !linux

package badgerstore

import "errors"

func (realDisk) allocate(string, int64) error { return errors.ErrUnsupported }
