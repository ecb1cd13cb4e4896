// Package loopback signs a person in with the system browser (RFC 8252) and
// receives the redirect on this machine.
//
//	token, err := loopback.SignIn(ctx, auth, loopback.Options{Output: os.Stderr})
//
// [SignIn] does the whole sign-in; [Token] does it only if no valid token is
// stored. [Listen] returns just the receiver, for programs that show the
// sign-in page themselves. [OpenBrowser] opens a page in the browser.
//
// Any program and any web page can send requests to a port of this machine. The
// receiver therefore answers 4xx to any request that does not carry the state
// of the attempt, and keeps waiting. It holds few connections, closes the slow
// ones first, and needs little memory for each.
//
// Errors caused by the authorization server or its callback are a
// *[piecesauth.Error]: the errors of Begin and Complete, unchanged, and one for
// a callback with the right state that can't be used. Errors of this machine,
// such as a port in use, no browser, a failing Output or Input, or the end of
// the context, begin with "loopback:" and wrap their cause. All are one line
// and hold no secret.
package loopback

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
	"unicode"

	"github.com/piecesauth/piecesauth"
)

// Options are the options of [SignIn] and [Token]. The zero value listens on
// the redirect URL that Pieces documents, and opens the system browser.
type Options struct {
	// RedirectURLs are the redirect URLs registered for the client; the first
	// one whose port is free is used. If it is empty, RedirectURL is used.
	RedirectURLs []string

	// RedirectURL is where the browser comes back to. It must be registered for
	// the client. Port 0 takes a free port, for servers that accept any (RFC
	// 8252 §7.3). If it is empty, the RedirectURL of Begin is used, or else
	// that of piecesauth.Config, or else the documented
	// http://localhost:3000/pkce/response/code. See [Listen].
	RedirectURL string

	// Begin is passed to piecesauth.Authenticator.Begin. With Input, an empty
	// ResponseMode becomes query if form_post is configured.
	Begin *piecesauth.BeginOptions

	// OpenBrowser shows the URL to the person. It runs in its own goroutine,
	// which SignIn doesn't wait for, because some browsers don't return until
	// their window is closed. If it is nil, [OpenBrowser] is used, but in an
	// SSH session, and on a Unix machine without a display, nothing is opened
	// unless $BROWSER is set.
	OpenBrowser func(url string) error

	// Remote means that the browser is on another machine, which SignIn can't
	// always detect. Then no browser is opened, and Input is read from the
	// start. If the port is in use, that is not an error, since the URL can be
	// pasted.
	Remote bool

	// Output gets the URL, and messages about pasted lines. Show it to the
	// person, because a browser may fail to open without any error. The URL
	// contains the state of the attempt. If Output is nil, SignIn fails when no
	// browser opens.
	Output io.Writer

	// Input is read, if no browser opens, for the final URL of the sign-in,
	// pasted as one line. The redirect is still awaited, and whichever comes
	// first is used. A Read can't be interrupted: the goroutine that reads ends
	// with the line it waits for, or with Input, and consumes that line.
	Input io.Reader

	// Page writes the page that the person sees at the end; err is nil if they
	// are signed in. Escape its text, which may come from the server. The
	// headers of the built-in page are set already and can be replaced. If Page
	// is nil, the built-in page is shown.
	Page func(w http.ResponseWriter, err error)
}

// Token returns the token of the source. If the error is
// [piecesauth.ErrSignInRequired], it signs the person in with [SignIn], and
// saves the new token in the source. Any other error, such as that of a file
// that can't be read, it returns; [SignIn] and the source's Save mend that.
//
// If the new token can't be saved, Token returns it together with the error,
// because the sign-in has happened.
func Token(ctx context.Context, source *piecesauth.TokenSource, auth *piecesauth.Authenticator, opts Options) (*piecesauth.Token, error) {
	token, err := source.Token(ctx)
	if !errors.Is(err, piecesauth.ErrSignInRequired) {
		return token, err
	}
	if token, err = SignIn(ctx, auth, opts); err != nil {
		return nil, err
	}
	// The new token must not be lost because the caller leaves just then.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), saveTimeout)
	defer cancel()
	return token, source.Save(ctx, token)
}

