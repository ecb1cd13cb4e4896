package loopback

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"syscall"

	"github.com/piecesauth/piecesauth/internal/exchange"
)

const (
	anyRedirectURL        = "http://127.0.0.1:0/callback"
	documentedRedirectURL = "http://localhost:3000/pkce/response/code"
)

// A Receiver waits for the redirect of one sign-in. [Listen] binds its port, so
// that a browser can be sent there; requests are answered while Wait runs.
type Receiver struct {
	// Page is as in [Options]. Set it before Wait.
	Page func(w http.ResponseWriter, err error)

	redirectURL string
	path        string
	listeners   []net.Listener
}

// Listen binds the port of redirectURL on the loopback interface, never on any
// other (RFC 8252 §7.3, §8.3). The host localhost means both 127.0.0.1 and ::1,
// if the machine has them; an IP address means itself. Port 0 takes a free
// port, and no port means 80. An empty redirectURL means
// http://127.0.0.1:0/callback.
//
// A redirectURL that isn't http on a loopback host is an error. So is a port in
// use: the text says which, and errors.Is finds syscall.EADDRINUSE.
func Listen(ctx context.Context, redirectURL string) (*Receiver, error) {
	redirectURL = cmp.Or(redirectURL, anyRedirectURL)
	u, err := parseRedirectURL("RedirectURL", redirectURL)
	if err != nil {
		return nil, err
	}
	r, err := listenAt(ctx, &net.ListenConfig{}, redirectURL, u)
	switch {
	case err == nil:
		return r, nil
	case ctx.Err() != nil:
		return nil, ended(ctx)
	case inUse(err):
		return nil, fmt.Errorf("loopback: RedirectURL: the port is in use: %w", err)
	}
	return nil, fmt.Errorf("loopback: RedirectURL: %w", err)
}

// listenFirst listens at the first redirect URL of the [Options] whose port is
// free.
func listenFirst(ctx context.Context, config *net.ListenConfig, o *Options, begin, configured string) (*Receiver, error) {
	if len(o.RedirectURLs) == 0 && o.RedirectURL != "" {
		return Listen(ctx, o.RedirectURL)
	}
	field, raws := redirectURLs(o, begin, configured)
	var urls []*url.URL
	var ports []string
	for _, raw := range raws {
		u, err := parseRedirectURL(field, raw) // each of them, before one is tried
		if err != nil {
			return nil, err
		}
		if port := cmp.Or(u.Port(), "80"); !slices.Contains(ports, port) {
			ports = append(ports, port)
		}
		urls = append(urls, u)
	}
	var taken error
	for i, u := range urls {
		r, err := listenAt(ctx, config, raws[i], u)
		switch {
		case err == nil:
			return r, nil
		case ctx.Err() != nil:
			return nil, ended(ctx)
		case !inUse(err) && !reserved(err):
			return nil, fmt.Errorf("loopback: %s: %w", field, err)
		}
		taken = cmp.Or(taken, err)
	}
	return nil, fmt.Errorf("loopback: can't listen on port %s: end what uses it, or set Options.RedirectURLs to more addresses registered for the client: %w",
		strings.Join(ports, ", "), taken)
}

// redirectURLs returns the URLs to try, and the name of the field that they
// come from.
func redirectURLs(o *Options, begin, config string) (field string, urls []string) {
	if len(o.RedirectURLs) > 0 {
		return "Options.RedirectURLs", o.RedirectURLs
	}
	return "RedirectURL", []string{cmp.Or(o.RedirectURL, begin, config, documentedRedirectURL)}
}

// parseRedirectURL checks that the redirect can be received on this machine.
func parseRedirectURL(field, raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		return nil, fmt.Errorf("loopback: %s is not a valid URL", field) // the reason would repeat it
	case u.Scheme != "http":
		return nil, fmt.Errorf("loopback: %s must begin with http://, which is what can be received on this machine", field)
	case !isLoopback(u.Host):
		return nil, fmt.Errorf("loopback: %s: host %q is not this machine: use localhost, 127.0.0.1 or [::1]", field, u.Hostname())
	case u.User != nil || strings.Contains(raw, "#"):
		return nil, fmt.Errorf("loopback: %s must have neither user nor fragment", field) // RFC 6749 §3.1.2
	}
	return u, nil
}

// listenAt listens where u says, which redirectURL was read as.
func listenAt(ctx context.Context, config *net.ListenConfig, redirectURL string, u *url.URL) (*Receiver, error) {
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	listeners, err := listen(ctx, config, u.Hostname(), cmp.Or(u.Port(), "80"))
	if err != nil {
		return nil, err
	}
	if port := u.Port(); port != "" && strings.Trim(port, "0") == "" {
		_, port, _ = net.SplitHostPort(listeners[0].Addr().String())
		u.Host = strings.TrimRight(u.Host, "0") + port
		redirectURL = u.String()
	}
	if u.Path == "" {
		u.Path = "/" // what a browser asks for
	}
	return &Receiver{redirectURL: redirectURL, path: u.Path, listeners: listeners}, nil
}

