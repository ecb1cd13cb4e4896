package loopback_test

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/piecesauth/piecesauth"
	"github.com/piecesauth/piecesauth/loopback"
)

// Where lines may be pasted, the answer is asked for in the address, unless the
// program says otherwise.
func TestSignInResponseMode(t *testing.T) {
	const formPost, query, fragment = piecesauth.ResponseModeFormPost, piecesauth.ResponseModeQuery, piecesauth.ResponseModeFragment
	for _, tt := range []struct {
		name          string
		config, begin piecesauth.ResponseMode
		input         bool
		want          piecesauth.ResponseMode
	}{
		{"no Input", "", "", false, formPost},
		{"Input", "", "", true, query},
		{"Input, form_post in Config", formPost, "", true, query},
		{"Input, query in Config", query, "", true, query},
		{"Input, fragment in Config", fragment, "", true, fragment},
		{"Input, form_post in Begin", "", formPost, true, formPost},
		{"Input, fragment in Begin", "", fragment, true, fragment},
		{"query in Begin", "", query, false, query},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newProvider(t)
			b := p.browser("POST", nil)
			options := loopback.Options{OpenBrowser: b.open, Begin: &piecesauth.BeginOptions{ResponseMode: tt.begin, Prompt: "login"}}
			if tt.input {
				in, paste := io.Pipe()
				t.Cleanup(func() { _ = paste.Close() })
				options.Input = in
			}
			_, err := loopback.SignIn(t.Context(), p.authenticator(t, piecesauth.Config{ResponseMode: tt.config}), options)
			require.NoError(t, err)
			require.Equal(t, string(tt.want), p.attempt.Get("response_mode"))
			require.Equal(t, "login", p.attempt.Get("prompt"))
			require.Equal(t, tt.begin, options.Begin.ResponseMode, "the caller's options are the caller's")
		})
	}
}

// What a right line begins with is said, and of a wrong one what is wrong.
func TestSignInPastedLines(t *testing.T) {
	for _, tt := range []struct {
		name, redirectURL string
		mode              piecesauth.ResponseMode
		begins            string // after the redirect URL
	}{
		{"query", "http://127.0.0.1:0/cb", "", "?"},
		{"a redirect URL with a query", "http://127.0.0.1:0/cb?x=1", "", "&"},
		{"fragment", "http://127.0.0.1:0/cb", piecesauth.ResponseModeFragment, "#"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newProvider(t)
			out := newOutput(t)
			in, paste := io.Pipe()
			done := start(t.Context(), p.authenticator(t, piecesauth.Config{ResponseMode: tt.mode}),
				loopback.Options{RedirectURL: tt.redirectURL, OpenBrowser: noBrowser, Output: out, Input: in})
			redirectURI, result := p.visit(out.until(t, p.URL+"/authorize?"), nil)
			begins := redirectURI + tt.begins
			require.Equal(t, "Then paste the address the browser ends at, and press Enter. It begins with "+begins, out.until(t, "Then paste"))
			state := url.QueryEscape(result.Get("state"))
			for line, problem := range map[string]string{
				"what?":                   "it has neither code nor error that can be read",
				"planted-code":            "it has neither code nor error that can be read",
				"code=planted-code":       "it has neither code nor error that can be read",
				redirectURI:               "it has neither code nor error that can be read",
				begins + "code=%zz":       "it has neither code nor error that can be read",
				begins + "state=" + state: "it has neither code nor error that can be read",
				begins + "code=planted": "it has no state, so its end may be missing; where a terminal cuts long lines, " +
					"code=…&state=… out of it is enough",
				begins + "code=planted&state=planted":                      "it has the state of another sign-in",
				"code=planted&state=" + state[1:]:                          "it has the state of another sign-in",
				begins + "error=access_denied&state=":                      "it has the state of another sign-in",
				begins + "code=planted&state=planted&state=planted":        "it has the state more than once",
				begins + "code=planted&state=" + state + "&state=" + state: "it has the state more than once",
				begins + "code=planted&code=planted&state=" + state:        "it has code more than once",
				begins + "code=planted&iss=a&iss=b&state=" + state:         "it has iss more than once",
			} {
				_, err := fmt.Fprintln(paste, line)
				require.NoError(t, err)
				require.Equal(t, "That is not the address this sign-in ends at, which begins with "+begins+": "+problem+". Try again:",
					out.until(t, "That is not"), line)
			}
			_, err := fmt.Fprintln(paste, begins+result.Encode())
			require.NoError(t, err)
			require.NoError(t, (<-done).err)
			require.NoError(t, paste.Close())
			p.Close()
			goleak.VerifyNone(t)
		})
	}
}

