package tokenfile_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A folder or a file that the system keeps from us is fs.ErrPermission.
func TestPermissionDenied(t *testing.T) {
	path := newPath(t)
	require.NoError(t, put(t.Context(), open(t, path), token("a")))
	t.Cleanup(func() { _ = os.Chmod(filepath.Dir(path), 0o700) }) //nolint:gosec // a folder
	require.NoError(t, os.Remove(path+".lock"))
	require.NoError(t, os.Chmod(path, 0))
	require.NoError(t, os.Chmod(filepath.Dir(path), 0o500)) //nolint:gosec // likewise

	store := open(t, path)
	withoutCapabilities(t, func() {
		_, err := store.Load(t.Context())
		assert.ErrorIs(t, err, fs.ErrPermission)
		assert.ErrorContains(t, err, "tokenfile: open "+path+": ")
		err = put(t.Context(), store, token("b"))
		assert.ErrorIs(t, err, fs.ErrPermission)
		assert.ErrorContains(t, err, path+".lock")
	})
}

// withoutCapabilities calls f on a thread that is refused what root isn't. The
// thread ends with its goroutine.
func withoutCapabilities(t *testing.T, f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if assert.NoError(t, dropCapabilities()) {
			f()
		}
	}()
	<-done
}

// dropCapabilities takes this thread's capabilities away, as capset(2) says.
func dropCapabilities() error {
	header := struct {
		version uint32
		pid     int32
	}{version: 0x20080522}
	var none [2]struct{ effective, permitted, inheritable uint32 }
	//nolint:gosec // package syscall has no function for it
	_, _, errno := syscall.RawSyscall(syscall.SYS_CAPSET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&none)), 0)
	if errno != 0 {
		return errno
	}
	return nil
}
