package piecesauth

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestClocks lets the clocks differ by the leeway, and says by how much where
// they differ more.
func TestClocks(t *testing.T) {
	unix := func(d time.Duration) int64 { return time.Now().Add(d).Unix() }
	for _, tt := range []struct {
		name   string
		leeway time.Duration
		claims map[string]any
		says   []string // nil where it is good
	}{
		{"45 seconds late", 0, map[string]any{"iat": unix(45 * time.Second)}, nil},
		{"four minutes late", 0, map[string]any{"iat": unix(4 * time.Minute), "nbf": unix(4 * time.Minute)}, nil},
		{"four minutes ahead", 0, map[string]any{"iat": unix(-5 * time.Minute), "exp": unix(-4 * time.Minute)}, nil},
		{"an hour late", 0, map[string]any{"iat": unix(time.Hour)}, []string{"clock", "late", "59m"}},
		{"an hour late by nbf", 0, map[string]any{"nbf": unix(time.Hour)}, []string{"nbf", "clock", "late"}},
		{"an hour ahead", 0, map[string]any{"iat": unix(-2 * time.Hour), "exp": unix(-time.Hour)}, []string{"exp", "clock", "ahead", "1h0m"}},
		{"a leeway of a second", time.Second, map[string]any{"iat": unix(45 * time.Second)}, []string{"clock", "late"}},
		{"a leeway of two hours", 2 * time.Hour, map[string]any{"iat": unix(time.Hour)}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newProvider(t)
			p.idToken = func() string { return makeKeys().first.sign(t, p.claims(tt.claims)) }
			_, err := complete(t.Context(), newAuth(t, p.URL, p.verifying, func(c *Config) { c.Leeway = tt.leeway }))
			if tt.says == nil {
				require.NoError(t, err)
				return
			}
			requireError(t, err, &Error{Op: "complete"}, ErrUnknownOutcome)
			for _, text := range tt.says {
				if text == "59m" { // or an hour, by the second
					require.Regexp(t, `59m5\ds|1h0m0s`, err.Error())
					continue
				}
				require.ErrorContains(t, err, text)
			}
		})
	}
	t.Run("MaxAge by the issuer's clock alone", func(t *testing.T) {
		for age, ok := range map[time.Duration]bool{time.Minute: true, 2 * time.Minute: false} {
			p := newProvider(t)
			claims := map[string]any{"iat": unix(4 * time.Minute), "auth_time": unix(4*time.Minute - age), "exp": unix(time.Hour)}
			p.idToken = func() string { return makeKeys().first.sign(t, p.claims(claims)) }
			_, err := complete(t.Context(), newAuth(t, p.URL, p.verifying), func(a *Attempt) { a.MaxAge = time.Minute })
			require.Equal(t, ok, err == nil, err)
		}
	})
}

// TestPromptNone asks for the answer by query where nobody is there to post a
// form, and nothing else was asked for.
func TestPromptNone(t *testing.T) {
	for _, tt := range []struct {
		configured, asked ResponseMode
		want              string
	}{
		{"", "", "query"},
		{ResponseModeFormPost, "", "query"},
		{"", ResponseModeFormPost, "form_post"},
		{"", ResponseModeFragment, "fragment"},
		{ResponseModeWebMessage, "", "web_message"},
	} {
		t.Run(fmt.Sprint(tt), func(t *testing.T) {
			a := newAuth(t, LiveBaseURL, func(c *Config) {
				c.ResponseMode = tt.configured
				c.HTTPClient = direct(func(w http.ResponseWriter, r *http.Request) {
					assert.Equal(t, tt.want, r.FormValue("response_mode"))
					reply(302, "", "Location: "+theRedirect+"?error=login_required&state="+theState)(w, r)
				})
			})
			_, err := a.Authorize(t.Context(), AuthorizeAuth0Params{CodeChallenge: theChallenge, State: ptr(theState), Prompt: ptr("none"), ResponseMode: tt.asked})
			requireError(t, err, &Error{Op: "authorize", Code: "login_required"}, ErrSignInRequired)
		})
	}
}