// What people paste besides the address alone.
func TestSignInPastedForms(t *testing.T) {
	for _, form := range []string{
		"%s?%s", `"%s?%s"`, "'%s?%s'", "<%s?%s>", "`%s?%s`", "%s#%s", "%s?session_state=a;b&hd=100%%&%s", "\t%s?%s \r", "“%s?%s”",
		"%[2]s", `"%[2]s"`, "?%[2]s", "#%[2]s", "x=%%&%[2]s", "https://localhost/other?%[2]s",
	} {
		t.Run(form, func(t *testing.T) {
			p := newProvider(t)
			out := newOutput(t)
			in, paste := io.Pipe()
			done := start(t.Context(), p.authenticator(t, piecesauth.Config{}), loopback.Options{OpenBrowser: noBrowser, Output: out, Input: in})
			redirectURI, result := p.visit(out.until(t, p.URL+"/authorize?"), nil)
			_, err := fmt.Fprintf(paste, form+"\n", redirectURI, result.Encode())
			require.NoError(t, err)
			end := <-done
			require.NoError(t, end.err)
			require.Equal(t, "planted-access-token", end.token.AccessToken)
			require.NoError(t, paste.Close())
		})
	}
}

// Over SSH the address is printed and lines are read from the start. Where
// $BROWSER says what to open with, as an editor's remote session does, both.
func TestSignInOverSSH(t *testing.T) {
	for _, browser := range []string{"", "true", "none", "/nowhere/browser"} {
		t.Run(browser, func(t *testing.T) {
			if browser == "true" && runtime.GOOS == "windows" {
				t.Skip("Windows has no program of that name")
			}
			t.Setenv("SSH_CONNECTION", "192.0.2.1 50000 192.0.2.2 22")
			t.Setenv("BROWSER", browser)
			t.Setenv("PATH", "/bin:/usr/bin")
			p := newProvider(t)
			out := newOutput(t)
			in, paste := io.Pipe()
			done := start(t.Context(), p.authenticator(t, piecesauth.Config{}), loopback.Options{Output: out, Input: in})
			first, err := out.ReadString('\n')
			require.NoError(t, err)
			want := "Opening a browser to sign in. If none appears, open this address:\n"
			if browser == "" {
				want = "Open this address in a browser to sign in:\n"
			}
			require.Equal(t, want, first)
			redirectURI, result := p.visit(out.until(t, p.URL+"/authorize?"), nil)
			require.Equal(t, "query", p.attempt.Get("response_mode"))
			out.until(t, "Then paste")
			_, err = fmt.Fprintln(paste, redirectURI+"?"+result.Encode())
			require.NoError(t, err)
			require.NoError(t, (<-done).err)
			require.NoError(t, paste.Close())
		})
	}
}

// A browser on another machine doesn't care who has the port on this one.
func TestSignInRemote(t *testing.T) {
	taken, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	redirectURL := "http://" + taken.Addr().String() + "/cb"
	for _, options := range []loopback.Options{
		{RedirectURL: redirectURL},
		{RedirectURLs: []string{redirectURL}},
		{RedirectURLs: []string{redirectURL, redirectURL + "2"}, OpenBrowser: func(string) error { panic("not opened") }},
		{RedirectURL: "http://127.0.0.1:0/cb"},
	} {
		p := newProvider(t)
		out := newOutput(t)
		in, paste := io.Pipe()
		options.Remote, options.Output, options.Input = true, out, in
		done := start(t.Context(), p.authenticator(t, piecesauth.Config{}), options)
		redirectURI, result := p.visit(out.until(t, p.URL+"/authorize?"), nil)
		require.Equal(t, "query", p.attempt.Get("response_mode"))
		if options.RedirectURL != "http://127.0.0.1:0/cb" {
			require.Equal(t, redirectURL, redirectURI)
		}
		out.until(t, "Then paste")
		_, err = fmt.Fprintln(paste, redirectURI+"?"+result.Encode())
		require.NoError(t, err)
		require.NoError(t, (<-done).err)
		require.NoError(t, paste.Close())
	}

	p := newProvider(t)
	auth := p.authenticator(t, piecesauth.Config{})
	_, err = loopback.SignIn(t.Context(), auth, loopback.Options{RedirectURL: redirectURL, Remote: true, Output: io.Discard})
	require.ErrorIs(t, err, syscall.EADDRINUSE, "nothing to paste into")
	_, err = loopback.SignIn(t.Context(), auth, loopback.Options{RedirectURL: redirectURL, Remote: true, Output: io.Discard, Input: strings.NewReader("")})
	require.EqualError(t, err, "loopback: Options.Input ended before the final URL was pasted")
	_, err = loopback.SignIn(t.Context(), auth, loopback.Options{RedirectURL: "https://example.com/", Remote: true, Output: io.Discard, Input: strings.NewReader("")})
	require.ErrorContains(t, err, "RedirectURL must begin with http://")
	_, err = loopback.SignIn(t.Context(), auth, loopback.Options{RedirectURL: redirectURL, Remote: true, Input: strings.NewReader("")})
	require.EqualError(t, err, "loopback: no browser opened and Options.Output is nil: the browser would be on another machine")
}

type panics struct{}

func (panics) Read([]byte) (int, error) { panic("planted-panic") }

type fails struct{}

func (fails) Read([]byte) (int, error) { return 0, errors.New("the terminal is gone") }

