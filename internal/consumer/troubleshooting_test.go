package consumer

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/piecesauth/piecesauth"
	"github.com/piecesauth/piecesauth/loopback"
	"github.com/piecesauth/piecesauth/piecesauthtest"
	"github.com/piecesauth/piecesauth/seal"
	"github.com/piecesauth/piecesauth/tokenfile"
	"github.com/piecesauth/piecesauth/tokenkv"
	"github.com/piecesauth/piecesauth/web"
)

// TestTroubleshooting compares every error text of the page with what the
// library returns. Each section of the page has a case, and each case a section.
func TestTroubleshooting(t *testing.T) {
	page, err := os.ReadFile("../../docs/troubleshooting.md")
	if err != nil {
		t.Fatal(err)
	}
	texts := map[string]string{}
	for _, m := range regexp.MustCompile("(?m)^### (.*)\n\n```text\n(.*)\n```$").FindAllStringSubmatch(string(page), -1) {
		texts[m[1]] = m[2]
	}
	if headings := strings.Count(string(page), "\n### "); headings != len(texts) || headings < 10 {
		t.Fatalf("%d sections, of which %d begin with an error text", headings, len(texts))
	}
	for _, tt := range troubles {
		t.Run(tt.section, func(t *testing.T) {
			if tt.linux && runtime.GOOS != "linux" {
				t.Skip("the page has the text of Linux")
			}
			want, found := texts[tt.section]
			got := portless(tt.failure(t).Error())
			if !found {
				t.Fatalf("the page has no section of this name; the error is\n%s", got)
			}
			if got != want {
				t.Errorf("the page says\n%s\nand the library\n%s", want, got)
			}
		})
		delete(texts, tt.section)
	}
	for section := range texts {
		t.Errorf("no test produces the error of %q", section)
	}
}

// portless replaces what differs from run to run.
func portless(text string) string {
	text = regexp.MustCompile(`(127\.0\.0\.1|localhost):\d+`).ReplaceAllString(text, "$1:PORT")
	text = regexp.MustCompile(`\S+/token\.json`).ReplaceAllString(text, "…/token.json")
	return regexp.MustCompile(`14h0m\d+s`).ReplaceAllString(text, "14h0m0s")
}

