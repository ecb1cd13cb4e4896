package loopback

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

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

const target = "https://auth.example/authorize?a=b&c=$(>planted);%22%20*"

func TestCommands(t *testing.T) {
	spaced := filepath.Join(t.TempDir(), "Program Files (x86)", "chrome.exe")
	require.NoError(t, os.MkdirAll(filepath.Dir(spaced), 0o700))
	require.NoError(t, os.WriteFile(spaced, nil, 0o700))
	for _, tt := range []struct {
		name, goos, browser string
		want                [][]string
	}{
		{"none set", "linux", "", nil},
		{"a program", "linux", "firefox", [][]string{{"firefox", target}}},
		{"on macOS", "darwin", "firefox", [][]string{{"firefox", target}}},
		{"arguments", "linux", "firefox --new-window -P work", [][]string{{"firefox", "--new-window", "-P", "work", target}}},
		{"the URL's place", "linux", "firefox --url %s --private", [][]string{{"firefox", "--url", target, "--private"}}},
		{"the URL inside an argument", "linux", "chrome --app=%s", [][]string{{"chrome", "--app=" + target}}},
		{"the URL twice", "linux", "x %s %s", [][]string{{"x", target, target}}},
		{"the URL in quotes is one argument", "linux", `x "%s"`, [][]string{{"x", target}}},
		{"a percent sign and a colon", "linux", "x 100%% a%cb", [][]string{{"x", "100%", "a:b", target}}},
		{"a percent sign before an s", "linux", "x %%s", [][]string{{"x", "%s", target}}},
		{"several", "linux", "links2 -g:w3m", [][]string{{"links2", "-g", target}, {"w3m", target}}},
		{"empty items", "linux", ": firefox ::", [][]string{{"firefox", target}}},
		{"Windows separates by semicolons", "windows", `C:\x.exe;y`, [][]string{{`C:\x.exe`, target}, {"y", target}}},
		{"an ampersand for a shell", "linux", "firefox %s &", [][]string{{"firefox", target}}},
		{"quotes", "linux", `"/mnt/c/Program Files/x.exe" --profile-directory='Profile 1'`, [][]string{{"/mnt/c/Program Files/x.exe", "--profile-directory=Profile 1", target}}},
		{"empty quotes", "linux", `x "" ''`, [][]string{{"x", "", "", target}}},
		{"a quote that isn't closed", "linux", `x "a b`, [][]string{{"x", target}}},
		{"a path with spaces", "linux", spaced, [][]string{{spaced, target}}},
		{"nothing of a shell", "linux", "x $HOME `id` $(id) | y", [][]string{{"x", "$HOME", "`id`", "$(id)", "|", "y", target}}},
	} {
		env := map[string]string{"BROWSER": tt.browser}
		assert.Equal(t, tt.want, commands(tt.goos, func(name string) string { return env[name] }, target), tt.name)
	}
	for _, tt := range []struct {
		name, goos string
		env        map[string]string
		want       [][]string
	}{
		{"WSL", "linux", map[string]string{"WSL_DISTRO_NAME": "Ubuntu"}, [][]string{{"wslview", target}}},
		{"WSL, started from Windows", "linux", map[string]string{"WSL_INTEROP": "/run/WSL/1_interop"}, [][]string{{"wslview", target}}},
		{"WSL, $BROWSER first", "linux", map[string]string{"WSL_DISTRO_NAME": "Ubuntu", "BROWSER": "x"}, [][]string{{"x", target}, {"wslview", target}}},
		{"Windows, where a program was started from WSL", "windows", map[string]string{"WSL_DISTRO_NAME": "Ubuntu"}, nil},
	} {
		assert.Equal(t, tt.want, commands(tt.goos, func(name string) string { return tt.env[name] }, target), tt.name)
	}
}

// What would be an option, a file or two lines to the command is not opened.
func TestOpenBrowserRefuses(t *testing.T) {
	t.Setenv("BROWSER", "none")
	for _, url := range []string{
		"", "--help", "-x https://a.example/", "file:///etc/passwd", "/etc/passwd", "a.example", "javascript:alert(1)", "https:", "https:a.example", "https:///x",
		"ftp://a.example/", "https://a.example/\nhttps://b.example/", "https://a.example/ --new-window", "https://a.example/\x1b[2J", "https://a.example/\x00", "ms-settings:x",
	} {
		require.EqualError(t, OpenBrowser(url), "loopback: no browser opened, set $BROWSER to one: the URL is not an absolute one of https or http", "%q", url)
	}
	require.EqualError(t, OpenBrowser("https://a.example/"), "loopback: no browser opened, set $BROWSER to one: $BROWSER is none")
}

