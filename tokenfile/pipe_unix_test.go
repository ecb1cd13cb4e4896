//go:build unix

package tokenfile_test

import (
	"syscall"
	"testing"
)

// makePipe makes one that nobody reads or writes: to open it would wait.
func makePipe(_ *testing.T, path string) error { return syscall.Mkfifo(path, 0o600) }
