package piecesauth

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestRFC7636AppendixB has the verifier and the challenge of the RFC's example.
func TestRFC7636AppendixB(t *testing.T) {
	a := newAuth(t, LiveBaseURL)
	var entropy [96]byte
	copy(entropy[:], []byte{
		116, 24, 223, 180, 151, 153, 224, 37, 79, 250, 96, 125, 216, 173, 187, 186,
		22, 212, 37, 77, 105, 214, 191, 240, 91, 88, 5, 88, 83, 132, 141, 121,
	})
	attempt := a.attempts.fill(&entropy)
	require.Equal(t, "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk", attempt.Verifier)
	require.Equal(t, []string{"E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"}, query(t, attempt.URL)["code_challenge"])
}

// TestBegin holds what each option puts into the URL, and that nothing else is.
func TestBegin(t *testing.T) {
	defaults := url.Values{
		"audience": {theAudience}, "scope": {"openid profile email offline_access"}, "response_type": {"code"}, "client_id": {theClient},
		"redirect_uri": {theRedirect}, "code_challenge_method": {"S256"}, "response_mode": {"form_post"},
	}
	for _, tt := range []struct {
		name    string
		config  func(*Config)
		options *BeginOptions
		want    url.Values // beyond the defaults
	}{
		{name: "nothing"},
		{name: "no options", options: &BeginOptions{}},
		{name: "Prompt", options: &BeginOptions{Prompt: "select_account"}, want: url.Values{"prompt": {"select_account"}}},
		{name: "LoginHint", options: &BeginOptions{LoginHint: "ada+1@example.com"}, want: url.Values{"login_hint": {"ada+1@example.com"}}},
		{name: "Connection", options: &BeginOptions{Connection: "google-oauth2"}, want: url.Values{"connection": {"google-oauth2"}}},
		{name: "UILocales", options: &BeginOptions{UILocales: "de en"}, want: url.Values{"ui_locales": {"de en"}}},
		{name: "RedirectURL", options: &BeginOptions{RedirectURL: "http://[::1]:9/cb?x=1"}, want: url.Values{"redirect_uri": {"http://[::1]:9/cb?x=1"}}},
		{name: "ResponseMode", options: &BeginOptions{ResponseMode: ResponseModeQuery}, want: url.Values{"response_mode": {"query"}}},
		{name: "MaxAge", options: &BeginOptions{MaxAge: time.Minute}, want: url.Values{"max_age": {"60"}}},
		{name: "MaxAge, rounded up", options: &BeginOptions{MaxAge: time.Minute + 1}, want: url.Values{"max_age": {"61"}}},
		{
			name:    "Extra",
			options: &BeginOptions{Extra: url.Values{"organization": {"org_1 & co"}, "screen_hint": {"signup"}, "empty": {""}, "none": nil}},
			want:    url.Values{"organization": {"org_1 & co"}, "screen_hint": {"signup"}},
		}, {
			name: "everything",
			options: &BeginOptions{
				Prompt: "login", LoginHint: "h", Connection: "c", UILocales: "l", RedirectURL: "com.example:/cb",
				ResponseMode: ResponseModeFragment, MaxAge: time.Second, Extra: url.Values{"x": {"y"}},
			},
			want: url.Values{
				"prompt": {"login"}, "login_hint": {"h"}, "connection": {"c"}, "ui_locales": {"l"}, "redirect_uri": {"com.example:/cb"},
				"response_mode": {"fragment"}, "max_age": {"1"}, "x": {"y"},
			},
		}, {
			name: "values that look like what the library puts in",
			config: func(c *Config) {
				c.Audience, c.Scopes = "code_challenge=~", Scopes{"openid", "~&state=x"}
			},
			options: &BeginOptions{LoginHint: "code_challenge=~&nonce=n", Extra: url.Values{"x": {"code_challenge=~"}}},
			want: url.Values{
				"audience": {"code_challenge=~"}, "scope": {"openid ~&state=x"}, "login_hint": {"code_challenge=~&nonce=n"}, "x": {"code_challenge=~"},
			},
		}, {
			name:   "other defaults",
			config: func(c *Config) { c.ResponseMode, c.Scopes = ResponseModeQuery, Scopes{"openid"} },
			want:   url.Values{"response_mode": {"query"}, "scope": {"openid"}},
		}, {
			name:    "a redirect URL for each attempt alone",
			config:  func(c *Config) { c.RedirectURL = "" },
			options: &BeginOptions{RedirectURL: theRedirect},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var change []func(*Config)
			if tt.config != nil {
				change = append(change, tt.config)
			}
			a := newAuth(t, LiveBaseURL, change...)
			attempt, err := a.Begin(tt.options)
			require.NoError(t, err)
			require.Regexp(t, `^[A-Za-z0-9_-]{43}$`, attempt.Verifier)
			require.Regexp(t, `^[A-Za-z0-9_-]{43}$`, attempt.State)
			require.Regexp(t, `^[A-Za-z0-9_-]{43}$`, attempt.Nonce)

			want := url.Values{"state": {attempt.State}, "nonce": {attempt.Nonce}}
			for _, more := range []url.Values{defaults, tt.want} {
				for name, values := range more {
					want[name] = values
				}
			}
			got := query(t, attempt.URL)
			require.Len(t, got["code_challenge"], 1)
			require.Regexp(t, `^[A-Za-z0-9_-]{43}$`, got.Get("code_challenge"))
			got.Del("code_challenge")
			require.Equal(t, want, got)
			require.True(t, strings.HasPrefix(attempt.URL, LiveBaseURL+"/authorize?"))
			require.NotContains(t, attempt.URL, "#")
			require.NotContains(t, attempt.URL, "&&")
			require.NotContains(t, attempt.URL, attempt.Verifier)

			require.Equal(t, want.Get("redirect_uri"), attempt.RedirectURL)
			if tt.options != nil {
				require.Equal(t, tt.options.MaxAge, attempt.MaxAge)
			}

			another, err := a.Begin(tt.options)
			require.NoError(t, err)
			for _, pair := range [][2]string{
				{attempt.Verifier, another.Verifier}, {attempt.State, another.State}, {attempt.Nonce, another.Nonce}, {attempt.State, attempt.Verifier}, {attempt.State, attempt.Nonce},
			} {
				require.NotEqual(t, pair[0], pair[1])
			}
		})
	}

	a := newAuth(t, LiveBaseURL, func(c *Config) { c.Scopes = Scopes{"email"} })
	attempt, err := a.Begin(nil)
	require.NoError(t, err)
	require.Empty(t, attempt.Nonce, "no ID token is asked for")
	require.NotContains(t, attempt.URL, "nonce")
}

