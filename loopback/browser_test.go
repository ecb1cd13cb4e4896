package loopback

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestMissing(t *testing.T) {
	for _, tt := range []struct {
		name, goos string
		env        map[string]string
		want       bool
	}{
		{"desktop, X11", "linux", map[string]string{"DISPLAY": ":0"}, false},
		{"desktop, Wayland", "linux", map[string]string{"WAYLAND_DISPLAY": "wayland-0"}, false},
		{"container or server", "linux", nil, true},
		{"BSD without display", "freebsd", nil, true},
		{"WSL", "linux", map[string]string{"WSL_DISTRO_NAME": "Debian", "WSL_INTEROP": "/run/WSL/1_interop"}, false},
		{"WSL without interop", "linux", map[string]string{"WSL_DISTRO_NAME": "Debian"}, true},
		{"macOS", "darwin", nil, false},
		{"Windows", "windows", nil, false},
		{"SSH", "linux", map[string]string{"SSH_CONNECTION": "a 1 b 22", "DISPLAY": "localhost:10.0"}, true},
		{"SSH to macOS", "darwin", map[string]string{"SSH_TTY": "/dev/ttys001"}, true},
		{"SSH to Windows", "windows", map[string]string{"SSH_CONNECTION": "a 1 b 22"}, true},
	} {
		assert.Equal(t, tt.want, missing(tt.goos, func(name string) string { return tt.env[name] }), tt.name)
	}
}

// What the browser prints stays out of the program's output.
func TestOpenBrowserIsQuiet(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the stub is for Linux's xdg-open")
	}
	if os.Getenv("LOOPBACK_TEST_OPEN") != "" {
		if err := OpenBrowser("http://127.0.0.1/planted"); err != nil {
			os.Exit(3)
		}
		os.Exit(0)
	}
	dir := t.TempDir()
	stub := "#!/bin/sh\necho noise; echo noise >&2; printf %s \"$1\" > " + filepath.Join(dir, "opened") + "\n"
	require.NoError(t, os.WriteFile(filepath.Join(dir, "xdg-open"), []byte(stub), 0o700))

	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestOpenBrowserIsQuiet$") //nolint:gosec // this test
	cmd.Env = append(os.Environ(), "LOOPBACK_TEST_OPEN=1", "PATH="+dir+":"+os.Getenv("PATH"))
	printed, err := cmd.CombinedOutput()
	require.NoError(t, err)
	require.Empty(t, string(printed))
	opened, err := os.ReadFile(filepath.Join(dir, "opened"))
	require.NoError(t, err)
	require.Equal(t, "http://127.0.0.1/planted", string(opened))

	// Where there is nothing to open it with, that is an error.
	cmd = exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestOpenBrowserIsQuiet$") //nolint:gosec // this test
	cmd.Env = append(os.Environ(), "LOOPBACK_TEST_OPEN=1", "PATH="+t.TempDir())
	cmd.Stdout = io.Discard
	require.EqualError(t, cmd.Run(), "exit status 3")
}
