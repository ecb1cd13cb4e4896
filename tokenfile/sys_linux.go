package tokenfile

import (
	"errors"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// preallocate reserves disk space for size bytes of file, so that writing them
// cannot fail because the disk is full. With keep, the file's size stays
// unchanged.
func preallocate(file *os.File, size int64, keep bool) error {
	var mode uint32
	if keep {
		mode = unix.FALLOC_FL_KEEP_SIZE
	}
	for {
		err := unix.Fallocate(int(file.Fd()), mode, 0, size)
		switch {
		case errors.Is(err, syscall.EINTR):
			continue
		case errors.Is(err, errors.ErrUnsupported) || errors.Is(err, syscall.EINVAL):
			return fill(file, size, keep)
		default:
			return os.NewSyscallError("fallocate", err)
		}
	}
}

// mounted reports whether something is mounted at path itself, as containers do
// with single files: such a file can be written, but neither replaced nor
// removed.
func mounted(path string) bool {
	var info unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW, 0, &info)
	return err == nil && info.Attributes&info.Attributes_mask&unix.STATX_ATTR_MOUNT_ROOT != 0
}
