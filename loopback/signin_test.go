package loopback_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/piecesauth/piecesauth"
	"github.com/piecesauth/piecesauth/loopback"
)

const code = "planted-code-q5zhkX2v"

// provider is an authorization server whose sign-in page is the stub browser:
// it redeems the code for who began the attempt.
type provider struct {
	*httptest.Server
	mu      sync.Mutex
	attempt url.Values // the query of the authorization URL
	denies  bool       // at the token endpoint
}

func newProvider(t *testing.T) *provider {
	p := &provider{}
	p.Server = httptest.NewServer(p)
	t.Cleanup(p.Close)
	return p
}

func (p *provider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	sum := sha256.Sum256([]byte(r.PostFormValue("code_verifier")))
	w.Header().Set("Content-Type", "application/json")
	if p.denies || r.URL.Path != "/oauth/token" || r.PostFormValue("code") != code ||
		r.PostFormValue("redirect_uri") != p.attempt.Get("redirect_uri") ||
		base64.RawURLEncoding.EncodeToString(sum[:]) != p.attempt.Get("code_challenge") {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = io.WriteString(w, `{"error":"invalid_grant","error_description":"the <b>code</b> is spent"}`)
		return
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"access_token": "planted-access-token", "token_type": "Bearer", "expires_in": 86400})
}

func (p *provider) authenticator(t *testing.T, config piecesauth.Config) *piecesauth.Authenticator {
	config.BaseURL, config.ClientID, config.Audience = p.URL, "client", "https://example.com/api/"
	if config.RedirectURL == "" {
		config.RedirectURL = "http://127.0.0.1:0/callback" // the default has a fixed port
	}
	auth, err := piecesauth.New(config)
	require.NoError(t, err)
	return auth
}

// visit is what the person's browser does first: it returns the redirect_uri and
// the result that the server sends there.
func (p *provider) visit(authorizationURL string, result url.Values) (string, url.Values) {
	u, err := url.Parse(authorizationURL)
	if err != nil {
		return "", nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.attempt = u.Query()
	if result == nil {
		result = url.Values{"code": {code}}
	}
	result.Set("state", p.attempt.Get("state"))
	return p.attempt.Get("redirect_uri"), result
}

// browser signs in, and keeps what the person sees.
type browser struct {
	p      *provider
	method string
	result url.Values
	page   chan string
	opened string
}

func (p *provider) browser(method string, result url.Values) *browser {
	return &browser{p, method, result, make(chan string, 1), ""}
}

func (b *browser) open(authorizationURL string) error {
	b.opened = authorizationURL
	redirectURI, result := b.p.visit(authorizationURL, b.result)
	body := strings.NewReader("")
	target := redirectURI + "?" + result.Encode()
	if b.method == http.MethodPost {
		target, body = redirectURI, strings.NewReader(result.Encode())
	}
	req, err := http.NewRequestWithContext(context.Background(), b.method, target, body)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", formType)
	req.Header.Set("Origin", "null")
	res, err := (&http.Client{Transport: &http.Transport{}}).Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	page, err := io.ReadAll(res.Body)
	b.page <- fmt.Sprint(res.StatusCode, " ", string(page))
	return err
}

func TestSignIn(t *testing.T) {
	tests := []struct {
		name, method string
		mode         piecesauth.ResponseMode
		config       string // RedirectURL
		options      loopback.Options
		redirect     string // what it begins with
	}{
		{"form_post", "POST", "", "", loopback.Options{}, "http://127.0.0.1:"},
		{"query", "GET", piecesauth.ResponseModeQuery, "", loopback.Options{}, "http://127.0.0.1:"},
		{"form_post, answered by query", "GET", piecesauth.ResponseModeFormPost, "", loopback.Options{}, "http://127.0.0.1:"},
		{"query, answered by form_post", "POST", piecesauth.ResponseModeQuery, "", loopback.Options{}, "http://127.0.0.1:"},
		{"RedirectURL of Config", "POST", "", "http://localhost:0/config", loopback.Options{}, "http://localhost:"},
		{"RedirectURL of Begin", "POST", "", "https://example.com/", loopback.Options{Begin: &piecesauth.BeginOptions{RedirectURL: "http://[::1]:0/begin"}}, "http://[::1]:"},
		{"RedirectURL of Options", "POST", "", "https://example.com/", loopback.Options{
			RedirectURL: "http://localhost:0/pkce/response/code", Begin: &piecesauth.BeginOptions{RedirectURL: "https://example.com/"},
		}, "http://localhost:"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if strings.Contains(tt.redirect, "::1") && !hasIPv6() {
				t.Skip("this machine has no ::1")
			}
			p := newProvider(t)
			b := p.browser(tt.method, nil)
			var output bytes.Buffer
			tt.options.OpenBrowser, tt.options.Output = b.open, &output
			auth := p.authenticator(t, piecesauth.Config{ResponseMode: tt.mode, RedirectURL: tt.config})
			token, err := loopback.SignIn(t.Context(), auth, tt.options)
			require.NoError(t, err)
			require.Equal(t, "planted-access-token", token.AccessToken)
			page := <-b.page
			assert.True(t, strings.HasPrefix(page, "200 "))
			assert.Contains(t, page, "You are signed in")
			assert.NotContains(t, page, "planted")
			assert.NotContains(t, page, p.attempt.Get("state"))
			assert.True(t, strings.HasPrefix(p.attempt.Get("redirect_uri"), tt.redirect), p.attempt.Get("redirect_uri"))
			assert.Equal(t, "Opening a browser to sign in. If none appears, open this address:\n\n"+b.opened+"\n\n", output.String())
			u, err := url.Parse(p.attempt.Get("redirect_uri"))
			require.NoError(t, err)
			refused(t, u.Host)
			p.Close()
			goleak.VerifyNone(t)
		})
	}
}