// TestAnsweredElsewhere takes an answer at the redirect URI as others write it,
// and none at another one.
func TestAnsweredElsewhere(t *testing.T) {
	for _, tt := range []struct {
		configured, answered string
		ok                   bool
	}{
		{"https://app.example.com", "https://app.example.com/", true},
		{"https://app.example.com", "https://app.example.com:443/", true},
		{"https://app.example.com/a%2fb", "https://app.example.com/a%2Fb", true},
		{"https://App.Example.com/cb", "https://app.example.com/cb", true},
		{"com.example.app:/cb", "com.example.app:/cb", true},
		{"https://app.example.com/cb", "https://app.example.com/cb/", false},
		{"https://app.example.com/cb", "https://app.example.com/login", false},
		{"https://app.example.com", "http://app.example.com/", false},
	} {
		t.Run(tt.configured+" "+tt.answered, func(t *testing.T) {
			a := newAuth(t, LiveBaseURL, func(c *Config) {
				c.RedirectURL = tt.configured
				c.HTTPClient = direct(reply(302, "", "Location: "+tt.answered+"?code="+theCode+"&state="+theState))
			})
			result, err := a.Authorize(t.Context(), AuthorizeAuth0Params{CodeChallenge: theChallenge, State: ptr(theState)})
			if !tt.ok {
				require.ErrorIs(t, err, ErrBrowserRequired)
				return
			}
			require.NoError(t, err)
			require.Equal(t, theCode, result.Code)
		})
	}
}

// TestExtra asks for what has no field: max_age=0 and several resources.
func TestExtra(t *testing.T) {
	a := newAuth(t, LiveBaseURL)
	attempt, err := a.Begin(&BeginOptions{Extra: url.Values{"max_age": {"0"}, "resource": {"https://a.example.com", "https://b.example.com"}}})
	require.NoError(t, err)
	got := query(t, attempt.URL)
	require.Equal(t, []string{"0"}, got["max_age"])
	require.Equal(t, []string{"https://a.example.com", "https://b.example.com"}, got["resource"])
	require.Positive(t, attempt.MaxAge, "auth_time is needed")

	p := newProvider(t)
	now := time.Now().Unix()
	for age, ok := range map[int64]bool{0: true, 3600: false} {
		p.idToken = func() string {
			return makeKeys().first.sign(t, p.claims(map[string]any{"iat": now, "auth_time": now - age}))
		}
		_, err = complete(t.Context(), newAuth(t, p.URL, p.verifying), func(t *Attempt) { t.MaxAge = attempt.MaxAge })
		require.Equal(t, ok, err == nil, err)
	}
	for _, extra := range []url.Values{{"max_age": {"-1"}}, {"max_age": {"soon"}}, {"max_age": {"0", "1"}}, {"nonce": {"n"}}} {
		_, err := a.Begin(&BeginOptions{Extra: extra})
		requireError(t, err, &Error{Op: "begin"})
	}
	_, err = a.Begin(&BeginOptions{MaxAge: time.Minute, Extra: url.Values{"max_age": {"0"}}})
	requireError(t, err, &Error{Op: "begin"})
}

