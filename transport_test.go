package piecesauth

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/piecesauth/piecesauth/internal/callback"
	"github.com/stretchr/testify/require"
)

// TestRedirectsAreRefused sends no secret on to where a redirect points.
func TestRedirectsAreRefused(t *testing.T) {
	for _, status := range []int{301, 302, 303, 307, 308} {
		for op, call := range map[string]func(context.Context, *Authenticator) error{
			"exchange": exchangeCode, "refresh": refresh, "userinfo": userInfo,
			"authorize": authorize, "logout": logout,
		} {
			t.Run(fmt.Sprint(op, " ", status), func(t *testing.T) {
				elsewhere := newWire(t, reply(200, tokenBody, asJSON))
				w := newWire(t, reply(status, "", "Location: "+elsewhere.URL+"/x"))
				following := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return nil }}
				for _, client := range []*http.Client{nil, following} {
					err := call(t.Context(), newAuth(t, w.URL, func(c *Config) { c.HTTPClient = client }))
					switch op {
					case "authorize":
						requireError(t, err, &Error{Op: op, StatusCode: status}, ErrBrowserRequired)
					case "logout":
						require.NoError(t, err)
					default:
						requireError(t, err, &Error{Op: op, StatusCode: status})
						require.ErrorContains(t, err, "redirects are refused here")
					}
				}
				require.Len(t, w.requests(), 2)
				require.Empty(t, elsewhere.requests())
				following.CloseIdleConnections()
			})
		}
	}
}

// TestCallersHTTPClient uses the caller's client and leaves it as it was.
func TestCallersHTTPClient(t *testing.T) {
	w := newWire(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/from" {
			http.Redirect(w, r, "/to", http.StatusFound)
			return
		}
		reply(200, `{"sub":"s"}`, asJSON)(w, r)
	})
	var sent int
	client := &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
		sent++
		return w.Client().Transport.RoundTrip(r)
	})}
	require.NoError(t, userInfo(t.Context(), newAuth(t, w.URL, func(c *Config) { c.HTTPClient = client })))
	require.Equal(t, 1, sent)
	require.Nil(t, client.CheckRedirect)

	resp, err := send(t, client, http.MethodGet, w.URL+"/from", nil)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, "/to", resp.Request.URL.Path, "redirects are followed as ever")
}

// TestTooLarge takes answers of 1 MiB and not of a byte more.
func TestTooLarge(t *testing.T) {
	body := func(size int) string {
		const head, tail = `{"sub":"s","code":"c","state":"` + theState + `","access_token":"a","token_type":"Bearer","fill":"`, `"}`
		return head + strings.Repeat("x", size-len(head)-len(tail)) + tail
	}
	chunked := func(size int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			_ = http.NewResponseController(w).Flush() // so that no Content-Length is sent
			_, _ = io.WriteString(w, body(size))
		}
	}
	api := func(ctx context.Context, a *Authenticator) error {
		_, err := a.API().GetAuth0UserInfoWithResponse(ctx)
		return err
	}
	for op, call := range map[string]func(context.Context, *Authenticator) error{
		"authorize": authorize, "exchange": exchangeCode, "userinfo": userInfo, "logout": logout, "api": api,
	} {
		t.Run(op, func(t *testing.T) {
			for _, answer := range []http.HandlerFunc{reply(200, body(1<<20), asJSON, "Content-Length: 1048576"), chunked(1 << 20)} {
				fits := newWire(t, answer)
				require.NoError(t, call(t.Context(), newAuth(t, fits.URL)))
			}
			for _, answer := range []http.HandlerFunc{reply(200, body(1<<20+1), asJSON), chunked(1<<20 + 1)} {
				w := newWire(t, answer)
				err := call(t.Context(), newAuth(t, w.URL))
				if op == "exchange" {
					requireError(t, err, &Error{Op: op, StatusCode: 200}, ErrTooLarge, ErrUnknownOutcome)
				} else {
					requireError(t, err, &Error{Op: op, StatusCode: 200}, ErrTooLarge)
				}
			}
		})
	}
}