func TestBeginRefuses(t *testing.T) {
	extra := func(name string, values ...string) *BeginOptions {
		return &BeginOptions{Extra: url.Values{name: values}}
	}
	type test struct {
		names   string
		config  func(*Config)
		options *BeginOptions
	}
	tests := []test{
		{names: "RedirectURL", config: func(c *Config) { c.RedirectURL = "" }},
		{names: "RedirectURL", options: &BeginOptions{RedirectURL: "/cb"}},
		{names: "RedirectURL", options: &BeginOptions{RedirectURL: "http://example.com/cb"}},
		{names: "RedirectURL", options: &BeginOptions{RedirectURL: "https://example.com/cb#x"}},
		{names: "Audience", config: func(c *Config) { c.Audience = "" }},
		{names: "MaxAge", options: &BeginOptions{MaxAge: -1}},
		{names: "ResponseMode", options: &BeginOptions{ResponseMode: "post"}},
		{names: `Extra has "x"`, options: extra("x", "1", "2")},
		{names: `Extra has ""`, options: extra("", "1")},
	}
	for _, name := range []string{
		"audience", "scope", "response_type", "client_id", "state", "redirect_uri", "code_challenge_method", "code_challenge",
		"response_mode", "nonce", "prompt", "login_hint", "connection", "ui_locales", "max_age",
	} {
		tests = append(tests, test{names: fmt.Sprintf("Extra has %q", name), options: extra(name, theState)})
	}
	for _, tt := range tests {
		t.Run(tt.names, func(t *testing.T) {
			var change []func(*Config)
			if tt.config != nil {
				change = append(change, tt.config)
			}
			attempt, err := newAuth(t, LiveBaseURL, change...).Begin(tt.options)
			require.Nil(t, attempt)
			requireError(t, err, &Error{Op: "begin"})
			require.Contains(t, err.Error(), tt.names)
		})
	}
}

