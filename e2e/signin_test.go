package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"image/png"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/piecesauth/piecesauth"
	"github.com/piecesauth/piecesauth/loopback"
)

// A callback on localhost is another site to the browser than a provider on
// 127.0.0.1, as it is in life.
const redirectURL = "http://localhost:0/pkce/response/code"

var modes = []piecesauth.ResponseMode{piecesauth.ResponseModeFormPost, piecesauth.ResponseModeQuery}

// recorder notes the path of each request.
type recorder struct {
	mu    sync.Mutex
	paths []string
}

func (r *recorder) RoundTrip(req *http.Request) (*http.Response, error) {
	r.mu.Lock()
	r.paths = append(r.paths, req.URL.Path)
	r.mu.Unlock()
	return http.DefaultTransport.RoundTrip(req)
}

func (r *recorder) has(path string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Contains(r.paths, path)
}

func newAuth(t *testing.T, p *provider, mode piecesauth.ResponseMode, transport http.RoundTripper) *piecesauth.Authenticator {
	t.Helper()
	t.Cleanup(http.DefaultTransport.(*http.Transport).CloseIdleConnections)
	auth, err := piecesauth.New(piecesauth.Config{
		BaseURL:      p.issuer,
		ClientID:     clientID,
		RedirectURL:  redirectURL,
		Audience:     "https://api.example.com/",
		ResponseMode: mode,
		Issuer:       p.issuer,
		HTTPClient:   &http.Client{Transport: transport},
	})
	require.NoError(t, err)
	return auth
}

// signIn runs loopback.SignIn with browse as the browser. It returns when the
// browser shows how it ended: the answer is in before its page is, and whatever
// the tab were sent to in between would be aborted.
func signIn(tab context.Context, auth *piecesauth.Authenticator, begin *piecesauth.BeginOptions, browse func(url string) error) (*piecesauth.Token, error) {
	shown := make(chan error, 1)
	token, err := loopback.SignIn(tab, auth, loopback.Options{Begin: begin, OpenBrowser: func(url string) error {
		err := browse(url)
		if err == nil {
			err = chromedp.Do(tab, chromedp.WaitVisible(css(`main h1`)))
		}
		shown <- err
		return err
	}})
	return token, errors.Join(err, <-shown)
}

// open returns a browser for signIn: a tab, and what a person does there, step by step.
func open(tab context.Context, person ...func(context.Context) error) func(url string) error {
	return func(url string) error {
		err := chromedp.Do(tab, chromedp.Navigate(url))
		for _, step := range person {
			if err == nil {
				err = step(tab)
			}
		}
		return err
	}
}

// heading returns that of the page the person is left with.
func heading(tab context.Context, t *testing.T) string {
	t.Helper()
	text, err := chromedp.Run(tab, chromedp.Text(css(`main h1`), chromedp.NodeVisible))
	require.NoError(t, err)
	return text
}

// TestSignIn is the whole journey, at both providers and in both response modes.
func TestSignIn(t *testing.T) {
	for name, start := range map[string]func(*testing.T) *provider{"oidc-provider": oidcProvider, "zitadel": zitadel} {
		for _, mode := range modes {
			t.Run(name+"/"+string(mode), func(t *testing.T) {
				p := start(t)
				var requests recorder
				auth := newAuth(t, p, mode, &requests)
				ctx := t.Context()
				tab := newTab(t)

				token, err := signIn(tab, auth, nil, open(tab, p.enter))
				require.NoError(t, err)
				require.True(t, token.Valid())
				assert.Equal(t, "You are signed in", heading(tab, t))
				shots(tab, t, name+"-"+string(mode)+"-signed-in")

				// The ID token was verified with what discovery found.
				assert.True(t, requests.has("/.well-known/openid-configuration"))
				assert.True(t, requests.has("/.well-known/jwks.json"))
				first := idClaims(t, token)
				assert.Equal(t, p.issuer, first.Issuer)
				assert.Equal(t, p.subject, first.Subject)

				// A token that was stored returns its claims once it is verified again.
				stored, err := json.Marshal(token)
				require.NoError(t, err)
				var loaded piecesauth.Token
				require.NoError(t, json.Unmarshal(stored, &loaded))
				require.ErrorIs(t, loaded.Claims(new(any)), piecesauth.ErrNotVerified)
				verified, err := auth.Verify(ctx, &loaded)
				require.NoError(t, err)
				assert.Equal(t, first, idClaims(t, verified))

				user, err := auth.UserInfo(ctx, token)
				require.NoError(t, err)
				assert.Equal(t, p.subject, user.Sub)
				assert.NotEmpty(t, user.Name)
				assert.Contains(t, user.Email, "@")

				second, err := auth.Refresh(ctx, token)
				require.NoError(t, err)
				third, err := auth.Refresh(ctx, second)
				require.NoError(t, err)
				assert.NotEqual(t, token.RefreshToken, second.RefreshToken)
				assert.NotEqual(t, second.RefreshToken, third.RefreshToken)
				assert.NotEqual(t, token.AccessToken, third.AccessToken)
				assert.Equal(t, p.subject, idClaims(t, third).Subject)
				user, err = auth.UserInfo(ctx, third)
				require.NoError(t, err)
				assert.Equal(t, p.subject, user.Sub)

				// A refresh token that was used is refused.
				_, err = auth.Refresh(ctx, token)
				require.ErrorIs(t, err, &piecesauth.Error{Code: "invalid_grant"})
				require.ErrorIs(t, err, piecesauth.ErrSignInRequired)
				if p.revokesReused {
					_, err = auth.Refresh(ctx, third)
					require.ErrorIs(t, err, piecesauth.ErrSignInRequired, "reuse revokes the newest one too")
					_, err = auth.UserInfo(ctx, third)
					require.ErrorIs(t, err, &piecesauth.Error{StatusCode: http.StatusUnauthorized}, "and the access token")
				}
			})
		}
	}
}

