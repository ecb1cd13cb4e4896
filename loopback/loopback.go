// Package loopback signs a person in with the system browser (RFC 8252) and
// catches the redirect on this machine.
//
//	token, err := loopback.SignIn(ctx, auth, loopback.Options{Output: os.Stderr})
//
// [SignIn] is the whole journey, [Token] takes it only where no good token is
// stored. [Listen] is the receiver alone, for programs that show the sign-in
// page, or the way to it, themselves; [OpenBrowser] is what shows it.
//
// Any program and any web page can send requests to a port of this machine.
// The receiver therefore answers 4xx to whatever does not carry the state of
// the attempt, and keeps waiting; it holds few connections, closes the slow
// ones first, and needs little memory for any of them.
//
// What the authorization server or its callback is to blame for is a
// *[piecesauth.Error]: the errors of Begin and Complete, as they are, and a
// callback with the right state that can't be used. What happens on this
// machine is not: a port in use, no browser, Output or Input that fails, and
// the end of the context are errors that begin with "loopback:" and wrap their
// cause. All are one line and hold no secret.
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

// Options say how [SignIn] goes about it. The zero value listens where Pieces
// documents it, and opens the system browser.
type Options struct {
	// RedirectURLs are those registered for the client: the browser comes back
	// to the first whose port is free. Empty: RedirectURL.
	RedirectURLs []string

	// RedirectURL is where the browser comes back to, as registered for the
	// client. Port 0 takes a free one, for servers that take any (RFC 8252
	// §7.3). Empty: that of Begin, else that of piecesauth.Config, else the
	// documented http://localhost:3000/pkce/response/code. See [Listen].
	RedirectURL string

	// Begin is passed on to piecesauth.Authenticator.Begin. With Input, an
	// empty ResponseMode takes query for the configured form_post.
	Begin *piecesauth.BeginOptions

	// OpenBrowser shows the URL to the person. It runs in a goroutine of its
	// own, which SignIn doesn't wait for: some browsers keep their opener
	// until their window is closed. Nil is [OpenBrowser], except in an SSH
	// session and on a Unix machine without a display, where nothing is opened
	// unless $BROWSER names what to.
	OpenBrowser func(url string) error

	// Remote says that the browser is on another machine, which SignIn can't
	// always tell: none is opened, and Input is read from the start. Should the
	// port be taken, that is no error then, since lines can be pasted.
	Remote bool

	// Output gets the URL, and what is to be said about pasted lines. A
	// browser may not open without anybody noticing: show it to the person.
	// The URL holds the state of the attempt. Where Output is nil, SignIn
	// fails when no browser opens.
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

// Token returns the token of the source. Where that is
// [piecesauth.ErrSignInRequired], it signs the person in with [SignIn], and
// saves the new token in the source.
//
// A token that can't be saved is returned together with the error: the sign-in
// has happened.
func Token(ctx context.Context, source *piecesauth.TokenSource, auth *piecesauth.Authenticator, opts Options) (*piecesauth.Token, error) {
	token, err := source.Token(ctx)
	if !errors.Is(err, piecesauth.ErrSignInRequired) {
		return token, err
	}
	if token, err = SignIn(ctx, auth, opts); err != nil {
		return nil, err
	}
	// What was got must not get lost because the caller leaves just then.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), saveTimeout)
	defer cancel()
	return token, source.Save(ctx, token)
}

const saveTimeout = 30 * time.Second

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
			// Whoever reads this has nothing better; a failure to say it is no loss.
			_ = s.say("A browser came by https, which nothing here answers. Change https:// to http:// in its address bar, and press Enter.\n")
		case err := <-s.session.failed:
			return nil, err
		case <-ctx.Done():
			return nil, ended(ctx)
		}
	}
}

// signIn is one SignIn on its way.
type signIn struct {
	auth      *piecesauth.Authenticator
	options   *Options
	attempt   *piecesauth.Attempt
	receiver  *Receiver
	session   *session
	fragment  bool        // the result stays in the browser's address bar
	pasteOnly bool        // it can't be received
	remote    bool        // the browser is probably on another machine
	opened    chan error  // how the opener ended
	lines     <-chan line // of Input; nil while it isn't read
	unsaid    error       // why Output has not got the URL
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
		// The browser's machine is another one: who listens here is all the same to it.
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

// invite shows the person the way to the sign-in page.
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

// runOpener sends how the opener ended, even if it panics: nobody could
// recover from that in this goroutine.
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

// complete redeems the code of a callback, and shows how that ended to every
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

// openFailed keeps the state out of the text, and lines: the error of an
// opener likes to quote the URL, or what a command printed.
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