// RedirectURL returns the URL that Listen was called with; port 0 is replaced
// by the port that was found.
func (r *Receiver) RedirectURL() string { return r.redirectURL }

// Wait answers requests until one brings the state, in the query of a GET or in
// the form of a POST. It passes the parameters of that request to complete
// while the browser waits, shows the person the page for the error that
// complete returned, and returns that error. complete usually calls
// piecesauth.Authenticator.Complete, which distinguishes a code from an error:
//
//	err := receiver.Wait(ctx, attempt.State, func(callback url.Values) (err error) {
//		token, err = auth.Complete(ctx, attempt, callback)
//		return err
//	})
//
// The same callback again, for example after a reload, gets the same page. If a
// callback has the right state, but repeats a parameter of OAuth or has one
// that can't be read, Wait returns a *[piecesauth.Error] and complete is not
// called. Parameters that OAuth doesn't define are passed on as far as they can
// be read.
//
// Every other request is answered with 4xx and changes nothing. When ctx ends
// first, Wait returns its error. The receiver is closed when Wait returns, and
// leaves no goroutine.
func (r *Receiver) Wait(ctx context.Context, state string, complete func(callback url.Values) error) error {
	s, err := r.serve(state)
	if err != nil {
		return err
	}
	defer s.stop()
	select {
	case cb := <-s.callbacks:
		err := cb.err
		if err == nil {
			err = complete(cb.values)
		}
		s.finish(err)
		return err
	case err := <-s.failed:
		return err
	case <-ctx.Done():
		return ended(ctx)
	}
}

// Close stops listening, and ends a Wait in progress. It may be called again,
// and after Wait.
func (r *Receiver) Close() {
	for _, l := range r.listeners {
		_ = l.Close()
	}
}

// isLoopback reports whether the host, from a URL or a Host header, is this
// machine.
func isLoopback(host string) bool {
	return exchange.IsLoopback((&url.URL{Host: host}).Hostname())
}

// listen binds the port on the addresses of the host.
func listen(ctx context.Context, config *net.ListenConfig, host, port string) ([]net.Listener, error) {
	addrs := []string{host}
	if strings.EqualFold(host, "localhost") {
		addrs = []string{"127.0.0.1", "::1"} // whatever the resolver says
	}
	for tries := 10; ; tries-- {
		listeners, err := listenAll(ctx, config, addrs, port)
		switch {
		case err == nil:
			return listeners, nil
		case !inUse(err):
			return nil, err
		case strings.Trim(port, "0") == "" && tries > 1:
			continue // the port that is free on 127.0.0.1 is taken on ::1
		case !errors.Is(err, syscall.EADDRINUSE):
			return nil, fmt.Errorf("%w: %w", err, syscall.EADDRINUSE) // Windows has a number of its own
		}
		return nil, err
	}
}

// listenAll binds the same port on every address that this machine has. If one
// fails, all fail: half of localhost would leave the other half to another
// program.
func listenAll(ctx context.Context, config *net.ListenConfig, addrs []string, port string) ([]net.Listener, error) {
	var (
		listeners []net.Listener
		absent    error
	)
	for _, addr := range addrs {
		l, err := config.Listen(ctx, "tcp", net.JoinHostPort(addr, port))
		switch {
		case err == nil:
			listeners = append(listeners, l)
			_, port, _ = net.SplitHostPort(l.Addr().String())
		case noSuchAddress(err):
			absent = err
		default:
			for _, l := range listeners {
				_ = l.Close()
			}
			return nil, err
		}
	}
	if len(listeners) == 0 {
		return nil, absent
	}
	return listeners, nil
}

// Windows has numbers of its own (WSA…), which no other system counts up to so far.

func inUse(err error) bool { return isErrno(err, syscall.EADDRINUSE, 10048) }

// reserved reports whether the system keeps the port to itself: below 1024, or
// in a range that Hyper-V has taken.
func reserved(err error) bool { return isErrno(err, syscall.EACCES, 10013) }

func noSuchAddress(err error) bool {
	return isErrno(err, syscall.EADDRNOTAVAIL, 10049) || isErrno(err, syscall.EAFNOSUPPORT, 10047)
}

func isErrno(err error, unix, windows syscall.Errno) bool {
	return errors.Is(err, unix) || errors.Is(err, windows)
}
