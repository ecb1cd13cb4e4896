package piecesauth

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/oauth2"
)

// Each benchmark has its rivals as sub-benchmarks of the same run: "ours",
// "byhand" (net/http and encoding/json as a careful engineer writes it),
// "oauth2" (golang.org/x/oauth2) and "generated" (the bare client). The table
// of ratios is made of these names.

const (
	benchToken = `{"access_token":"eyJhbGciOiJSUzI1NiJ9.e30.c2ln","token_type":"Bearer","expires_in":86400,"scope":"openid email profile offline_access","refresh_token":"v1.MRjA8Tf3cGZQ"}`
	benchUser  = `{"sub":"auth0|507f1f77bcf86cd799439011","name":"Ada Lovelace","given_name":"Ada","family_name":"Lovelace","nickname":"ada","email":"ada@example.com","email_verified":true,"picture":"https://example.com/ada.png","locale":"en","updated_at":"2026-01-02T03:04:05Z","https://pieces.app/plan":"pro"}`
)

// stub answers at once with the same body: what is left is the client's cost.
type stub string

func (s stub) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			return nil, err
		}
		if err := r.Body.Close(); err != nil {
			return nil, err
		}
	}
	return &http.Response{
		StatusCode: http.StatusOK, Status: "200 OK", Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header:        http.Header{"Content-Type": {"application/json"}},
		Body:          io.NopCloser(strings.NewReader(string(s))),
		ContentLength: int64(len(s)),
		Request:       r,
	}, nil
}

func benchAuth(b *testing.B, baseURL string, transport http.RoundTripper) (*Authenticator, *http.Client) {
	b.Helper()
	client := &http.Client{Transport: transport}
	auth, err := New(Config{
		BaseURL: baseURL, ClientID: "9sW4Pa1LEjX67l6VO14u0207NLYeXnu1", Audience: "https://pieces.us.auth0.com/api/v2/",
		RedirectURL: "http://localhost:3000/pkce/response/code", HTTPClient: client,
	})
	if err != nil {
		b.Fatal(err)
	}
	return auth, client
}

// readByHand is what a careful engineer puts around a call: a deadline, a cap
// and the status.
func readByHand(client *http.Client, req *http.Request, v any) error {
	ctx, cancel := context.WithTimeout(req.Context(), 30*time.Second)
	defer cancel()
	resp, err := client.Do(req.WithContext(ctx))
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return errors.New(resp.Status)
	}
	return json.Unmarshal(body, v)
}

// loop is a benchmark of a call.
func loop(call func() error) func(*testing.B) {
	return func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if err := call(); err != nil {
				b.Fatal(err)
			}
		}
	}
}

// inTurn is a benchmark of two calls that reports the ratio of their times. Two
// processes differ by more than two calls do that share connections and memory.
func inTurn(ours, rival func() error) func(*testing.B) {
	return func(b *testing.B) {
		var mine, theirs time.Duration
		for swap := false; b.Loop(); swap = !swap {
			if swap {
				theirs += timed(b, rival)
			}
			mine += timed(b, ours)
			if !swap {
				theirs += timed(b, rival)
			}
		}
		b.ReportMetric(float64(mine)/float64(theirs), "ours/rival")
	}
}

func timed(b *testing.B, call func() error) time.Duration {
	b.Helper()
	start := time.Now()
	if err := call(); err != nil {
		b.Fatal(err)
	}
	return time.Since(start)
}

func BenchmarkUserInfo(b *testing.B) { benchUserInfo(b, LocalBaseURL, stub(benchUser)) }