// TestOpenBrowserCommands runs stubs that note their arguments, in the order
// that OpenBrowser tries them.
func TestOpenBrowserCommands(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the stubs are for Linux's xdg-open")
	}
	if wait := os.Getenv("LOOPBACK_TEST_WAIT"); wait != "" { // see below
		d, err := time.ParseDuration(wait)
		if err == nil {
			err = openWithin(target, d)
		}
		if err != nil {
			fmt.Print(err)
		}
		os.Exit(0)
	}
	for _, tt := range []struct {
		name  string
		stubs map[string]string // and how they end
		env   []string
		wait  string
		want  string // name and arguments of those that ran
		err   string
	}{
		{"the system's", map[string]string{"xdg-open": "exit 0"}, nil, "1m", "xdg-open " + target + "\n", ""},
		{"$BROWSER first", map[string]string{"xdg-open": "exit 0", "mine": "exit 0"}, []string{"BROWSER=mine --new %s"}, "1m", "mine --new " + target + "\n", ""},
		{"$BROWSER that fails, then the system's", map[string]string{"xdg-open": "exit 0", "mine": "exit 1"}, []string{"BROWSER=mine"}, "1m", "mine " + target + "\nxdg-open " + target + "\n", ""},
		{"$BROWSER that isn't there", map[string]string{"xdg-open": "exit 0"}, []string{"BROWSER=/nowhere/chrome:nothing"}, "1m", "xdg-open " + target + "\n", ""},
		{"the second of $BROWSER", map[string]string{"a": "exit 1", "b": "exit 0"}, []string{"BROWSER=a:b"}, "1m", "a " + target + "\nb " + target + "\n", ""},
		{"wslview before xdg-open", map[string]string{"wslview": "exit 0", "xdg-open": "exit 0"}, []string{"WSL_DISTRO_NAME=Ubuntu"}, "1m", "wslview " + target + "\n", ""},
		{"wslview that fails", map[string]string{"wslview": "exit 1", "xdg-open": "exit 0"}, []string{"WSL_DISTRO_NAME=Ubuntu"}, "1m", "wslview " + target + "\nxdg-open " + target + "\n", ""},
		{"xdg-open that fails", map[string]string{"xdg-open": "exit 3"}, nil, "1m", "xdg-open " + target + "\n", "exit status 3"},
		{"nothing there", nil, nil, "1m", "", `exec: "xdg-open,x-www-browser,www-browser,wslview": executable file not found in $PATH`},
		{"no browser wanted", map[string]string{"xdg-open": "exit 0"}, []string{"BROWSER=none"}, "1m", "", "$BROWSER is none"},
		// The caller leaves first; the pipe to nobody ends the stub afterwards.
		{"xdg-open that hangs", map[string]string{"xdg-open": "exec cat hang"}, nil, "1s", "xdg-open " + target + "\n", ""},
		{"$BROWSER that hangs", map[string]string{"mine": "exec cat hang", "xdg-open": "exit 0"}, []string{"BROWSER=mine"}, "1s", "mine " + target + "\n", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			ran, hang := filepath.Join(dir, "ran"), filepath.Join(dir, "hang")
			for name, end := range tt.stubs {
				stub := "#!/bin/sh\necho noise; echo noise >&2\necho \"${0##*/} $*\" >>ran\n" + end + "\n"
				require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(stub), 0o700))
			}
			require.NoError(t, exec.CommandContext(t.Context(), "mkfifo", hang).Run())
			cat, err := exec.LookPath("cat")
			require.NoError(t, err)
			require.NoError(t, os.Symlink(cat, filepath.Join(dir, "cat")))

			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestOpenBrowserCommands$") //nolint:gosec // this test
			cmd.Dir = dir
			// GOCOVERDIR keeps a binary that counts coverage from complaining.
			cmd.Env = append([]string{"LOOPBACK_TEST_WAIT=" + tt.wait, "PATH=" + dir, "GOCOVERDIR=" + t.TempDir()}, tt.env...)
			printed, err := cmd.CombinedOutput()
			require.NoError(t, err)
			require.Equal(t, tt.err, string(printed))
			opened, err := os.ReadFile(ran)
			if tt.want == "" {
				require.ErrorIs(t, err, os.ErrNotExist)
				return
			}
			require.NoError(t, err)
			require.Equal(t, tt.want, string(opened))
			require.NoFileExists(t, filepath.Join(dir, "planted"), "a shell read the URL")
			if strings.Contains(tt.name, "hangs") {
				stub, err := os.OpenFile(hang, os.O_WRONLY, 0) // waits for the stub, and lets it end
				require.NoError(t, err)
				require.NoError(t, stub.Close())
			}
		})
	}
}

// A window that is closed later on, by a command that says it failed, isn't
// opened again in the next browser.
func TestOpenBrowserFailsLate(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the stubs are for Linux's xdg-open")
	}
	dir := t.TempDir()
	t.Chdir(dir)
	t.Setenv("PATH", dir)
	t.Setenv("BROWSER", "mine")
	for name, end := range map[string]string{"mine": "exit 1", "xdg-open": "exit 0"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\necho "+name+" >>ran\n"+end+"\n"), 0o700))
	}
	for wait, want := range map[time.Duration]string{0: "mine\n", time.Minute: "mine\nxdg-open\n"} {
		require.NoError(t, open(target, wait))
		ran, err := os.ReadFile("ran")
		require.NoError(t, err)
		require.Equal(t, want, string(ran))
		require.NoError(t, os.Remove("ran"))
	}
}
