//go:build !unix

package tokenfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"
)

// checkFolder refuses anything but a folder.
func checkFolder(folder string) error {
	info, err := os.Stat(folder)
	if err != nil {
		return fmt.Errorf("tokenfile: %w", err)
	}
	if !info.IsDir() {
		// Not syscall.ENOTDIR, which on Windows is an fs.ErrNotExist.
		return fmt.Errorf("tokenfile: %s: is not a folder", folder)
	}
	return nil
}

func checkFile(fs.FileInfo) error { return nil }

func checkOwner(fs.FileInfo) error { return nil }

const openFlags = 0

func syncFolder(string) error { return nil }

// patiently repeats op for up to two seconds while it is refused: Windows
// neither replaces a file that is open nor opens one that is being replaced.
func patiently[T any](op func() (T, error)) (T, error) {
	for deadline := time.Now().Add(2 * time.Second); ; time.Sleep(time.Millisecond) {
		result, err := op()
		if err == nil || errors.Is(err, fs.ErrNotExist) || time.Now().After(deadline) {
			return result, err
		}
	}
}