func TestSignInPassesBeginOptionsOn(t *testing.T) {
	p := newProvider(t)
	options := piecesauth.BeginOptions{Prompt: "login", Extra: url.Values{"organization": {"org"}}}
	_, err := loopback.SignIn(t.Context(), p.authenticator(t, piecesauth.Config{}),
		loopback.Options{Begin: &options, OpenBrowser: p.browser("POST", nil).open})
	require.NoError(t, err)
	assert.Equal(t, "login", p.attempt.Get("prompt"))
	assert.Equal(t, "org", p.attempt.Get("organization"))
	assert.Empty(t, options.RedirectURL, "the caller's options are the caller's")
}

func TestSignInFails(t *testing.T) {
	for _, method := range []string{"GET", "POST"} {
		p := newProvider(t)
		b := p.browser(method, url.Values{"error": {"access_denied"}})
		_, err := loopback.SignIn(t.Context(), p.authenticator(t, piecesauth.Config{}), loopback.Options{OpenBrowser: b.open})
		require.ErrorIs(t, err, &piecesauth.Error{Code: "access_denied"})
		assert.Contains(t, <-b.page, "The application was not given access.")

		b = p.browser(method, url.Values{"error": {"server_error"}, "error_description": {"<i>no</i>"}})
		_, err = loopback.SignIn(t.Context(), p.authenticator(t, piecesauth.Config{}), loopback.Options{OpenBrowser: b.open})
		require.ErrorIs(t, err, &piecesauth.Error{Code: "server_error"})
		page := <-b.page
		assert.Contains(t, page, "The sign-in failed")
		assert.Contains(t, page, "server_error: &lt;i&gt;no&lt;/i&gt;")
		assert.NotContains(t, page, p.attempt.Get("state"))

		p.denies = true
		b = p.browser(method, nil)
		_, err = loopback.SignIn(t.Context(), p.authenticator(t, piecesauth.Config{}), loopback.Options{OpenBrowser: b.open})
		require.ErrorIs(t, err, &piecesauth.Error{Code: "invalid_grant"})
		page = <-b.page
		assert.Contains(t, page, "The sign-in failed")
		assert.Contains(t, page, "the &lt;b&gt;code&lt;/b&gt; is spent")
		assert.NotContains(t, page, "planted")
	}
}

func TestSignInOwnPage(t *testing.T) {
	p := newProvider(t)
	b := p.browser("POST", nil)
	_, err := loopback.SignIn(t.Context(), p.authenticator(t, piecesauth.Config{}), loopback.Options{
		OpenBrowser: b.open,
		Page:        func(w http.ResponseWriter, err error) { _, _ = fmt.Fprintf(w, "ours: %v", err) },
	})
	require.NoError(t, err)
	require.Equal(t, "200 ours: <nil>", <-b.page)
}

// output gives what was written, as it is written.
type output struct {
	*bufio.Reader
	io.Writer
}

func newOutput(t *testing.T) output {
	r, w, err := os.Pipe() // which buffers, as a terminal does
	require.NoError(t, err)
	t.Cleanup(func() { _, _ = r.Close(), w.Close() })
	return output{bufio.NewReader(r), w}
}

// until reads lines until one begins with prefix, and gives that one.
func (o output) until(t *testing.T, prefix string) string {
	t.Helper()
	for {
		line, err := o.ReadString('\n')
		require.NoError(t, err)
		if strings.HasPrefix(line, prefix) {
			return strings.TrimSpace(line)
		}
	}
}

var errNoBrowser = errors.New("no browser here")

func noBrowser(string) error { return errNoBrowser }

type signedIn struct {
	token *piecesauth.Token
	err   error
}