type claims struct {
	Issuer  string `json:"iss"`
	Subject string `json:"sub"`
}

func idClaims(t *testing.T, token *piecesauth.Token) (c claims) {
	t.Helper()
	require.NoError(t, token.Claims(&c))
	return c
}

// TestOtherIssuer: the issuer is compared as a string, down to its last slash.
func TestOtherIssuer(t *testing.T) {
	p := oidcProvider(t)
	require.True(t, strings.HasSuffix(p.issuer, "/"))
	p.issuer = strings.TrimSuffix(p.issuer, "/")
	auth := newAuth(t, p, piecesauth.ResponseModeFormPost, nil)
	tab := newTab(t)
	_, err := signIn(tab, auth, nil, open(tab, p.enter))
	require.ErrorIs(t, err, piecesauth.ErrIssuerMismatch)
}

// TestWrongState: a callback with another state is turned away, and the wait
// goes on until the right one comes.
func TestWrongState(t *testing.T) {
	p := oidcProvider(t)
	for _, mode := range modes {
		t.Run(string(mode), func(t *testing.T) {
			auth := newAuth(t, p, mode, nil)
			tab := newTab(t)
			answers := chromedp.Events(tab, network.ResponseReceived)
			token, err := signIn(tab, auth, nil, func(attempt string) error {
				u, err := url.Parse(attempt)
				if err != nil {
					return err
				}
				q := u.Query()
				q.Set("state", "somebody-elses")
				callback := q.Get("redirect_uri")
				u.RawQuery = q.Encode()
				if err := chromedp.Do(tab, chromedp.Navigate(u.String())); err != nil {
					return err
				}
				if err := p.enter(tab); err != nil {
					return err
				}
				for answer, err := range answers {
					if err != nil {
						return err
					}
					if strings.HasPrefix(answer.Response.URL, callback) {
						assert.GreaterOrEqual(t, answer.Response.Status, int64(400))
						assert.Less(t, answer.Response.Status, int64(500))
						break
					}
				}
				if err := chromedp.Do(tab,
					chromedp.WaitVisible(chromedp.Search(`//p[contains(., "the state of another sign-in")]`)),
					chromedp.Navigate(attempt),
				); err != nil {
					return err
				}
				return consent(tab) // signed in at the provider already
			})
			require.NoError(t, err)
			assert.Equal(t, p.subject, idClaims(t, token).Subject)
			assert.Equal(t, "You are signed in", heading(tab, t))
		})
	}
}

// TestDeniedConsent: the person signs in at the provider, but lets nobody have
// their profile.
func TestDeniedConsent(t *testing.T) {
	p := oidcProvider(t)
	for _, mode := range modes {
		t.Run(string(mode), func(t *testing.T) {
			tab := newTab(t)
			_, err := signIn(tab, newAuth(t, p, mode, nil), nil, open(tab, login, func(ctx context.Context) error {
				return chromedp.Do(ctx, chromedp.WaitReady(css(`input[value=consent]`)), chromedp.Click(css(`a[href$="/abort"]`)))
			}))
			require.ErrorIs(t, err, &piecesauth.Error{Code: "access_denied"})
			assert.NotErrorIs(t, err, piecesauth.ErrSignInRequired)
			assert.Equal(t, "The sign-in failed", heading(tab, t))
			shots(tab, t, "oidc-provider-"+string(mode)+"-denied")
		})
	}
}

