package consumer

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"sync"
	"testing"

	"github.com/piecesauth/piecesauth"
	"github.com/piecesauth/piecesauth/loopback"
	"github.com/piecesauth/piecesauth/piecesauthtest"
	"github.com/piecesauth/piecesauth/tokenfile"
	"golang.org/x/oauth2"
)

// signIn is what some application wants of a sign-in library, in its own words.
type signIn interface {
	Begin(*piecesauth.BeginOptions) (*piecesauth.Attempt, error)
	Complete(context.Context, *piecesauth.Attempt, url.Values) (*piecesauth.Token, error)
	UserInfo(context.Context, *piecesauth.Token) (*piecesauth.User, error)
}

var _ signIn = (*piecesauth.Authenticator)(nil)

// fake stands in for it in the application's own tests.
type fake struct{ token piecesauth.Token }

func (f *fake) Begin(*piecesauth.BeginOptions) (*piecesauth.Attempt, error) {
	return &piecesauth.Attempt{URL: "https://auth.example/authorize", State: "s"}, nil
}

func (f *fake) Complete(_ context.Context, attempt *piecesauth.Attempt, callback url.Values) (*piecesauth.Token, error) {
	if callback.Get("state") != attempt.State {
		return nil, &piecesauth.Error{Op: "complete", Err: piecesauth.ErrStateMismatch}
	}
	return &f.token, nil
}

func (f *fake) UserInfo(context.Context, *piecesauth.Token) (*piecesauth.User, error) {
	return &piecesauth.User{Auth0User: piecesauth.Auth0User{Name: "Ada"}}, nil
}

// whoIs is the application.
func whoIs(ctx context.Context, s signIn, visit func(rawURL string) (url.Values, error)) (string, error) {
	attempt, err := s.Begin(nil)
	if err != nil {
		return "", err
	}
	callback, err := visit(attempt.URL)
	if err != nil {
		return "", err
	}
	token, err := s.Complete(ctx, attempt, callback)
	if err != nil {
		return "", err
	}
	user, err := s.UserInfo(ctx, token)
	if err != nil {
		return "", err
	}
	return user.Name, nil
}

func TestFakeOfOurTypes(t *testing.T) {
	name, err := whoIs(t.Context(), &fake{}, func(string) (url.Values, error) {
		return url.Values{"code": {"c"}, "state": {"s"}}, nil
	})
	if err != nil || name != "Ada" {
		t.Fatal(name, err)
	}
}

func TestRealThing(t *testing.T) {
	server := piecesauthtest.NewServer(piecesauthtest.Options{})
	defer server.Close()
	auth, err := piecesauth.New(server.Config())
	if err != nil {
		t.Fatal(err)
	}
	name, err := whoIs(t.Context(), auth, func(rawURL string) (url.Values, error) {
		return server.Browser().SignIn(t.Context(), rawURL)
	})
	if err != nil || name != "Ada Lovelace" {
		t.Fatal(name, err)
	}
}

// TestSignInAndStay signs in through the loopback interface, and is signed in
// still when the program starts again.
func TestSignInAndStay(t *testing.T) {
	server := piecesauthtest.NewServer(piecesauthtest.Options{})
	defer server.Close()
	path := filepath.Join(t.TempDir(), "yours", "token.json")
	person := server.Browser()
	for range 2 {
		auth, err := piecesauth.New(server.Config())
		if err != nil {
			t.Fatal(err)
		}
		store, err := tokenfile.New(path)
		if err != nil {
			t.Fatal(err)
		}
		source := auth.TokenSource(store)
		token, err := source.Token(t.Context())
		if errors.Is(err, piecesauth.ErrSignInRequired) {
			token, err = loopback.SignIn(t.Context(), auth, loopback.Options{
				RedirectURL: "http://127.0.0.1:0/callback",
				OpenBrowser: func(url string) error { _, err := person.Open(t.Context(), url); return err },
			})
			if err == nil {
				err = source.Save(t.Context(), token)
			}
		}
		if err != nil || !token.Valid() {
			t.Fatal(token, err)
		}
	}
	if n := server.Count(piecesauthtest.Authorize); n != 1 {
		t.Fatalf("signed in %d times", n)
	}
}

