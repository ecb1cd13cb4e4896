package loopback

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/cli/browser"
)

// openerTimeout is how long an opener has to fail. One that is still running
// afterwards is showing the page, or waits until the browser's window closes.
const openerTimeout = 3 * time.Second

// OpenBrowser shows a web page to the person at this machine, such as the page
// of [piecesauth.Authenticator.LogoutURL]. [SignIn] uses it to open the sign-in
// page.
//
// It tries the commands in $BROWSER first: they are separated by colons
// (semicolons on Windows), may have arguments and quotes, and get the URL in
// place of %s, or as their last argument (%c is a colon, %% a percent sign);
// the value none opens nothing. Next it tries wslview under WSL, and then the
// system's browser. It uses no shell: the URL is always one argument.
//
// OpenBrowser returns when the page has been handed over, and after 3 seconds
// at the latest; a command that is still running then continues, and how it
// ends is ignored.
func OpenBrowser(url string) error {
	if err := openWithin(url, openerTimeout); err != nil {
		return fmt.Errorf("loopback: no browser opened, set $BROWSER to one: %w", err)
	}
	return nil
}

func openWithin(page string, wait time.Duration) error {
	// Anything else could be an option or a file to the command that opens it.
	u, err := url.Parse(page)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || strings.ContainsFunc(page, unprintable) {
		return errors.New("the URL is not an absolute one of https or http")
	}
	opened := make(chan error, 1)
	go func() { opened <- open(page, wait) }()
	select {
	case err := <-opened:
		return err
	case <-time.After(wait):
		return nil
	}
}

func unprintable(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }

// open tries one command after another. One that fails after the wait had shown
// the page: a window that was closed must not open again in another browser.
func open(page string, wait time.Duration) error {
	if !browserWanted(os.Getenv) {
		return errors.New("$BROWSER is none")
	}
	start := time.Now()
	for _, command := range commands(runtime.GOOS, os.Getenv, page) {
		//nolint:gosec // the person's own choice of a browser
		if err := exec.Command(command[0], command[1:]...).Run(); err == nil || time.Since(start) > wait { //nolint:noctx // it outlives the caller
			return nil
		}
	}
	hush()
	return browser.OpenURL(page)
}

// hush keeps the output of a browser out of the program's output. The library
// offers only these two variables for it. They are nil, which is the null
// device, because with an io.Writer Run would not return until the browser
// ends.
var hush = sync.OnceFunc(func() { browser.Stdout, browser.Stderr = nil, nil })

// commands returns the commands to try before the system's own browser.
func commands(goos string, getenv func(string) string, page string) [][]string {
	separator := ":"
	if goos == "windows" {
		separator = ";"
	}
	var all [][]string
	for item := range strings.SplitSeq(getenv("BROWSER"), separator) {
		if command := command(item, page); command != nil {
			all = append(all, command)
		}
	}
	if goos == "linux" && (getenv("WSL_DISTRO_NAME") != "" || getenv("WSL_INTEROP") != "") {
		all = append(all, []string{"wslview", page})
	}
	return all
}

// command returns the program and arguments of one item of $BROWSER, or nil if
// there are none.
func command(item, page string) []string {
	// An ampersand asks a shell not to wait; no shell is used here.
	item = strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(item), "&"))
	words := split(item)
	if _, err := exec.LookPath(item); err == nil {
		words = []string{item} // a path with spaces in it
	}
	if len(words) == 0 {
		return nil
	}
	fill, placed := strings.NewReplacer("%%", "%", "%c", ":", "%s", page), false
	for i, word := range words[1:] {
		placed = placed || strings.Contains(strings.ReplaceAll(word, "%%", ""), "%s")
		words[i+1] = fill.Replace(word)
	}
	if !placed {
		words = append(words, page)
	}
	return words
}

// split returns the words of a command. Quotes keep spaces in a word.
func split(text string) []string {
	var (
		words []string
		word  strings.Builder
		quote rune
		began bool
	)
	for _, r := range text + " " {
		switch {
		case r == quote:
			quote = 0
		case quote == 0 && (r == '"' || r == '\''):
			quote, began = r, true
		case quote == 0 && unicode.IsSpace(r):
			if began {
				words = append(words, word.String())
			}
			word.Reset()
			began = false
		default:
			began = true
			_, _ = word.WriteRune(r)
		}
	}
	return words
}

// browserChosen reports whether the person has chosen what to open pages with.
// The remote session of an editor does so too.
func browserChosen() bool { return os.Getenv("BROWSER") != "" }

// browserWanted reports whether anything may be opened; many programs take the
// value none to mean no.
func browserWanted(getenv func(string) string) bool {
	return strings.TrimSpace(getenv("BROWSER")) != "none"
}

func browserMissing() bool { return missing(runtime.GOOS, os.Getenv) }

// missing reports whether a browser that opened would not be seen: over SSH, or
// in a container or on a server without a display. WSL has no display either,
// but reaches the browser of Windows if interop is enabled.
func missing(goos string, getenv func(string) string) bool {
	if getenv("SSH_CONNECTION") != "" || getenv("SSH_TTY") != "" {
		return true
	}
	return goos != "windows" && goos != "darwin" &&
		getenv("DISPLAY") == "" && getenv("WAYLAND_DISPLAY") == "" && getenv("WSL_INTEROP") == ""
}