// TestAlgorithmsAreKnownBefore says that the issuer signs in another way before
// the code is spent, and takes the metadata's list where none is configured.
func TestAlgorithmsAreKnownBefore(t *testing.T) {
	for _, tt := range []struct {
		configured []string
		announced  string
		signer     keyPair
		ok         bool
		spent      int
	}{
		{nil, `["ES256"]`, makeKeys().ec, true, 1},
		{nil, `["RS256","ES256"]`, makeKeys().first, true, 1},
		{[]string{}, `["ES256"]`, makeKeys().ec, true, 1},
		{nil, ``, makeKeys().first, true, 1},
		{nil, ``, makeKeys().ec, false, 1},
		{[]string{"RS256"}, `["ES256","HS256"]`, makeKeys().ec, false, 0},
		{nil, `["HS256","none"]`, makeKeys().first, false, 0},
		{[]string{"ES256"}, ``, makeKeys().ec, true, 1},
	} {
		t.Run(fmt.Sprint(tt.configured, tt.announced, tt.signer.kid), func(t *testing.T) {
			p := newProvider(t)
			p.keys = func() []keyPair { return []keyPair{makeKeys().first, makeKeys().ec} }
			p.idToken = func() string { return tt.signer.sign(t, p.claims()) }
			if metadata := p.metadata(); tt.announced != "" {
				p.metadata = func() string {
					return strings.TrimSuffix(metadata, "}") + `,"id_token_signing_alg_values_supported":` + tt.announced + "}"
				}
			}
			_, err := complete(t.Context(), newAuth(t, p.URL, p.verifying, func(c *Config) { c.IDTokenAlgorithms = tt.configured }))
			require.Equal(t, tt.ok, err == nil, err)
			require.Equal(t, tt.spent, p.paths()["/oauth/token"])
			if !tt.ok {
				require.ErrorContains(t, err, "256")
			}
		})
	}
}

// TestAttemptOfElsewhere completes an attempt at the server and as the client it
// was begun with, and nowhere else.
func TestAttemptOfElsewhere(t *testing.T) {
	w := newWire(t, reply(200, tokenBody, asJSON))
	for _, tt := range []struct {
		name   string
		change func(*Attempt)
		says   string // "" where it is good
	}{
		{"as it was begun", func(*Attempt) {}, ""},
		{"begun before that was known", func(a *Attempt) { a.BaseURL, a.ClientID = "", "" }, ""},
		{"at another server", func(a *Attempt) { a.BaseURL = "https://other.example.com/" }, "https://other.example.com/"},
		{"as another client", func(a *Attempt) { a.ClientID = "other" }, `"other"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := len(w.requests())
			a := newAuth(t, w.URL)
			attempt, err := a.Begin(nil)
			require.NoError(t, err)
			tt.change(attempt)
			_, err = a.Complete(t.Context(), attempt, url.Values{"state": {attempt.State}, "code": {theCode}})
			if tt.says == "" {
				require.NoError(t, err)
				return
			}
			requireError(t, err, &Error{Op: "complete"})
			require.ErrorContains(t, err, tt.says)
			require.Len(t, w.requests(), before)
		})
	}
}

// TestLogoutRedirect takes a redirect that carries an error for one.
func TestLogoutRedirect(t *testing.T) {
	for location, code := range map[string]string{
		"https://example.com/bye":                              "",
		"https://example.com/bye?state=1&code=2":               "",
		"/login":                                               "",
		"https://example.com/bye?error=invalid_request":        "invalid_request",
		"/error?error=access_denied&error_description=No":      "access_denied",
		"https://example.com/bye#error=server_error&x=1":       "server_error",
		"https://example.com/bye?error=":                       "",
		"https://example.com/bye?error_description=of+nothing": "",
	} {
		t.Run(location, func(t *testing.T) {
			a := newAuth(t, LiveBaseURL, func(c *Config) { c.HTTPClient = direct(reply(302, "", "Location: "+location)) })
			result, err := a.Logout(t.Context(), "https://example.com/bye")
			if code != "" {
				require.Nil(t, result)
				requireError(t, err, &Error{Op: "logout", StatusCode: 302, Code: code})
				return
			}
			require.NoError(t, err)
			require.True(t, strings.HasSuffix(result.Location, location))
		})
	}
}

// TestKeyOfTheSameName has an issuer that changes its key and not the key's
// name.
func TestKeyOfTheSameName(t *testing.T) {
	p := newProvider(t)
	current := makeKeys().first
	p.keys = func() []keyPair { return []keyPair{current} }
	p.idToken = func() string { return current.sign(t, p.claims()) }
	a := newAuth(t, p.URL, p.verifying)
	for _, key := range []keyPair{makeKeys().first, makeKeys().second.named("first"), makeKeys().first} {
		current = key
		_, err := complete(t.Context(), a)
		require.NoError(t, err)
	}
	require.Equal(t, 3, p.paths()["/keys"])
}