// TestOAuth2 passes the token to a library that knows x/oauth2 alone.
func TestOAuth2(t *testing.T) {
	server := piecesauthtest.NewServer(piecesauthtest.Options{})
	defer server.Close()
	auth, err := piecesauth.New(server.Config())
	if err != nil {
		t.Fatal(err)
	}
	token, err := server.NewToken()
	if err != nil {
		t.Fatal(err)
	}
	source := auth.TokenSource(new(piecesauth.MemoryStore))
	if err := source.Save(t.Context(), token); err != nil {
		t.Fatal(err)
	}
	var bearer string
	api := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		bearer = r.Header.Get("Authorization")
	}))
	defer api.Close()

	client := oauth2.NewClient(t.Context(), source.OAuth2(t.Context()))
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, api.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if err := resp.Body.Close(); err != nil {
		t.Fatal(err)
	}
	if bearer != "Bearer "+token.AccessToken {
		t.Fatal("the API did not get the token")
	}
}

// database is a store such as a user would write: one row, one lock.
type database struct {
	mu  sync.Mutex // of the row
	row chan struct{}
	b   []byte
}

func newDatabase() *database {
	d := &database{row: make(chan struct{}, 1)}
	d.row <- struct{}{}
	return d
}

func (d *database) Load(ctx context.Context) (*piecesauth.Token, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.b == nil {
		return nil, piecesauth.ErrNoToken
	}
	token := new(piecesauth.Token)
	return token, json.Unmarshal(d.b, token)
}

func (d *database) Update(ctx context.Context, fn func(context.Context, *piecesauth.Token) (*piecesauth.Token, error)) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case <-d.row:
		defer func() { d.row <- struct{}{} }()
	case <-ctx.Done():
		return ctx.Err()
	}
	var before *piecesauth.Token
	d.mu.Lock()
	stored := d.b
	d.mu.Unlock()
	if stored != nil {
		before = new(piecesauth.Token)
		if err := json.Unmarshal(stored, before); err != nil {
			return err
		}
	}
	after, err := fn(ctx, before)
	if err != nil {
		return err
	}
	var b []byte
	if after != nil {
		if b, err = json.Marshal(after); err != nil {
			return err
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.b = b
	return nil
}

func TestStoreOfOurOwn(t *testing.T) {
	piecesauthtest.TestStore(t, func(*testing.T) piecesauth.TokenStore { return newDatabase() })
}

// TestRevoked is a program whose person withdraws their consent: one run says
// that they have to sign in, and the next one knows it from the start.
func TestRevoked(t *testing.T) {
	server := piecesauthtest.NewServer(piecesauthtest.Options{})
	defer server.Close()
	auth, err := piecesauth.New(server.Config())
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "app", "token.json")
	run := func() error {
		store, err := tokenfile.New(path)
		if err != nil {
			return err
		}
		source := auth.TokenSource(store)
		person := server.Browser()
		if _, err = loopback.Token(t.Context(), source, auth, loopback.Options{
			RedirectURL: "http://127.0.0.1:0/callback",
			OpenBrowser: func(url string) error { _, err := person.Open(t.Context(), url); return err },
		}); err != nil {
			return err
		}
		_, err = source.UserInfo(t.Context())
		return err
	}
	for range 2 {
		if err := run(); err != nil {
			t.Fatal(err)
		}
	}
	server.Revoke()
	if err := run(); !errors.Is(err, piecesauth.ErrSignInRequired) {
		t.Fatalf("the run that notices: %v", err)
	}
	signIns := server.Count(piecesauthtest.Exchange)
	if err := run(); err != nil {
		t.Fatalf("the next run: %v", err)
	}
	if got := server.Count(piecesauthtest.Exchange); got != signIns+1 {
		t.Fatalf("%d sign-ins in the next run, not 1", got-signIns)
	}
}

// TestBringRefreshToken is a program that takes over the refresh tokens of
// another library: the first use redeems them.
func TestBringRefreshToken(t *testing.T) {
	server := piecesauthtest.NewServer(piecesauthtest.Options{})
	defer server.Close()
	auth, err := piecesauth.New(server.Config())
	if err != nil {
		t.Fatal(err)
	}
	old, err := server.NewToken()
	if err != nil {
		t.Fatal(err)
	}
	source := auth.TokenSource(new(piecesauth.MemoryStore))
	if err := source.Save(t.Context(), &piecesauth.Token{RefreshToken: old.RefreshToken}); err != nil {
		t.Fatal(err)
	}
	user, err := source.UserInfo(t.Context())
	if err != nil || user.Name != "Ada Lovelace" {
		t.Fatal(user, err)
	}
	if n := server.Count(piecesauthtest.Refresh); n != 1 {
		t.Fatalf("%d refreshes", n)
	}
}