// TestRetries holds what is sent again, and after how long. It stops the clock.
func TestRetries(t *testing.T) {
	const first, second = 250 * time.Millisecond, 500 * time.Millisecond
	calls := map[string]func(context.Context, *Authenticator) error{
		"authorize": authorize, "exchange": exchangeCode, "refresh": refresh, "userinfo": userInfo, "logout": logout,
	}
	for _, tt := range []struct {
		name   string
		status int
		header func() string
		gets   []time.Duration // the waits of a GET
		posts  []time.Duration // and of a POST
		after  time.Duration   // RetryAfter of the error
		slack  time.Duration   // of what is said in whole seconds of the clock
	}{
		{name: "429", status: 429, gets: []time.Duration{first, second}, posts: []time.Duration{first, second}},
		{name: "503", status: 503, gets: []time.Duration{first, second}},
		{name: "500", status: 500},
		{name: "502", status: 502},
		{name: "400", status: 400},
		{
			name: "seconds", status: 503, header: func() string { return "Retry-After: 7" },
			gets: []time.Duration{7 * time.Second, 7 * time.Second}, after: 7 * time.Second,
		}, {
			name: "as long as bearable", status: 503, header: func() string { return "Retry-After: 10" },
			gets: []time.Duration{10 * time.Second, 10 * time.Second}, after: 10 * time.Second,
		}, {
			name: "a date", status: 429, header: func() string { return "Retry-After: " + time.Now().Add(5*time.Second).UTC().Format(http.TimeFormat) },
			gets: []time.Duration{5 * time.Second, 5 * time.Second}, posts: []time.Duration{5 * time.Second, 5 * time.Second}, after: 5 * time.Second, slack: time.Second,
		}, {
			name: "a moment", status: 429, header: func() string { return fmt.Sprint("x-ratelimit-reset: ", time.Now().Add(5*time.Second).Unix()) },
			gets: []time.Duration{5 * time.Second, 5 * time.Second}, posts: []time.Duration{5 * time.Second, 5 * time.Second}, after: 5 * time.Second, slack: time.Second,
		},
		{name: "longer than bearable", status: 429, header: func() string { return "Retry-After: 11" }, after: 11 * time.Second},
		{name: "years", status: 503, header: func() string { return "Retry-After: 999999999999999999" }, after: 24 * time.Hour},
		{name: "beyond any number", status: 429, header: func() string { return "Retry-After: 99999999999999999999" }, after: 24 * time.Hour},
		{name: "negative", status: 429, header: func() string { return "Retry-After: -5" }, gets: []time.Duration{first, second}, posts: []time.Duration{first, second}},
		{name: "a date gone by", status: 503, header: func() string { return "Retry-After: Thu, 01 Jan 1970 00:00:00 GMT" }, gets: []time.Duration{first, second}},
		{name: "garbage", status: 429, header: func() string { return "Retry-After: soon" }, gets: []time.Duration{first, second}, posts: []time.Duration{first, second}},
	} {
		for op, call := range calls {
			t.Run(op+"/"+tt.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var sent []time.Time
					a := newAuth(t, LiveBaseURL, func(c *Config) {
						c.HTTPClient = direct(func(w http.ResponseWriter, r *http.Request) {
							sent = append(sent, time.Now())
							if tt.header != nil {
								reply(tt.status, "", tt.header())(w, r)
								return
							}
							w.WriteHeader(tt.status)
						})
					})
					err := call(t.Context(), a)
					want := tt.gets
					if op == "exchange" || op == "refresh" {
						want = tt.posts
					}
					if tt.status >= 500 && (op == "exchange" || op == "refresh") {
						requireError(t, err, &Error{Op: op, StatusCode: tt.status}, ErrUnknownOutcome)
					} else {
						requireError(t, err, &Error{Op: op, StatusCode: tt.status})
					}
					var e *Error
					require.ErrorAs(t, err, &e)
					require.InDelta(t, tt.after, e.RetryAfter, float64(tt.slack))
					require.Len(t, sent, 1+len(want))
					for i, wait := range want {
						require.WithinRange(t, sent[i+1], sent[i].Add(wait-tt.slack), sent[i].Add(wait*5/4))
					}
				})
			})
		}
	}

	t.Run("cancelled meanwhile", func(t *testing.T) {
		for op, call := range calls {
			synctest.Test(t, func(t *testing.T) {
				a := newAuth(t, LiveBaseURL, func(c *Config) { c.HTTPClient = direct(reply(429, "", "Retry-After: 5")) })
				ctx, cancel := context.WithTimeoutCause(t.Context(), 6*time.Second, callback.ErrNone)
				defer cancel()
				start := time.Now()
				time.AfterFunc(time.Second, cancel)
				err := call(ctx, a)
				requireError(t, err, &Error{Op: op, StatusCode: 429}, context.Canceled)
				require.Equal(t, time.Second, time.Since(start))
			})
		}
	})
	t.Run("no time left", func(t *testing.T) {
		for op, call := range calls {
			synctest.Test(t, func(t *testing.T) {
				sent := 0
				a := newAuth(t, LiveBaseURL, func(c *Config) {
					c.HTTPClient = direct(func(w http.ResponseWriter, r *http.Request) { sent++; reply(429, "", "Retry-After: 5")(w, r) })
				})
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				defer cancel()
				start := time.Now()
				requireError(t, call(ctx, a), &Error{Op: op, StatusCode: 429, RetryAfter: 5 * time.Second})
				require.Zero(t, time.Since(start), "who can't wait long enough is told at once")
				require.Equal(t, 1, sent)
			})
		}
	})
}