// troubles produces the errors of the page.
var troubles = []struct {
	section string
	failure func(*testing.T) error
	linux   bool // part of the text comes from the system
}{
	{section: "The configuration is incomplete", failure: func(*testing.T) error {
		_, err := piecesauth.New(piecesauth.Config{BaseURL: piecesauth.LiveBaseURL})
		return err
	}},
	{section: "The audience is missing", failure: func(t *testing.T) error {
		auth := newAuth(t, piecesauth.Config{BaseURL: piecesauth.LiveBaseURL, ClientID: "c", RedirectURL: "https://app.example.com/callback"})
		_, err := auth.Begin(nil)
		return err
	}},
	{section: "The server is http", failure: func(*testing.T) error {
		_, err := piecesauth.New(piecesauth.Config{BaseURL: "http://auth.pieces.services", ClientID: "c"})
		return err
	}},
	{section: "Nothing listens at BaseURL", linux: true, failure: func(t *testing.T) error {
		auth := newAuth(t, piecesauth.Config{BaseURL: closedServer(t), ClientID: "c"})
		_, err := auth.UserInfo(t.Context(), &piecesauth.Token{AccessToken: "a"})
		return err
	}},
	{section: "The certificate is not trusted", linux: true, failure: func(t *testing.T) error {
		server := startServer(t, piecesauthtest.Options{TLS: true})
		config := server.Config()
		config.HTTPClient = nil
		_, err := newAuth(t, config).UserInfo(t.Context(), &piecesauth.Token{AccessToken: "a"})
		return err
	}},
	{section: "The redirect never comes", failure: func(t *testing.T) error {
		server := startServer(t, piecesauthtest.Options{StrictRedirects: true})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := loopback.SignIn(ctx, newAuth(t, server.Config()), optionsOf(t, server))
		return err
	}},
	{section: "The port is in use", linux: true, failure: func(t *testing.T) error {
		other, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = other.Close() }()
		server := startServer(t, piecesauthtest.Options{})
		options := optionsOf(t, server)
		options.RedirectURL = "http://" + other.Addr().String() + "/callback"
		_, err = loopback.SignIn(t.Context(), newAuth(t, server.Config()), options)
		return err
	}},
	{section: "No browser opens", failure: func(t *testing.T) error {
		server := startServer(t, piecesauthtest.Options{})
		options := optionsOf(t, server)
		options.Output, options.OpenBrowser = nil, func(string) error { return errors.New("no display") }
		_, err := loopback.SignIn(t.Context(), newAuth(t, server.Config()), options)
		return err
	}},
	{section: "The person said no", failure: func(t *testing.T) error {
		server := startServer(t, piecesauthtest.Options{})
		person := server.Browser()
		person.Deny = true
		options := optionsOf(t, server)
		options.OpenBrowser = func(url string) error { _, err := person.Open(t.Context(), url); return err }
		_, err := loopback.SignIn(t.Context(), newAuth(t, server.Config()), options)
		return err
	}},
	{section: "The issuer is another one", failure: func(t *testing.T) error {
		server := startServer(t, piecesauthtest.Options{})
		config := server.Config()
		config.Issuer = strings.TrimSuffix(config.Issuer, "/")
		return signInError(t, server, config)
	}},
	{section: "A clock is wrong", failure: func(t *testing.T) error {
		server := startServer(t, piecesauthtest.Options{ClockOffset: -24 * time.Hour})
		return signInError(t, server, server.Config())
	}},
	{section: "The callback is not for this sign-in", failure: func(t *testing.T) error {
		server := startServer(t, piecesauthtest.Options{})
		auth := newAuth(t, server.Config())
		first, second := begin(t, auth), begin(t, auth)
		callback, err := server.Browser().SignIn(t.Context(), first.URL)
		if err != nil {
			t.Fatal(err)
		}
		_, err = auth.Complete(t.Context(), second, callback)
		return err
	}},
	{section: "The browser lost the cookie of the sign-in", failure: func(t *testing.T) error {
		server := startServer(t, piecesauthtest.Options{})
		var failed error
		handler := newHandler(t, web.Config{Auth: newAuth(t, server.Config()), OnError: func(_ http.ResponseWriter, _ *http.Request, err error) { failed = err }})
		request := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/auth/callback", strings.NewReader("code=c&state=s"))
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		handler.ServeHTTP(httptest.NewRecorder(), request)
		return failed
	}},
	{section: "Nobody has signed in yet", failure: func(t *testing.T) error {
		server := startServer(t, piecesauthtest.Options{})
		_, err := newAuth(t, server.Config()).TokenSource(nil).Token(t.Context())
		return err
	}},
	{section: "The refresh token is no longer valid", failure: func(t *testing.T) error {
		server := startServer(t, piecesauthtest.Options{})
		token := newToken(t, server)
		server.Revoke()
		_, err := newAuth(t, server.Config()).Refresh(t.Context(), token)
		return err
	}},
	{section: "The token belongs to another server", failure: func(t *testing.T) error {
		server := startServer(t, piecesauthtest.Options{})
		auth := newAuth(t, server.Config())
		attempt := begin(t, auth)
		callback, err := server.Browser().SignIn(t.Context(), attempt.URL)
		if err != nil {
			t.Fatal(err)
		}
		token, err := auth.Complete(t.Context(), attempt, callback)
		if err != nil {
			t.Fatal(err)
		}
		store := new(piecesauth.MemoryStore)
		if err := auth.TokenSource(store).Save(t.Context(), token); err != nil {
			t.Fatal(err)
		}
		live := newAuth(t, piecesauth.Config{BaseURL: piecesauth.LiveBaseURL, ClientID: "piecesauthtest"})
		_, err = live.TokenSource(store).Token(t.Context())
		return err
	}},
	{section: "The answer to a token request was lost", failure: func(t *testing.T) error {
		server := startServer(t, piecesauthtest.Options{})
		server.Fail(piecesauthtest.Refresh, piecesauthtest.Fault{Drop: true})
		_, err := newAuth(t, server.Config()).Refresh(t.Context(), newToken(t, server))
		return err
	}},
	{section: "The server asks to wait", failure: func(t *testing.T) error {
		server := startServer(t, piecesauthtest.Options{})
		server.Fail(piecesauthtest.UserInfo, piecesauthtest.Fault{Status: 429, RetryAfter: time.Hour})
		_, err := newAuth(t, server.Config()).UserInfo(t.Context(), newToken(t, server))
		return err
	}},
	{section: "An API refuses a new token", failure: func(t *testing.T) error {
		server := startServer(t, piecesauthtest.Options{})
		source := newAuth(t, server.Config()).TokenSource(nil)
		if err := source.Save(t.Context(), newToken(t, server)); err != nil {
			return err
		}
		for range 2 { // an API that refuses whatever it is sent
			token, err := source.Token(t.Context())
			if err != nil {
				return err
			}
			if err = source.Invalidate(t.Context(), token); err != nil {
				return err
			}
		}
		return errors.New("no error")
	}},
	{section: "The claims were not checked in this process", failure: func(t *testing.T) error {
		server := startServer(t, piecesauthtest.Options{})
		return newToken(t, server).Claims(new(struct{}))
	}},
	{section: "Others can read the token file", linux: true, failure: func(t *testing.T) error {
		path := filepath.Join(t.TempDir(), "app", "token.json")
		store, err := tokenfile.New(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := store.Replace(t.Context(), &piecesauth.Token{AccessToken: "a"}); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, 0o644); err != nil { //nolint:gosec // that is the mistake
			t.Fatal(err)
		}
		_, err = store.Load(t.Context())
		return err
	}},
	{section: "The key of the token file is another one", failure: func(t *testing.T) error {
		path := filepath.Join(t.TempDir(), "app", "token.json")
		if err := newSealedFile(t, path, 1).Replace(t.Context(), &piecesauth.Token{AccessToken: "a"}); err != nil {
			t.Fatal(err)
		}
		_, err := newSealedFile(t, path, 2).Load(t.Context())
		return err
	}},
	{section: "The key is another one", failure: func(t *testing.T) error {
		db := new(tokenkv.MemoryDB)
		if err := newTokens(t, db, 1).Update(t.Context(), func(context.Context, *piecesauth.Token) (*piecesauth.Token, error) {
			return &piecesauth.Token{AccessToken: "a"}, nil
		}); err != nil {
			t.Fatal(err)
		}
		_, err := newTokens(t, db, 2).Load(t.Context())
		return err
	}},
	{section: "Package web wants an issuer", failure: func(t *testing.T) error {
		_, err := web.New(web.Config{URL: "https://app.example.com", Sealer: newSealer(t, 1), Auth: newAuth(t, piecesauth.Config{
			BaseURL: piecesauth.LiveBaseURL, ClientID: "c", Audience: "https://pieces.us.auth0.com/api/v2/",
		})})
		return err
	}},
}