// TestCallback holds what Complete makes of a callback, and when it redeems
// the code.
func TestCallback(t *testing.T) {
	values := func(s string) url.Values {
		v, err := url.ParseQuery(s)
		require.NoError(t, err)
		return v
	}
	const (
		state = "state=" + theState
		code  = "&code=" + theCode
		plain = `{"issuer":"ISSUER","jwks_uri":"ISSUER/keys"}`
		says  = `{"issuer":"ISSUER","jwks_uri":"ISSUER/keys","authorization_response_iss_parameter_supported":true}`
		none  = ""                                                                                           // 404
		keys  = `{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}` // RFC 8037's
	)
	mismatch, other := []error{ErrStateMismatch}, []error{ErrIssuerMismatch}
	for _, tt := range []struct {
		name, callback string
		issuer         bool
		metadata       string
		err            *Error // nil where the code is redeemed
		causes         []error
	}{
		{name: "a code", callback: state + code},
		{name: "ten more values", callback: state + code + "&scope=a+b&session_state=1&a=&b=1&b=2&c=3&d=4&e=5&f=6&g=7&h=8"},
		{name: "an empty error", callback: state + code + "&error="},

		{name: "no state", callback: code, err: &Error{}, causes: mismatch},
		{name: "an empty state", callback: "state=" + code, err: &Error{}, causes: mismatch},
		{name: "another state", callback: "state=x" + code, err: &Error{}, causes: mismatch},
		{name: "a longer state", callback: state + "x" + code, err: &Error{}, causes: mismatch},
		{name: "a repeated state", callback: state + code + "&" + state, err: &Error{}, causes: mismatch},
		{name: "a second state", callback: state + code + "&state=x", err: &Error{}, causes: mismatch},
		{name: "no state, with an error", callback: "error=access_denied", err: &Error{}, causes: mismatch},
		{name: "another state, with an error", callback: "state=x&error=login_required", err: &Error{}, causes: mismatch},
		{name: "another state, with everything wrong", callback: "state=x&error=a&error=b&iss=x&iss=y", issuer: true, metadata: says, err: &Error{}, causes: mismatch},
		{name: "nothing", callback: "", err: &Error{}, causes: mismatch},

		{name: "two codes", callback: state + code + "&code=x", err: &Error{}},
		{name: "two errors", callback: state + "&error=a&error=b", err: &Error{}},
		{name: "two issuers", callback: state + code + "&iss=a&iss=a", err: &Error{}},
		{name: "two descriptions", callback: state + "&error=a&error_description=b&error_description=c", err: &Error{}},
		{name: "no code", callback: state, err: &Error{}},
		{name: "an empty code", callback: state + "&code=", err: &Error{}},

		{name: "an error", callback: state + "&error=access_denied&error_description=No+way&error_uri=https%3A%2F%2Fe", err: &Error{Code: "access_denied", Description: "No way", URI: "https://e"}},
		{name: "an error and a code", callback: state + code + "&error=server_error", err: &Error{Code: "server_error"}},
		{name: "an error that repeats secrets", callback: state + code + "&error=x&error_description=" + theState + theVerifier + theCode, err: &Error{Code: "x", Description: "[redacted][redacted][redacted]"}},
		{name: "login_required", callback: state + "&error=login_required", err: &Error{Code: "login_required"}, causes: []error{ErrSignInRequired}},
		{name: "consent_required", callback: state + "&error=consent_required", err: &Error{Code: "consent_required"}, causes: []error{ErrSignInRequired}},
		{name: "interaction_required", callback: state + "&error=interaction_required", err: &Error{Code: "interaction_required"}, causes: []error{ErrSignInRequired}},
		{name: "account_selection_required", callback: state + "&error=account_selection_required", err: &Error{Code: "account_selection_required"}, causes: []error{ErrSignInRequired}},

		{name: "any issuer, none configured", callback: state + code + "&iss=https%3A%2F%2Fx"},
		{name: "the issuer", callback: state + code + "&iss=ISSUER", issuer: true, metadata: says},
		{name: "the issuer, which it need not say", callback: state + code + "&iss=ISSUER", issuer: true, metadata: plain},
		{name: "no issuer, which it need not say", callback: state + code, issuer: true, metadata: plain},
		{name: "no issuer, and no metadata", callback: state + code, issuer: true, metadata: none},
		{name: "no issuer, which it says it says", callback: state + code, issuer: true, metadata: says, err: &Error{}, causes: other},
		{name: "another issuer", callback: state + code + "&iss=https%3A%2F%2Fx", issuer: true, metadata: plain, err: &Error{}, causes: other},
		{name: "another issuer by a slash", callback: state + code + "&iss=ISSUER/", issuer: true, metadata: plain, err: &Error{}, causes: other},
		{name: "an empty issuer", callback: state + code + "&iss=", issuer: true, metadata: plain, err: &Error{}, causes: other},
		{name: "another issuer with an error", callback: state + "&error=access_denied&iss=https%3A%2F%2Fx", issuer: true, metadata: plain, err: &Error{}, causes: other},
		{name: "no issuer with an error", callback: state + "&error=access_denied", issuer: true, metadata: says, err: &Error{}, causes: other},
		{name: "the issuer with an error", callback: state + "&error=access_denied&iss=ISSUER", issuer: true, metadata: says, err: &Error{Code: "access_denied"}},
		{name: "metadata of another issuer", callback: state + code, issuer: true, metadata: `{"issuer":"https://x"}`, err: &Error{Op: "discovery", StatusCode: 200}, causes: other},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var w *wire
			redeemed := 0
			w = newWire(t, func(rw http.ResponseWriter, r *http.Request) {
				switch r.URL.Path {
				case "/oauth/token":
					redeemed++
					reply(200, tokenBody, asJSON)(rw, r)
				case "/.well-known/openid-configuration":
					if tt.metadata == none {
						reply(404, "")(rw, r)
						return
					}
					reply(200, strings.ReplaceAll(tt.metadata, "ISSUER", w.URL), asJSON)(rw, r)
				case "/keys", "/.well-known/jwks.json":
					reply(200, keys, asJSON)(rw, r)
				}
			})
			a := newAuth(t, w.URL, func(c *Config) {
				if c.Scopes = (Scopes{"email"}); tt.issuer {
					c.Issuer = w.URL
				}
			})
			attempt := &Attempt{State: theState, Verifier: theVerifier, RedirectURL: theRedirect}
			token, err := a.Complete(t.Context(), attempt, values(strings.ReplaceAll(tt.callback, "ISSUER", w.URL)))
			if tt.err != nil {
				require.Nil(t, token)
				if tt.err.Op == "" {
					tt.err.Op = "complete"
				}
				requireError(t, err, tt.err, tt.causes...)
				require.Zero(t, redeemed)
				return
			}
			require.NoError(t, err)
			require.Equal(t, theAccess, token.AccessToken)
			require.Equal(t, Scopes{"email"}, token.Scopes, "as asked for")
			require.Equal(t, 1, redeemed)
		})
	}
}