const saveTimeout = 30 * time.Second

// SignIn listens on this machine, opens the sign-in page in the browser, waits
// for the redirect, redeems its code, and shows the person the result. It
// returns once that page has been written and nothing listens any more.
//
// It receives both the query and the form_post response mode, whichever was
// asked for. The fragment mode needs Options.Input, since a fragment never
// reaches a server; web_message is refused.
//
// Only a callback with the right state, or the end of ctx, ends the wait:
// without a deadline SignIn waits as long as the person takes. It returns the
// errors of Begin and Complete unchanged; if the server answered
// error=access_denied, that is a *[piecesauth.Error] with this Code.
func SignIn(ctx context.Context, auth *piecesauth.Authenticator, opts Options) (*piecesauth.Token, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s, err := begin(ctx, auth, &opts)
	if err != nil {
		return nil, err
	}
	defer s.receiver.Close()
	if s.session, err = s.receiver.serve(s.attempt.State); err != nil {
		return nil, err
	}
	defer s.session.stop()
	if err := s.invite(ctx); err != nil {
		return nil, err
	}
	for {
		select {
		case cb := <-s.session.callbacks:
			return s.complete(ctx, cb)
		case err := <-s.opened:
			if err := s.openerEnded(ctx, err); err != nil {
				return nil, err
			}
		case line := <-s.lines:
			cb, err := s.pasted(line)
			if err != nil {
				return nil, err
			}
			if cb != nil {
				return s.complete(ctx, *cb)
			}
		case <-s.session.gate.tls:
			// This is only a hint, so a failure to write it is ignored.
			_ = s.say("A browser came by https, which nothing here answers. Change https:// to http:// in its address bar, and press Enter.\n")
		case err := <-s.session.failed:
			return nil, err
		case <-ctx.Done():
			return nil, ended(ctx)
		}
	}
}

// signIn is one SignIn in progress.
type signIn struct {
	auth      *piecesauth.Authenticator
	options   *Options
	attempt   *piecesauth.Attempt
	receiver  *Receiver
	session   *session
	fragment  bool        // the result stays in the browser's address bar
	pasteOnly bool        // it can't be received
	remote    bool        // the browser is probably on another machine
	opened    chan error  // the result of the opener
	lines     <-chan line // of Input; nil while it isn't read
	unsaid    error       // why the URL could not be written to Output
}

// begin listens where the browser can come back to, and makes the attempt.
func begin(ctx context.Context, auth *piecesauth.Authenticator, o *Options) (*signIn, error) {
	config := auth.Config()
	var options piecesauth.BeginOptions
	if o.Begin != nil {
		options = *o.Begin
	}
	s := &signIn{auth: auth, options: o, opened: make(chan error, 1), remote: o.Remote || o.OpenBrowser == nil && browserMissing()}
	if options.ResponseMode == "" {
		options.ResponseMode = config.ResponseMode
		if o.Input != nil && config.ResponseMode == piecesauth.ResponseModeFormPost {
			options.ResponseMode = piecesauth.ResponseModeQuery // a form leaves no code in the address to paste
		}
	}
	switch options.ResponseMode {
	case piecesauth.ResponseModeFragment:
		if s.fragment, s.pasteOnly = true, true; o.Input == nil {
			return nil, errors.New("loopback: ResponseMode fragment never reaches a server: set Options.Input, or use form_post or query")
		}
	case piecesauth.ResponseModeWebMessage:
		return nil, errors.New("loopback: ResponseMode web_message never reaches a server: use form_post or query")
	}
	var err error
	s.receiver, err = listenFirst(ctx, &net.ListenConfig{}, o, options.RedirectURL, config.RedirectURL)
	if s.remote && o.Input != nil && (inUse(err) || reserved(err)) {
		// The browser is on another machine, so it does not matter who listens
		// here.
		_, urls := redirectURLs(o, options.RedirectURL, config.RedirectURL)
		s.receiver, s.pasteOnly, err = &Receiver{redirectURL: urls[0]}, true, nil
	}
	if err != nil {
		return nil, err
	}
	s.receiver.Page = o.Page
	options.RedirectURL = s.receiver.RedirectURL()
	if s.attempt, err = auth.Begin(&options); err != nil {
		s.receiver.Close()
		return nil, err
	}
	return s, nil
}