// TestAPI has the generated client set up as the authenticator is.
func TestAPI(t *testing.T) {
	elsewhere := newWire(t, reply(200, tokenBody, asJSON))
	w := newWire(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/oauth/token":
			reply(307, "", "Location: "+elsewhere.URL)(w, r)
		case "/userinfo":
			reply(200, `{"sub":"s","email":""}`, asJSON)(w, r)
		default:
			reply(200, "bye", asHTML)(w, r)
		}
	})
	api := newAuth(t, w.URL, func(c *Config) { c.ApplicationID = "my-app" }).API()

	user, err := api.GetAuth0UserInfoWithResponse(t.Context(), func(_ context.Context, r *http.Request) error {
		r.Header.Set("Authorization", "Bearer "+theAccess)
		return nil
	})
	require.NoError(t, err)
	require.Equal(t, &Auth0User{Sub: "s"}, user.JSON200)

	token, err := api.ExchangeForAuth0TokenWithFormdataBodyWithResponse(t.Context(), TokenizedPKCE{
		GrantType: GrantTypeRefreshToken, ClientID: theClient, RefreshToken: theRefresh,
	})
	require.NoError(t, err)
	require.Equal(t, 307, token.StatusCode())

	page, err := api.Auth0LogoutWithResponse(t.Context(), &Auth0LogoutParams{})
	require.NoError(t, err)
	require.Equal(t, "bye", string(page.Body))

	require.Empty(t, elsewhere.requests())
	require.Equal(t, []string{
		request("GET /userinfo HTTP/1.1", "", []string{"Host: HOST", acceptGzip, userAgent, "Authorization: Bearer " + theAccess}),
		strings.Replace(post(sentRefresh, "X-Application-Id: my-app"), "Accept: application/json\n", "", 1),
		request("GET /v2/logout HTTP/1.1", "", []string{"Host: HOST", acceptGzip, userAgent, "X-Application-Id: my-app"}),
	}, w.requests())

	w.Close()
	_, err = api.AuthorizeAuth0WithResponse(t.Context(), &AuthorizeAuth0Params{State: ptr(theState)})
	requireError(t, err, &Error{Op: "api"})
}
