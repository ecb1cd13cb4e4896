// Package loopback signs a person in with the system browser (RFC 8252) and
// catches the redirect on this machine.
//
//	token, err := loopback.SignIn(ctx, auth, loopback.Options{Output: os.Stderr})
//
// [SignIn] is the whole journey. [Listen] is its receiver alone, for programs
// that show the sign-in page, or the way to it, themselves.
//
// Any program and any web page can send requests to a port of this machine.
// The receiver therefore answers 4xx to whatever does not carry the state of
// the attempt, and keeps waiting; it holds few connections, closes the slow
// ones first, and needs little memory for any of them.
package loopback

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/piecesauth/piecesauth"
)

// Options say how [SignIn] goes about it. The zero value listens on a free
// port and opens the system browser.
type Options struct {
	// RedirectURL is where the browser comes back to, as registered for the
	// client: http://localhost:3000/pkce/response/code, say. Port 0 takes a
	// free one. Empty: that of Begin, else that of piecesauth.Config, else
	// http://127.0.0.1:0/callback. See [Listen].
	RedirectURL string

	// Begin is passed on to piecesauth.Authenticator.Begin.
	Begin *piecesauth.BeginOptions

	// OpenBrowser shows the URL to the person. It runs in a goroutine of its
	// own, which SignIn doesn't wait for: some browsers keep their opener
	// until their window is closed. Nil opens the system browser, except in an
	// SSH session and on a Unix machine without a display.
	OpenBrowser func(url string) error

	// Output gets the URL where no browser opens, and what is to be said about
	// pasted lines. The URL holds the state of the attempt. Where it is nil,
	// SignIn fails when no browser opens.
	Output io.Writer

	// Input, where no browser opens, is read for the final URL of the journey,
	// pasted as one line; the redirect is still awaited, and what comes first
	// counts. A Read can't be interrupted: the goroutine that reads ends with
	// the line it waits for, or with Input, and takes that line with it.
	Input io.Reader

	// Page writes the page the person sees at the end; err is nil when they
	// are signed in. Its text may come from the server: escape it. The headers
	// of the built-in page are set already and can be replaced. Nil writes
	// the built-in page.
	Page func(w http.ResponseWriter, err error)
}

