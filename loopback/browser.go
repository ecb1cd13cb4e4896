package loopback

import (
	"os"
	"runtime"
	"sync"

	"github.com/cli/browser"
)

// hush keeps what a browser prints out of the program's output. The library
// has these two variables for it, and no other way; nil is the null device,
// while an io.Writer would hold up Run until the browser ends.
var hush = sync.OnceFunc(func() { browser.Stdout, browser.Stderr = nil, nil })

func openBrowser(url string) error {
	hush()
	return browser.OpenURL(url)
}

func browserMissing() bool { return missing(runtime.GOOS, os.Getenv) }

// missing reports whether a browser that opened would not be seen: over SSH,
// or in a container or on a server, which have no display. WSL has none
// either, but reaches the browser of Windows where interop is on.
func missing(goos string, getenv func(string) string) bool {
	if getenv("SSH_CONNECTION") != "" || getenv("SSH_TTY") != "" {
		return true
	}
	return goos != "windows" && goos != "darwin" &&
		getenv("DISPLAY") == "" && getenv("WAYLAND_DISPLAY") == "" && getenv("WSL_INTEROP") == ""
}
