//go:build !linux

package tokenfile

import "os"

// preallocate reserves disk space for size bytes of file, so that writing them
// cannot fail because the disk is full. With keep, the file's size stays
// unchanged.
func preallocate(file *os.File, size int64, keep bool) error { return fill(file, size, keep) }

// mounted returns false; here only a failing rename shows a mount.
func mounted(string) bool { return false }