// invite shows the person how to reach the sign-in page.
func (s *signIn) invite(ctx context.Context) error {
	open := s.options.OpenBrowser
	switch {
	case s.options.Remote:
		open = nil
	case open == nil && (!s.remote || browserChosen()):
		open = func(url string) error { return openWithin(url, openerTimeout) }
	}
	text := "Opening a browser to sign in. If none appears, open this address:"
	if open == nil {
		text = "Open this address in a browser to sign in:"
	}
	s.unsaid = s.say("%s\n\n%s\n\n", text, s.attempt.URL)
	if open == nil && s.options.Output == nil {
		return openFailed(errors.New("the browser would be on another machine"), s.attempt.State)
	}
	if s.unsaid != nil && (open == nil || s.pasteOnly) {
		return s.unsaid
	}
	if s.pasteOnly || s.remote {
		if err := s.read(ctx); err != nil {
			return err
		}
	}
	if open != nil {
		go runOpener(open, s.attempt.URL, s.opened)
	}
	return nil
}

// runOpener sends the result of the opener, even if it panics, because no
// caller could recover from a panic in this goroutine.
func runOpener(open func(string) error, url string, opened chan<- error) {
	err := errors.New("Options.OpenBrowser panicked")
	defer func() {
		_ = recover() // whose value may hold the URL
		opened <- err
	}()
	err = open(url)
}

// openerEnded asks the person to do what the opener could not.
func (s *signIn) openerEnded(ctx context.Context, err error) error {
	switch {
	case err == nil || s.session.claimed():
		return nil // the person is on the way, or there already
	case s.options.Output == nil:
		return openFailed(err, s.attempt.State)
	case s.unsaid != nil:
		return s.unsaid
	}
	if err := s.say("No browser could be opened here: open the address above.\n"); err != nil {
		return err
	}
	return s.read(ctx)
}

// complete redeems the code of a callback, and shows the result to every
// browser that brought it.
func (s *signIn) complete(ctx context.Context, cb received) (token *piecesauth.Token, err error) {
	if err = cb.err; err == nil {
		token, err = s.auth.Complete(ctx, s.attempt, cb.values)
	}
	s.session.finish(err)
	return token, err
}

// say writes to Output, if there is one.
func (s *signIn) say(format string, args ...any) error {
	if s.options.Output == nil {
		return nil
	}
	if _, err := fmt.Fprintf(s.options.Output, format, args...); err != nil {
		return fmt.Errorf("loopback: writing to Options.Output: %w", err)
	}
	return nil
}

// openFailed removes the state and line breaks from the text, because the error
// of an opener often quotes the URL, or what a command printed.
func openFailed(err error, state string) error {
	const text = "loopback: no browser opened and Options.Output is nil"
	if strings.Contains(err.Error(), state) || strings.ContainsFunc(err.Error(), func(r rune) bool { return !unicode.IsPrint(r) }) {
		return &caused{text, err}
	}
	return fmt.Errorf(text+": %w", err)
}

// caused is an error whose cause is not shown.
type caused struct {
	text  string
	cause error
}

func (c *caused) Error() string        { return c.text }
func (c *caused) GoString() string     { return c.text }
func (c *caused) Is(target error) bool { return errors.Is(c.cause, target) }
func (c *caused) As(target any) bool   { return errors.As(c.cause, target) }

func ended(ctx context.Context) error {
	return fmt.Errorf("loopback: waiting for the redirect: %w", ctx.Err())
}