func benchUserInfo(b *testing.B, baseURL string, transport http.RoundTripper) {
	auth, client := benchAuth(b, baseURL, transport)
	ctx := b.Context()
	token := &Token{AccessToken: "eyJhbGciOiJSUzI1NiJ9.e30.c2ln", TokenType: "Bearer"}
	ours := func() error {
		u, err := auth.UserInfo(ctx, token)
		if err == nil && u.Sub == "" {
			return errEmpty
		}
		return err
	}
	byhand := func() error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, baseURL+"/userinfo", nil)
		if err != nil {
			return err
		}
		req.Header.Set("Authorization", "Bearer "+token.AccessToken)
		req.Header.Set("Accept", "application/json")
		var u Auth0User
		err = readByHand(client, req, &u)
		if err == nil && u.Sub == "" {
			return errEmpty
		}
		return err
	}
	b.Run("ours", loop(ours))
	b.Run("byhand", loop(byhand))
	b.Run("inturn", inTurn(ours, byhand))
	b.Run("generated", func(b *testing.B) {
		b.ReportAllocs()
		c, err := NewClientWithResponses(baseURL, WithHTTPClient(client))
		if err != nil {
			b.Fatal(err)
		}
		bearer := func(_ context.Context, r *http.Request) error {
			r.Header.Set("Authorization", "Bearer "+token.AccessToken)
			return nil
		}
		for b.Loop() {
			if r, err := c.GetAuth0UserInfoWithResponse(ctx, bearer); err != nil || r.JSON200 == nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkExchange(b *testing.B) { benchExchange(b, LocalBaseURL, stub(benchToken)) }

func benchExchange(b *testing.B, baseURL string, transport http.RoundTripper) {
	auth, client := benchAuth(b, baseURL, transport)
	ctx := b.Context()
	grant := TokenizedPKCE{
		GrantType: GrantTypeAuthorizationCode, ClientID: "9sW4Pa1LEjX67l6VO14u0207NLYeXnu1",
		Code: "SplxlOBeZQQYbYS6WxSbIA", RedirectURI: "http://localhost:3000/pkce/response/code",
		CodeVerifier: "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
	}
	ours := func() error {
		t, err := auth.Exchange(ctx, grant)
		if err == nil && t.AccessToken == "" {
			return errEmpty
		}
		return err
	}
	byhand := func() error {
		form := url.Values{
			"grant_type": {"authorization_code"}, "client_id": {grant.ClientID}, "code": {grant.Code},
			"redirect_uri": {grant.RedirectURI}, "code_verifier": {grant.CodeVerifier},
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, baseURL+"/oauth/token", strings.NewReader(form.Encode()))
		if err != nil {
			return err
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("Accept", "application/json")
		var t OAuthToken
		err = readByHand(client, req, &t)
		if err == nil && t.AccessToken == "" {
			return errEmpty
		}
		return err
	}
	b.Run("ours", loop(ours))
	b.Run("byhand", loop(byhand))
	b.Run("inturn", inTurn(ours, byhand))
	b.Run("oauth2", func(b *testing.B) {
		b.ReportAllocs()
		config := oauth2.Config{
			ClientID: grant.ClientID, RedirectURL: grant.RedirectURI,
			Endpoint: oauth2.Endpoint{TokenURL: baseURL + "/oauth/token", AuthStyle: oauth2.AuthStyleInParams},
		}
		ctx := context.WithValue(ctx, oauth2.HTTPClient, client)
		for b.Loop() {
			if t, err := config.Exchange(ctx, grant.Code, oauth2.VerifierOption(grant.CodeVerifier)); err != nil || t.AccessToken == "" {
				b.Fatal(err)
			}
		}
	})
	b.Run("generated", func(b *testing.B) {
		b.ReportAllocs()
		c, err := NewClientWithResponses(baseURL, WithHTTPClient(client))
		if err != nil {
			b.Fatal(err)
		}
		for b.Loop() {
			if r, err := c.ExchangeForAuth0TokenWithFormdataBodyWithResponse(ctx, grant); err != nil || r.JSON200 == nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkLoop goes over real connections, to a responder in another process:
// an httptest server's work would count as the client's.
func BenchmarkLoop(b *testing.B) {
	address := os.Getenv("PIECESAUTH_BENCH_RESPONDER")
	if address == "" {
		b.Skip("PIECESAUTH_BENCH_RESPONDER names no responder; make bench starts one")
	}
	transport := &http.Transport{MaxIdleConnsPerHost: 4}
	defer transport.CloseIdleConnections()
	b.Run("UserInfo", func(b *testing.B) { benchUserInfo(b, "http://"+address, transport) })
	b.Run("Exchange", func(b *testing.B) { benchExchange(b, "http://"+address, transport) })
}

func benchOAuth2() *oauth2.Config {
	return &oauth2.Config{
		ClientID: "9sW4Pa1LEjX67l6VO14u0207NLYeXnu1", RedirectURL: "http://localhost:3000/pkce/response/code",
		Endpoint: oauth2.Endpoint{AuthURL: "http://localhost:1000/authorize"},
		Scopes:   []string{"openid", "profile", "email", "offline_access"},
	}
}

// BenchmarkAuthorizationURL has its random values given.
func BenchmarkAuthorizationURL(b *testing.B) {
	auth, _ := benchAuth(b, "", stub(""))
	const value = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
	b.Run("ours", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if auth.attempts.request.URL(value, value, value) == "" {
				b.Fatal()
			}
		}
	})
	b.Run("oauth2", func(b *testing.B) {
		b.ReportAllocs()
		config := benchOAuth2()
		for b.Loop() {
			u := config.AuthCodeURL(value,
				oauth2.SetAuthURLParam("code_challenge", value), oauth2.SetAuthURLParam("code_challenge_method", "S256"),
				oauth2.SetAuthURLParam("nonce", value), oauth2.SetAuthURLParam("response_mode", "form_post"),
				oauth2.SetAuthURLParam("audience", "https://pieces.us.auth0.com/api/v2/"))
			if u == "" {
				b.Fatal()
			}
		}
	})
	b.Run("generated", func(b *testing.B) {
		b.ReportAllocs()
		state, nonce, redirect := value, value, "http://localhost:3000/pkce/response/code"
		for b.Loop() {
			req, err := NewAuthorizeAuth0Request("http://localhost:1000/", &AuthorizeAuth0Params{
				Audience: "https://pieces.us.auth0.com/api/v2/", Scope: Scopes{"openid", "profile", "email", "offline_access"},
				ResponseType: ResponseTypeCode, ClientID: "9sW4Pa1LEjX67l6VO14u0207NLYeXnu1", State: &state, RedirectURI: &redirect,
				CodeChallengeMethod: CodeChallengeMethodS256, CodeChallenge: value, ResponseMode: ResponseModeFormPost, Nonce: &nonce,
			})
			if err != nil || req.URL.String() == "" {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkAttempt makes three random values and a SHA-256 too.
func BenchmarkAttempt(b *testing.B) {
	auth, _ := benchAuth(b, "", stub(""))
	b.Run("ours", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := auth.Begin(nil); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("oauth2", func(b *testing.B) {
		b.ReportAllocs()
		config := benchOAuth2()
		for b.Loop() {
			verifier, state, nonce := oauth2.GenerateVerifier(), oauth2.GenerateVerifier(), oauth2.GenerateVerifier()
			u := config.AuthCodeURL(state, oauth2.S256ChallengeOption(verifier),
				oauth2.SetAuthURLParam("nonce", nonce), oauth2.SetAuthURLParam("response_mode", "form_post"),
				oauth2.SetAuthURLParam("audience", "https://pieces.us.auth0.com/api/v2/"))
			if u == "" {
				b.Fatal()
			}
		}
	})
}

// BenchmarkValidToken asks for a token that is valid, from 1 and 8 goroutines.
func BenchmarkValidToken(b *testing.B) {
	auth, _ := benchAuth(b, "", stub(benchToken))
	store := new(MemoryStore)
	source := auth.TokenSource(store)
	token := &Token{AccessToken: "at", TokenType: "Bearer", Expiry: time.Now().Add(time.Hour)}
	if err := source.Save(b.Context(), token); err != nil {
		b.Fatal(err)
	}
	ctx := b.Context()
	ours := func() error { _, err := source.Token(ctx); return err }
	reuse := oauth2.ReuseTokenSource(&oauth2.Token{AccessToken: "at", Expiry: token.Expiry}, nil)
	theirs := func() error { _, err := reuse.Token(); return err }

	run := func(b *testing.B, goroutines int, get func() error) {
		b.ReportAllocs()
		var wg sync.WaitGroup
		for g := range goroutines {
			wg.Go(func() {
				for range b.N/goroutines + min(1, max(0, b.N%goroutines-g)) {
					if err := get(); err != nil {
						b.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
	}
	for name, n := range map[string]int{"1": 1, "8": 8} {
		b.Run("goroutines="+name+"/ours", func(b *testing.B) { run(b, n, ours) })
		b.Run("goroutines="+name+"/oauth2", func(b *testing.B) { run(b, n, theirs) })
	}
}

// BenchmarkExpiry lets 10,000 goroutines ask at the moment of expiry. The
// server answers once all of them have asked.
func BenchmarkExpiry(b *testing.B) {
	const callers = 10_000
	ctx := context.Background() // oauth2's callers have none
	expired := time.Now().Add(-time.Hour)
	// crowd times one round, from the first question to the last answer.
	crowd := func(b *testing.B, gate *gated, get func() error) {
		var wg sync.WaitGroup
		start, asked := make(chan struct{}), new(atomic.Int64)
		for range callers {
			wg.Go(func() {
				<-start
				if asked.Add(1) == callers {
					close(gate.open)
				}
				if err := get(); err != nil {
					b.Error(err)
				}
			})
		}
		b.StartTimer()
		close(start)
		wg.Wait()
		b.StopTimer()
		if n := gate.requests.Load(); n != 1 {
			b.Fatalf("%d refreshes", n)
		}
	}
	b.Run("ours", func(b *testing.B) {
		b.ReportAllocs()
		b.StopTimer()
		for range b.N {
			gate := &gated{stub: benchToken, open: make(chan struct{})}
			auth, err := New(Config{ClientID: "cid", HTTPClient: &http.Client{Transport: gate}})
			if err != nil {
				b.Fatal(err)
			}
			source := auth.TokenSource(new(MemoryStore))
			if err := source.Save(ctx, &Token{AccessToken: "at", RefreshToken: "rt", Expiry: expired}); err != nil {
				b.Fatal(err)
			}
			crowd(b, gate, func() error { _, err := source.Token(ctx); return err })
		}
	})
	b.Run("oauth2", func(b *testing.B) {
		b.ReportAllocs()
		b.StopTimer()
		for range b.N {
			gate := &gated{stub: benchToken, open: make(chan struct{})}
			config := benchOAuth2()
			config.Endpoint = oauth2.Endpoint{TokenURL: "http://localhost:1000/oauth/token", AuthStyle: oauth2.AuthStyleInParams}
			ctx := context.WithValue(ctx, oauth2.HTTPClient, &http.Client{Transport: gate})
			source := config.TokenSource(ctx, &oauth2.Token{AccessToken: "at", RefreshToken: "rt", Expiry: expired})
			crowd(b, gate, func() error { _, err := source.Token(); return err })
		}
	})
}

// gated is a stub that answers when it is opened.
type gated struct {
	stub
	open     chan struct{}
	requests atomic.Int64
}

func (g *gated) RoundTrip(r *http.Request) (*http.Response, error) {
	g.requests.Add(1)
	<-g.open
	return g.stub.RoundTrip(r)
}