func startServer(t *testing.T, options piecesauthtest.Options) *piecesauthtest.Server {
	t.Helper()
	server := piecesauthtest.NewServer(options)
	t.Cleanup(server.Close)
	return server
}

func newAuth(t *testing.T, config piecesauth.Config) *piecesauth.Authenticator {
	t.Helper()
	auth, err := piecesauth.New(config)
	if err != nil {
		t.Fatal(err)
	}
	return auth
}

func newToken(t *testing.T, server *piecesauthtest.Server) *piecesauth.Token {
	t.Helper()
	token, err := server.NewToken()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func begin(t *testing.T, auth *piecesauth.Authenticator) *piecesauth.Attempt {
	t.Helper()
	attempt, err := auth.Begin(nil)
	if err != nil {
		t.Fatal(err)
	}
	return attempt
}

func newSealer(t *testing.T, first byte) *seal.Sealer {
	t.Helper()
	key := make([]byte, 32)
	key[0] = first
	sealer, err := seal.New(key)
	if err != nil {
		t.Fatal(err)
	}
	return sealer
}

func newSealedFile(t *testing.T, path string, key byte) *tokenfile.Store {
	t.Helper()
	sealer := newSealer(t, key)
	store, err := tokenfile.New(path, tokenfile.Sealed(func(context.Context) (*seal.Sealer, error) { return sealer, nil }))
	if err != nil {
		t.Fatal(err)
	}
	return store
}

func newTokens(t *testing.T, db tokenkv.DB, key byte) piecesauth.TokenStore {
	t.Helper()
	tokens, err := tokenkv.New(db, tokenkv.Options{Sealer: newSealer(t, key)})
	if err != nil {
		t.Fatal(err)
	}
	return tokens.Store("person")
}

func newHandler(t *testing.T, config web.Config) *web.Handler {
	t.Helper()
	config.URL, config.Sealer = "https://app.example.com", newSealer(t, 1)
	handler, err := web.New(config)
	if err != nil {
		t.Fatal(err)
	}
	return handler
}

// optionsOf returns options with a person at the browser.
func optionsOf(t *testing.T, server *piecesauthtest.Server) loopback.Options {
	t.Helper()
	person := server.Browser()
	return loopback.Options{
		RedirectURL: "http://127.0.0.1:0/callback",
		OpenBrowser: func(url string) error { _, err := person.Open(t.Context(), url); return err },
		Output:      io.Discard,
	}
}

// signInError returns why a sign-in fails whose callback arrives.
func signInError(t *testing.T, server *piecesauthtest.Server, config piecesauth.Config) error {
	t.Helper()
	auth := newAuth(t, config)
	attempt := begin(t, auth)
	callback, err := server.Browser().SignIn(t.Context(), attempt.URL)
	if err != nil {
		t.Fatal(err)
	}
	_, err = auth.Complete(t.Context(), attempt, callback)
	return err
}

// closedServer returns the URL of a server on this machine that has stopped.
func closedServer(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	u, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	return "http://" + u.Host
}