// TestAttemptInJSON completes an attempt that went through a cookie.
func TestAttemptInJSON(t *testing.T) {
	w := newWire(t, reply(200, tokenBody, asJSON))
	a := newAuth(t, w.URL)
	attempt, err := a.Begin(&BeginOptions{RedirectURL: "https://app.example.com/cb"})
	require.NoError(t, err)
	cookie, err := json.Marshal(attempt)
	require.NoError(t, err)
	require.NotContains(t, string(cookie), "authorize")

	var back Attempt
	require.NoError(t, json.Unmarshal(cookie, &back))
	attempt.URL = ""
	require.Equal(t, *attempt, back)
	_, err = a.Complete(t.Context(), &back, url.Values{"state": {back.State}, "code": {theCode}})
	require.NoError(t, err)
	require.Len(t, w.requests(), 1)
	require.Contains(t, w.requests()[0], "&code_verifier="+attempt.Verifier+"&")
	require.Contains(t, w.requests()[0], "&redirect_uri=https%3A%2F%2Fapp.example.com%2Fcb")
}

func TestParseCallback(t *testing.T) {
	for raw, want := range map[string]url.Values{
		theRedirect + "?code=c&state=s":               {"code": {"c"}, "state": {"s"}},
		" " + theRedirect + "#code=a%2Bb&state=s\r\n": {"code": {"a+b"}, "state": {"s"}},
		theRedirect + "?x=1#error=access_denied":      {"error": {"access_denied"}},
		theRedirect + "?code=c&state=s#_=_":           {"code": {"c"}, "state": {"s"}},
		"com.example:/cb?code=c&code=d":               {"code": {"c", "d"}},

		// the values alone
		"code=c&state=s":                     {"code": {"c"}, "state": {"s"}},
		"state=s&code=c#_=_":                 {"code": {"c"}, "state": {"s"}},
		"error=access_denied&state=s\n":      {"error": {"access_denied"}, "state": {"s"}},
		"iss=https%3A%2F%2Fe&code=c&state=s": {"code": {"c"}, "state": {"s"}, "iss": {"https://e"}},
		"scope=https://e/a&code=c&state=s":   {"code": {"c"}, "state": {"s"}, "scope": {"https://e/a"}},
		"?code=c&state=s":                    {"code": {"c"}, "state": {"s"}},
		"#code=c&state=s":                    {"code": {"c"}, "state": {"s"}},
		"'?code=c&state=s'":                  {"code": {"c"}, "state": {"s"}},

		// what comes along with copying
		`"` + theRedirect + `?code=c&state=s"`:           {"code": {"c"}, "state": {"s"}},
		"'" + theRedirect + "?code=c&state=s' ":          {"code": {"c"}, "state": {"s"}},
		"<" + theRedirect + "?code=c&state=s>\r\n":       {"code": {"c"}, "state": {"s"}},
		"\u201c" + theRedirect + "?code=c&state=s\u201d": {"code": {"c"}, "state": {"s"}},
		"`" + theRedirect + "#code=c&state=s`":           {"code": {"c"}, "state": {"s"}},
		"\u00a0" + theRedirect + "?code=c&state=s\u2003": {"code": {"c"}, "state": {"s"}},

		// what others put in
		theRedirect + "?session_state=a;b&code=c&state=s":            {"code": {"c"}, "state": {"s"}, "session_state": {"a;b"}},
		theRedirect + "?hd=100%&code=c&state=s":                      {"code": {"c"}, "state": {"s"}},
		theRedirect + "?x=1&x=2&code=c&state=s#100%":                 {"code": {"c"}, "state": {"s"}, "x": {"1", "2"}},
		theRedirect + "?error=e&error_description=100% sure&state=s": {"error": {"e"}, "error_description": {"100% sure"}, "state": {"s"}},
	} {
		got, err := ParseCallback(raw)
		require.NoError(t, err, raw)
		require.Equal(t, want, got, raw)
	}
	for _, raw := range []string{
		"", theRedirect, theRedirect + "?state=" + theState, theRedirect + "?code=%zz", "http://[::1?code=" + theCode,
		theRedirect + "#code=%zz" + theCode, "code=" + theCode, "state=" + theState, theCode, `""`, "code=%zz&state=" + theState,
		theRedirect + "?code=" + theCode + "&state=%zz", theRedirect + "?code=" + theCode + "&state=s&iss=%", "see " + theRedirect,
	} {
		got, err := ParseCallback(raw)
		require.Nil(t, got)
		requireError(t, err, &Error{Op: "callback"})
	}
	_, err := ParseCallback(theRedirect + "?code=%zz" + theCode)
	require.EqualError(t, err, "piecesauth: callback: the URL's code can't be read: copy the whole address again")
}

func TestMaxAgeInExtra(t *testing.T) {
	attempt, err := newAuth(t, LiveBaseURL).Begin(&BeginOptions{Extra: url.Values{"max_age": {"60"}}})
	require.NoError(t, err)
	require.Equal(t, time.Minute, attempt.MaxAge)
}