// A panic of the caller's, or the end of its goroutine, in a goroutine of ours
// is an error.
func TestSignInCallersPanic(t *testing.T) {
	p := newProvider(t)
	for _, tt := range []struct {
		name    string
		config  piecesauth.Config
		options loopback.Options
		want    string
	}{
		{"OpenBrowser", piecesauth.Config{}, loopback.Options{OpenBrowser: func(url string) error { panic(url) }},
			"loopback: no browser opened and Options.Output is nil: Options.OpenBrowser panicked"},
		{"OpenBrowser leaves", piecesauth.Config{}, loopback.Options{OpenBrowser: func(string) error { runtime.Goexit(); return nil }},
			"loopback: no browser opened and Options.Output is nil: Options.OpenBrowser panicked"},
		{"Input", piecesauth.Config{ResponseMode: piecesauth.ResponseModeFragment}, loopback.Options{OpenBrowser: func(string) error { return nil }, Input: panics{}},
			"loopback: reading Options.Input for the final URL: Read panicked"},
		{"Input fails", piecesauth.Config{ResponseMode: piecesauth.ResponseModeFragment}, loopback.Options{OpenBrowser: func(string) error { return nil }, Input: fails{}},
			"loopback: reading Options.Input for the final URL: the terminal is gone"},
		{"OpenBrowser fails in several lines", piecesauth.Config{}, loopback.Options{OpenBrowser: func(string) error { return errors.New("exit status 1\nusage: x") }},
			"loopback: no browser opened and Options.Output is nil"},
	} {
		_, err := loopback.SignIn(t.Context(), p.authenticator(t, tt.config), tt.options)
		require.EqualError(t, err, tt.want, tt.name)
	}

	// Where there is another way, it is taken.
	out := newOutput(t)
	done := start(t.Context(), p.authenticator(t, piecesauth.Config{}),
		loopback.Options{OpenBrowser: func(string) error { panic("x") }, Output: out, Input: panics{}})
	authorizationURL := out.until(t, p.URL+"/authorize?")
	out.until(t, "No browser could be opened here: open the address above.")
	require.NoError(t, p.browser("GET", nil).open(authorizationURL))
	require.NoError(t, (<-done).err)
}

// An Output that can't be written to stops nobody who has a browser.
func TestSignInOutputFails(t *testing.T) {
	p := newProvider(t)
	token, err := loopback.SignIn(t.Context(), p.authenticator(t, piecesauth.Config{}),
		loopback.Options{OpenBrowser: p.browser("POST", nil).open, Output: failingWriter{}})
	require.NoError(t, err)
	require.Equal(t, "planted-access-token", token.AccessToken)

	t.Setenv("SSH_CONNECTION", "192.0.2.1 50000 192.0.2.2 22")
	t.Setenv("BROWSER", "")
	_, err = loopback.SignIn(t.Context(), p.authenticator(t, piecesauth.Config{}), loopback.Options{Output: failingWriter{}})
	require.EqualError(t, err, "loopback: writing to Options.Output: no space left on device")
	_, err = loopback.SignIn(t.Context(), p.authenticator(t, piecesauth.Config{}), loopback.Options{})
	require.EqualError(t, err, "loopback: no browser opened and Options.Output is nil: the browser would be on another machine")
}

// A browser that makes https of http shows a page of its own that says little:
// the program says what to do, and the wait goes on.
func TestSignInOverHTTPS(t *testing.T) {
	p := newProvider(t)
	out := newOutput(t)
	done := start(t.Context(), p.authenticator(t, piecesauth.Config{}), loopback.Options{OpenBrowser: func(string) error { return nil }, Output: out})
	authorizationURL := out.until(t, p.URL+"/authorize?")
	redirectURI, _ := p.visit(authorizationURL, nil)
	u, err := url.Parse(redirectURI)
	require.NoError(t, err)
	for range 3 { // as browsers do, and told once is enough
		conn := tls.Client(dial(t, u.Host), &tls.Config{ServerName: "localhost"})
		require.Error(t, conn.HandshakeContext(t.Context()))
	}
	out.until(t, "A browser came by https, which nothing here answers. Change https:// to http:// in its address bar, and press Enter.")
	require.NoError(t, p.browser("GET", nil).open(authorizationURL))
	require.NoError(t, (<-done).err)
}

// A refused callback ends SignIn, and the page says so.
func TestSignInRefusedCallback(t *testing.T) {
	p := newProvider(t)
	token, err := loopback.SignIn(t.Context(), p.authenticator(t, piecesauth.Config{}), loopback.Options{OpenBrowser: func(authorizationURL string) error {
		redirectURI, result := p.visit(authorizationURL, nil)
		res, err := http.Get(redirectURI + "?code=x&" + result.Encode()) //nolint:noctx // the browser
		if !assert.NoError(t, err) {
			return err
		}
		defer res.Body.Close()
		page, err := io.ReadAll(res.Body)
		assert.Equal(t, http.StatusBadRequest, res.StatusCode)
		assert.Contains(t, string(page), "the redirect has code more than once")
		return err
	}})
	require.Nil(t, token)
	require.EqualError(t, err, "piecesauth: callback: the redirect has code more than once (RFC 6749 §3.1): sign in again")
	require.ErrorAs(t, err, new(*piecesauth.Error))
}