// SignIn listens on this machine, opens the browser at the sign-in page, waits
// for the redirect, redeems its code, and shows the person how it ended. It
// returns once that page is written and nothing listens any more.
//
// Both the query and the form_post response mode are received, whichever was
// asked for. The fragment mode needs Options.Input, since a fragment never
// reaches a server; web_message is refused.
//
// Only a callback with the right state ends the wait, and so does ctx: without
// a deadline SignIn waits for as long as the person takes. Errors of Begin and
// Complete are returned as they are; where the server answered
// error=access_denied, that is a *[piecesauth.Error] with this Code.
func SignIn(ctx context.Context, auth *piecesauth.Authenticator, opts Options) (*piecesauth.Token, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()

	var begin piecesauth.BeginOptions
	if opts.Begin != nil {
		begin = *opts.Begin
	}
	if opts.RedirectURL != "" {
		begin.RedirectURL = opts.RedirectURL
	}
	if begin.RedirectURL == "" {
		// An attempt that is thrown away tells what the Config says; an error
		// comes again below.
		if probe, err := auth.Begin(&begin); err == nil {
			begin.RedirectURL = probe.RedirectURL
		}
	}
	receiver, err := Listen(ctx, begin.RedirectURL)
	if err != nil {
		return nil, err
	}
	defer receiver.Close()
	receiver.Page = opts.Page
	begin.RedirectURL = receiver.RedirectURL()
	attempt, err := auth.Begin(&begin)
	if err != nil {
		return nil, err
	}
	byHand, err := needsPaste(attempt.URL)
	if err != nil {
		return nil, err
	}
	if byHand && opts.Input == nil {
		return nil, errors.New("loopback: ResponseMode fragment never reaches a server: set Options.Input, or use form_post or query")
	}

	s, err := receiver.serve(attempt.State)
	if err != nil {
		return nil, err
	}
	defer s.stop()

	var lines <-chan string
	if byHand {
		if err := opts.say("After signing in, paste the address the browser ends at, and press Enter:\n"); err != nil {
			return nil, err
		}
		lines = readLines(ctx, opts.Input)
	}
	opened := make(chan error, 1)
	switch {
	case opts.OpenBrowser != nil:
		go func() { opened <- opts.OpenBrowser(attempt.URL) }()
	case browserMissing():
		opened <- errors.New("this session has no display")
	default:
		go func() { opened <- openBrowser(attempt.URL) }()
	}

	for {
		select {
		case cb := <-s.callbacks:
			token, err := auth.Complete(ctx, attempt, cb.values)
			cb.finish(err)
			return token, err

		case err := <-opened:
			if err == nil || s.claimed.Load() {
				continue // the person is on the way, or there already
			}
			if opts.Output == nil {
				return nil, openFailed(err, attempt.State)
			}
			if err := opts.say("Open this address in a browser to sign in:\n\n%s\n\n", attempt.URL); err != nil {
				return nil, err
			}
			if opts.Input != nil && lines == nil {
				if err := opts.say("Then paste the address the browser ends at, and press Enter:\n"); err != nil {
					return nil, err
				}
				lines = readLines(ctx, opts.Input)
			}

		case line, more := <-lines:
			if !more {
				if byHand {
					return nil, errors.New("loopback: Options.Input ended before the final URL was pasted")
				}
				lines = nil // the redirect may still come
				continue
			}
			if line = strings.TrimSpace(line); line == "" {
				continue
			}
			values, err := piecesauth.ParseCallback(line)
			if err != nil || !answers(values, attempt.State) {
				if err := opts.say("That is not the address this sign-in ends at. Try again:\n"); err != nil {
					return nil, err
				}
				continue
			}
			if !s.claimed.CompareAndSwap(false, true) {
				continue // the browser was first
			}
			return auth.Complete(ctx, attempt, values)

		case err := <-s.failed:
			return nil, err

		case <-ctx.Done():
			return nil, ended(ctx)
		}
	}
}

// say writes to Output, if there is one.
func (o *Options) say(format string, args ...any) error {
	if o.Output == nil {
		return nil
	}
	if _, err := fmt.Fprintf(o.Output, format, args...); err != nil {
		return fmt.Errorf("loopback: writing to Options.Output: %w", err)
	}
	return nil
}

// needsPaste tells from the URL of an attempt whether its result stays in the
// browser's address bar.
func needsPaste(attemptURL string) (bool, error) {
	u, err := url.Parse(attemptURL)
	if err != nil {
		return false, errors.New("loopback: the URL of the attempt is not valid") // err would show it
	}
	switch piecesauth.ResponseMode(u.Query().Get("response_mode")) {
	case piecesauth.ResponseModeFragment:
		return true, nil
	case piecesauth.ResponseModeWebMessage:
		return false, errors.New("loopback: ResponseMode web_message never reaches a server: use form_post or query")
	}
	return false, nil
}

// openFailed keeps the state out of the text: the error of an opener likes to
// quote the URL.
func openFailed(err error, state string) error {
	const text = "loopback: no browser opened and Options.Output is nil"
	if strings.Contains(err.Error(), state) {
		return errors.New(text)
	}
	return fmt.Errorf(text+": %w", err)
}

func ended(ctx context.Context) error {
	return fmt.Errorf("loopback: waiting for the redirect: %w", ctx.Err())
}

// readLines sends the lines of in until it ends or ctx does.
func readLines(ctx context.Context, in io.Reader) <-chan string {
	lines := make(chan string)
	go func() {
		defer close(lines)
		scanner := bufio.NewScanner(in)
		scanner.Buffer(nil, 1<<20)
		for scanner.Scan() {
			select {
			case lines <- scanner.Text():
			case <-ctx.Done():
				return
			}
		}
	}()
	return lines
}