func start(ctx context.Context, auth *piecesauth.Authenticator, options loopback.Options) <-chan signedIn {
	done := make(chan signedIn, 1)
	go func() {
		token, err := loopback.SignIn(ctx, auth, options)
		done <- signedIn{token, err}
	}()
	return done
}

// The URL is printed where no browser opens, and the redirect still received.
func TestSignInURLIsPrinted(t *testing.T) {
	p := newProvider(t)
	out := newOutput(t)
	done := start(t.Context(), p.authenticator(t, piecesauth.Config{}), loopback.Options{OpenBrowser: noBrowser, Output: out})
	b := p.browser("POST", nil)
	require.NoError(t, b.open(out.until(t, p.URL+"/authorize?")))
	end := <-done
	require.NoError(t, end.err)
	require.Equal(t, "planted-access-token", end.token.AccessToken)
}

// A session over SSH, or a machine without a display, as the environment says.
func TestSignInWithoutDisplay(t *testing.T) {
	t.Setenv("SSH_CONNECTION", "192.0.2.1 50000 192.0.2.2 22")
	p := newProvider(t)
	out := newOutput(t)
	done := start(t.Context(), p.authenticator(t, piecesauth.Config{}), loopback.Options{Output: out})
	require.NoError(t, p.browser("GET", nil).open(out.until(t, p.URL+"/authorize?")))
	require.NoError(t, (<-done).err)
}

func TestSignInPaste(t *testing.T) {
	for _, mode := range []piecesauth.ResponseMode{piecesauth.ResponseModeQuery, piecesauth.ResponseModeFragment} {
		t.Run(string(mode), func(t *testing.T) {
			p := newProvider(t)
			out := newOutput(t)
			in, paste := io.Pipe()
			done := start(t.Context(), p.authenticator(t, piecesauth.Config{ResponseMode: mode}),
				loopback.Options{OpenBrowser: noBrowser, Output: out, Input: in})
			redirectURI, result := p.visit(out.until(t, p.URL+"/authorize?"), nil)
			for _, wrong := range []string{
				"what?",
				redirectURI,
				redirectURI + "?code=planted-wrong&state=planted-wrong",
				redirectURI + "?code=planted-wrong",
				redirectURI + "?error=access_denied",
				redirectURI + "?code=planted-wrong&" + result.Encode(),
				redirectURI + "?" + result.Encode() + "&state=" + result.Get("state"),
			} {
				_, err := fmt.Fprintf(paste, "%s\n\n", wrong)
				require.NoError(t, err)
				require.NotContains(t, out.until(t, "That is not the address"), "planted")
			}
			sep := map[piecesauth.ResponseMode]string{piecesauth.ResponseModeQuery: "?", piecesauth.ResponseModeFragment: "#"}[mode]
			_, err := fmt.Fprintf(paste, "  %s%s%s \r\n", redirectURI, sep, result.Encode())
			require.NoError(t, err)
			end := <-done
			require.NoError(t, end.err)
			require.Equal(t, "planted-access-token", end.token.AccessToken)
			require.NoError(t, paste.Close())
			p.Close()
			goleak.VerifyNone(t)
		})
	}
}

func TestSignInPastedError(t *testing.T) {
	p := newProvider(t)
	out := newOutput(t)
	in, paste := io.Pipe()
	done := start(t.Context(), p.authenticator(t, piecesauth.Config{}), loopback.Options{OpenBrowser: noBrowser, Output: out, Input: in})
	redirectURI, result := p.visit(out.until(t, p.URL+"/authorize?"), url.Values{"error": {"access_denied"}})
	_, err := fmt.Fprintln(paste, redirectURI+"?"+result.Encode())
	require.NoError(t, err)
	require.ErrorIs(t, (<-done).err, &piecesauth.Error{Code: "access_denied"})
	require.NoError(t, paste.Close())
}

// What comes first counts: here the redirect, while a paste is awaited, and
// after Input has ended.
func TestSignInRedirectBeforePaste(t *testing.T) {
	for _, ends := range []bool{false, true} {
		p := newProvider(t)
		out := newOutput(t)
		in, paste := io.Pipe()
		done := start(t.Context(), p.authenticator(t, piecesauth.Config{}), loopback.Options{OpenBrowser: noBrowser, Output: out, Input: in})
		authorizationURL := out.until(t, p.URL+"/authorize?")
		out.until(t, "Then paste")
		_, err := fmt.Fprintln(paste, "what?") // Input is being read
		require.NoError(t, err)
		out.until(t, "That is not the address")
		if ends {
			require.NoError(t, paste.Close())
		}
		require.NoError(t, p.browser("POST", nil).open(authorizationURL))
		require.NoError(t, (<-done).err)
		require.NoError(t, paste.Close())
		p.Close()
		goleak.VerifyNone(t)
	}
}