// TestSilentSignInRefused: prompt=none where nobody is signed in.
func TestSilentSignInRefused(t *testing.T) {
	for name, start := range map[string]func(*testing.T) *provider{"oidc-provider": oidcProvider, "zitadel": zitadel} {
		t.Run(name, func(t *testing.T) {
			p := start(t)
			for _, mode := range modes {
				t.Run(string(mode), func(t *testing.T) {
					tab := newTab(t)
					_, err := signIn(tab, newAuth(t, p, mode, nil), &piecesauth.BeginOptions{Prompt: "none"}, open(tab))
					require.ErrorIs(t, err, &piecesauth.Error{Code: "login_required"})
					require.ErrorIs(t, err, piecesauth.ErrSignInRequired)
				})
			}
			// Without a browser.
			attempt, err := newAuth(t, p, piecesauth.ResponseModeQuery, nil).Begin(&piecesauth.BeginOptions{RedirectURL: "http://localhost:1/pkce/response/code"})
			require.NoError(t, err)
			u, err := url.Parse(attempt.URL)
			require.NoError(t, err)
			none := "none"
			_, err = newAuth(t, p, piecesauth.ResponseModeQuery, nil).Authorize(t.Context(), piecesauth.AuthorizeAuth0Params{
				Prompt:        &none,
				State:         &attempt.State,
				RedirectURI:   &attempt.RedirectURL,
				CodeChallenge: u.Query().Get("code_challenge"),
			})
			require.ErrorIs(t, err, &piecesauth.Error{Code: "login_required"})
			require.ErrorIs(t, err, piecesauth.ErrSignInRequired)
		})
	}
}

// TestLogout: the provider's session ends.
func TestLogout(t *testing.T) {
	p := oidcProvider(t)
	page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/signed-out" {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "text/html")
		_, _ = w.Write([]byte(`<!doctype html><h1 id="signed-out">Signed out</h1>`))
	}))
	defer page.Close()
	returnTo := page.URL + "/signed-out"

	for _, mode := range modes {
		t.Run(string(mode), func(t *testing.T) {
			auth := newAuth(t, p, mode, nil)
			tab := newTab(t)
			_, err := signIn(tab, auth, nil, open(tab, p.enter))
			require.NoError(t, err)

			// The provider knows the person, and wants their consent again.
			silently := &piecesauth.BeginOptions{Prompt: "none"}
			_, err = signIn(tab, auth, silently, open(tab))
			require.ErrorIs(t, err, &piecesauth.Error{Code: "interaction_required"})

			require.NoError(t, chromedp.Do(tab,
				chromedp.Navigate(auth.LogoutURL(returnTo)),
				chromedp.Click(css(`button[name=logout][value=yes]`)),
				chromedp.WaitVisible(css(`#signed-out`)),
			))
			_, err = signIn(tab, auth, silently, open(tab))
			require.ErrorIs(t, err, &piecesauth.Error{Code: "login_required"})

			// Without a browser there is no session to end: the page says how it goes on.
			result, err := auth.Logout(t.Context(), returnTo)
			require.NoError(t, err)
			assert.Contains(t, result.HTML, "/v2/logout/confirm")
			_, err = auth.Logout(t.Context(), "http://example.com/")
			var refused *piecesauth.Error
			require.ErrorAs(t, err, &refused)
			assert.Equal(t, http.StatusBadRequest, refused.StatusCode)
		})
	}
}

// shots keeps pictures of the page in artifacts: light, dark, on a phone. It
// checks what a program can: that dark is dark, and nothing is cut off.
func shots(tab context.Context, t *testing.T, name string) {
	t.Helper()
	for _, shot := range []struct {
		name, scheme  string
		width, height int64
	}{
		{"light", "light", 1024, 640},
		{"dark", "dark", 1024, 640},
		{"phone", "light", 360, 640},
		{"phone-dark", "dark", 360, 640},
	} {
		require.NoError(t, chromedp.Do(tab,
			chromedp.EmulateViewport(shot.width, shot.height),
			chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
				_, err := cdp.Call(ctx, target, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
					Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: shot.scheme}},
				})
				return err
			})))
		picture, err := chromedp.Run(tab, chromedp.CaptureScreenshot())
		require.NoError(t, err)
		keep(t, name+"-"+shot.name, picture)

		brightness := brightness(t, picture)
		if shot.scheme == "dark" {
			assert.Less(t, brightness, 0.2, shot.name)
		} else {
			assert.Greater(t, brightness, 0.8, shot.name)
		}
		overflow, err := chromedp.Run(tab, chromedp.Evaluate[float64](`document.documentElement.scrollWidth - window.innerWidth`))
		require.NoError(t, err)
		assert.LessOrEqual(t, overflow, 0.0, shot.name)
	}
	require.NoError(t, chromedp.Do(tab, chromedp.EmulateReset()))
}

// brightness is that of a picture's corner, between 0 and 1.
func brightness(t *testing.T, picture []byte) float64 {
	t.Helper()
	decoded, err := png.Decode(bytes.NewReader(picture))
	require.NoError(t, err)
	r, g, b, _ := decoded.At(decoded.Bounds().Min.X, decoded.Bounds().Min.Y).RGBA()
	return float64(r+g+b) / (3 * 0xffff)
}
