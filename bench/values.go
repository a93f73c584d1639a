package main

import (
	"fmt"
	"os"
)

// values is a file of token values, all of one length.
type values struct{ file *os.File }

const valueLen = len("cat_") + 49

func openValues(path string) (values, error) {
	file, err := os.Open(path)
	return values{file}, err
}

func createValues(path string) (values, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	return values{file}, err
}

func (v values) close() error { return v.file.Close() }

// put makes value the n-th.
func (v values) put(n int, value string) error {
	if len(value) != valueLen {
		return fmt.Errorf("a token value of %d bytes", len(value))
	}
	_, err := v.file.WriteAt([]byte(value+"\n"), int64(n*(valueLen+1)))
	return err
}

// at returns the n-th.
func (v values) at(n int) string {
	var value [valueLen]byte
	if _, err := v.file.ReadAt(value[:], int64(n*(valueLen+1))); err != nil {
		panic(fmt.Errorf("token %d of %s: %w", n, v.file.Name(), err))
	}
	return string(value[:])
}
