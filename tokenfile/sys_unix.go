//go:build unix

package tokenfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// openFlags prevent open from waiting for the writer of a pipe, and from
// following a link, if one of these has replaced the file since it was checked.
const openFlags = syscall.O_NOFOLLOW | syscall.O_NONBLOCK

// checkFolder refuses a folder in which another user could replace the file.
func checkFolder(folder string) error {
	info, err := os.Stat(folder)
	if err != nil {
		return fmt.Errorf("tokenfile: %w", err)
	}
	if !info.IsDir() {
		return fmt.Errorf("tokenfile: %w", &fs.PathError{Op: "open", Path: folder, Err: syscall.ENOTDIR})
	}
	if mode := info.Mode().Perm(); mode&0o022 != 0 {
		return fmt.Errorf("tokenfile: %s: the folder is writable by others (mode %04o); give the token one of its own, or chmod go-w", folder, mode)
	}
	if owner, ok := ownerOf(info); ok && owner != 0 && owner != os.Geteuid() {
		return fmt.Errorf("tokenfile: %s: the folder belongs to another user (uid %d)", folder, owner)
	}
	return nil
}

// checkFile refuses a file that another user wrote, or could have read.
func checkFile(info fs.FileInfo) error {
	if err := checkOwner(info); err != nil {
		return err
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return fmt.Errorf("is open to others (mode %04o instead of 0600); its token may be known to them", mode)
	}
	return nil
}

func checkOwner(info fs.FileInfo) error {
	if owner, ok := ownerOf(info); ok && owner != os.Geteuid() {
		return fmt.Errorf("belongs to another user (uid %d)", owner)
	}
	return nil
}

func ownerOf(info fs.FileInfo) (uid int, ok bool) {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, false
	}
	return int(stat.Uid), true
}

// syncFolder makes a rename or a deletion survive a crash.
func syncFolder(folder string) error {
	dir, err := os.Open(folder) //nolint:gosec // the user's own
	if err != nil {
		return err
	}
	defer func() { _ = dir.Close() }()
	if err := dir.Sync(); err != nil && !errors.Is(err, syscall.EINVAL) && !errors.Is(err, errors.ErrUnsupported) {
		return err // the other two: a file system whose folders need no sync
	}
	return nil
}

// patiently calls op once: on Unix an open file can be replaced.
func patiently[T any](op func() (T, error)) (T, error) { return op() }