// Input is left alone when a browser opens.
func TestSignInLeavesInput(t *testing.T) {
	p := newProvider(t)
	in := strings.NewReader("the program's own\n")
	_, err := loopback.SignIn(t.Context(), p.authenticator(t, piecesauth.Config{}),
		loopback.Options{OpenBrowser: p.browser("POST", nil).open, Input: in})
	require.NoError(t, err)
	require.Equal(t, 18, in.Len())
}

type failingWriter struct{}

func (failingWriter) Write([]byte) (int, error) { return 0, syscall.ENOSPC }

func TestSignInRefuses(t *testing.T) {
	p := newProvider(t)
	taken, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	quotes := func(u string) error { return fmt.Errorf("cannot open %s", u) }
	tests := []struct {
		name    string
		config  piecesauth.Config
		options loopback.Options
		want    string
		is      error
	}{
		{"web_message", piecesauth.Config{ResponseMode: piecesauth.ResponseModeWebMessage}, loopback.Options{Input: strings.NewReader("")},
			"loopback: ResponseMode web_message never reaches a server: use form_post or query", nil},
		{"fragment without Input", piecesauth.Config{ResponseMode: piecesauth.ResponseModeFragment}, loopback.Options{},
			"loopback: ResponseMode fragment never reaches a server: set Options.Input, or use form_post or query", nil},
		{"fragment, Input ends", piecesauth.Config{ResponseMode: piecesauth.ResponseModeFragment}, loopback.Options{Input: strings.NewReader("\n")},
			"loopback: Options.Input ended before the final URL was pasted", nil},
		{"no browser, no Output", piecesauth.Config{}, loopback.Options{OpenBrowser: noBrowser, Input: strings.NewReader("")},
			"loopback: no browser opened and Options.Output is nil: no browser here", errNoBrowser},
		{"no browser, no Output, the error quotes the URL", piecesauth.Config{}, loopback.Options{OpenBrowser: quotes},
			"loopback: no browser opened and Options.Output is nil", nil},
		{"Output fails", piecesauth.Config{}, loopback.Options{OpenBrowser: noBrowser, Output: failingWriter{}},
			"loopback: writing to Options.Output: no space left on device", syscall.ENOSPC},
		{"host", piecesauth.Config{}, loopback.Options{RedirectURL: "http://example.com/"},
			`loopback: RedirectURL: host "example.com" is not this machine: use localhost, 127.0.0.1 or [::1]`, nil},
		{"port in use", piecesauth.Config{}, loopback.Options{RedirectURL: "http://" + taken.Addr().String() + "/cb"},
			"loopback: RedirectURL: the port is in use: listen tcp " + taken.Addr().String() + ": bind: address already in use", syscall.EADDRINUSE},
		{"Begin refuses", piecesauth.Config{}, loopback.Options{Begin: &piecesauth.BeginOptions{MaxAge: -1}}, "piecesauth: begin: MaxAge is negative", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.options.OpenBrowser == nil {
				tt.options.OpenBrowser = func(string) error { return nil }
			}
			token, err := loopback.SignIn(t.Context(), p.authenticator(t, tt.config), tt.options)
			require.EqualError(t, err, tt.want)
			require.Nil(t, token)
			if tt.is != nil {
				require.ErrorIs(t, err, tt.is)
			}
		})
	}
}

func TestSignInContext(t *testing.T) {
	p := newProvider(t)
	ctx, cancel := context.WithCancel(t.Context())
	_, err := loopback.SignIn(ctx, p.authenticator(t, piecesauth.Config{}), loopback.Options{
		OpenBrowser: func(u string) error {
			defer cancel()
			redirectURI, _ := p.visit(u, nil)
			res, err := http.Get(redirectURI + "?error=access_denied&state=wrong") //nolint:noctx // a stray
			if err == nil {
				_ = res.Body.Close()
				assert.Equal(t, 400, res.StatusCode)
			}
			return err
		},
	})
	require.EqualError(t, err, "loopback: waiting for the redirect: context canceled")
	require.ErrorIs(t, err, context.Canceled)

	_, err = loopback.SignIn(ctx, p.authenticator(t, piecesauth.Config{}), loopback.Options{
		OpenBrowser: func(string) error { t.Error("opened for nobody"); return nil },
	})
	require.ErrorIs(t, err, context.Canceled)
}

// An opener that waits for the browser's end holds nothing up.
func TestSignInOpenerBlocks(t *testing.T) {
	p := newProvider(t)
	b := p.browser("POST", nil)
	quit, gone := make(chan struct{}), make(chan struct{})
	_, err := loopback.SignIn(t.Context(), p.authenticator(t, piecesauth.Config{}), loopback.Options{
		OpenBrowser: func(u string) error {
			defer close(gone)
			err := b.open(u)
			<-quit
			return err
		},
	})
	require.NoError(t, err)
	close(quit)
	<-gone
}
