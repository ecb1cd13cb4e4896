package piecesauth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestRequests holds, byte by byte, what each operation sends.
func TestRequests(t *testing.T) {
	const authorizeAccept = "application/x-www-form-urlencoded, text/html;q=0.5"
	identified := func(c *Config) { c.ApplicationID = "my-app" }
	for _, tt := range []struct {
		name   string
		config func(*Config)
		call   func(context.Context, *Authenticator) error
		want   string
	}{
		{
			name: "authorize, the rest from the configuration",
			call: authorize,
			want: get("/authorize?"+sentDefault+"&state="+theState, authorizeAccept),
		}, {
			name:   "authorize, every parameter given",
			config: identified,
			call: func(ctx context.Context, a *Authenticator) error {
				_, err := a.Authorize(ctx, AuthorizeAuth0Params{
					Audience: "https://api.example.com", Scope: Scopes{"openid", "read:things"}, ResponseType: "code",
					ClientID: "other client", State: ptr("s&t=u"), RedirectURI: ptr("com.example:/cb"),
					CodeChallengeMethod: "S256", CodeChallenge: "ch", Connection: ptr("google-oauth2"), Prompt: ptr("none"),
					ResponseMode: ResponseModeQuery, Nonce: ptr("n"), LoginHint: ptr("ada+1@example.com"), MaxAge: ptr(0),
					UILocales: ptr("de en"),
				})
				return err
			},
			want: get("/authorize?audience=https%3A%2F%2Fapi.example.com&client_id=other+client&code_challenge=ch&code_challenge_method=S256"+
				"&connection=google-oauth2&login_hint=ada%2B1%40example.com&max_age=0&nonce=n&prompt=none"+
				"&redirect_uri=com.example%3A%2Fcb&response_mode=query&response_type=code&scope=openid+read%3Athings&state=s%26t%3Du"+
				"&ui_locales=de+en", authorizeAccept, "X-Application-Id: my-app"),
		}, {
			name: "authorize, nothing empty",
			call: func(ctx context.Context, a *Authenticator) error {
				_, err := a.Authorize(ctx, AuthorizeAuth0Params{
					CodeChallenge: theChallenge, State: ptr(""), RedirectURI: ptr(""), Connection: ptr(""), Prompt: ptr(""),
					Nonce: ptr(""), LoginHint: ptr(""), UILocales: ptr(""),
				})
				return err
			},
			want: get("/authorize?"+strings.Replace(sentDefault, "&redirect_uri=http%3A%2F%2Flocalhost%3A3000%2Fpkce%2Fresponse%2Fcode", "", 1), authorizeAccept),
		}, {
			name: "exchange a code",
			call: exchangeCode,
			want: post(sentCode),
		}, {
			name:   "exchange a code, every field given",
			config: identified,
			call: func(ctx context.Context, a *Authenticator) error {
				_, err := a.Exchange(ctx, TokenizedPKCE{
					GrantType: GrantTypeAuthorizationCode, ClientID: "c", Code: "a b&c", RedirectURI: "com.example:/cb",
					CodeVerifier: "v~", RefreshToken: theRefresh, Audience: "https://pieces.us.auth0.com",
					Schema: &EmbeddedModelSchema{Semantic: EmbeddedModelSchemaSemanticVersionEnumMAJOR0MINOR0PATCH1},
				})
				return err
			},
			want: post("audience=https%3A%2F%2Fpieces.us.auth0.com&client_id=c&code=a+b%26c&code_verifier=v~&grant_type=authorization_code"+
				"&redirect_uri=com.example%3A%2Fcb&schema%5Bmigration%5D=0&schema%5Bsemantic%5D=MAJOR_0_MINOR_0_PATCH_1", "X-Application-Id: my-app"),
		}, {
			name: "exchange a refresh token, three fields whatever else is set",
			call: func(ctx context.Context, a *Authenticator) error {
				_, err := a.Exchange(ctx, TokenizedPKCE{
					GrantType: GrantTypeRefreshToken, RefreshToken: theRefresh, Code: theCode, CodeVerifier: theVerifier,
					RedirectURI: theRedirect, Audience: theAudience, Schema: &EmbeddedModelSchema{},
				})
				return err
			},
			want: post(sentRefresh),
		}, {
			name: "exchange a refresh token, the grant type from what is there",
			call: func(ctx context.Context, a *Authenticator) error {
				_, err := a.Exchange(ctx, TokenizedPKCE{RefreshToken: theRefresh})
				return err
			},
			want: post(sentRefresh),
		}, {
			name:   "refresh",
			config: identified,
			call:   refresh,
			want:   post(sentRefresh, "X-Application-Id: my-app"),
		}, {
			name: "complete",
			call: func(ctx context.Context, a *Authenticator) error {
				attempt := &Attempt{State: theState, Verifier: theVerifier, RedirectURL: "http://127.0.0.1:4711/cb"}
				_, err := a.Complete(ctx, attempt, url.Values{"state": {theState}, "code": {theCode}})
				return err
			},
			want: post("client_id=" + theClient + "&code=" + theCode + "&code_verifier=" + theVerifier +
				"&grant_type=authorization_code&redirect_uri=http%3A%2F%2F127.0.0.1%3A4711%2Fcb"),
		}, {
			name:   "userinfo, which alone is authorized and not identified",
			config: identified,
			call:   userInfo,
			want:   get("/userinfo", "application/json", "Authorization: Bearer "+theAccess),
		}, {
			name:   "logout",
			config: identified,
			call:   logout,
			want:   get("/v2/logout?client_id="+theClient+sentReturn, "text/html", "X-Application-Id: my-app"),
		}, {
			name: "logout, going nowhere",
			call: func(ctx context.Context, a *Authenticator) error { _, err := a.Logout(ctx, ""); return err },
			want: get("/v2/logout?client_id="+theClient, "text/html"),
		}, {
			name:   "below a path",
			config: func(c *Config) { c.BaseURL += "/tenants/one" },
			call:   userInfo,
			want:   get("/tenants/one/userinfo", "application/json", "Authorization: Bearer "+theAccess),
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWire(t, func(w http.ResponseWriter, r *http.Request) {
				switch r.URL.Path {
				case "/authorize":
					reply(200, "code=c&state="+url.QueryEscape(r.FormValue("state")), asForm)(w, r)
				case "/oauth/token":
					reply(200, tokenBody, asJSON)(w, r)
				case "/v2/logout":
					reply(200, "bye", asHTML)(w, r)
				default:
					reply(200, `{"sub":"s"}`, asJSON)(w, r)
				}
			})
			var change []func(*Config)
			if tt.config != nil {
				change = append(change, tt.config)
			}
			require.NoError(t, tt.call(t.Context(), newAuth(t, w.URL, change...)))
			require.Equal(t, []string{tt.want}, w.requests())
		})
	}
}

// TestDocumentedExample sends the request that Pieces documents.
func TestDocumentedExample(t *testing.T) {
	const example = "https://auth.pieces.services/authorize?audience=https%3A%2F%2Fpieces.us.auth0.com%2Fapi%2Fv2%2F&scope=email+profile+offline_access+openid&response_type=code&client_id=9sW4Pa1LEjX67l6VO14u0207NLYeXnu1&redirect_uri=http%3A%2F%2Flocalhost%3A3000%2Fpkce%2Fresponse%2Fcode&code_challenge_method=S256&code_challenge=yxRssZxdfBpMigRmDxAety1QU72Bd5WnDUbtlsCZOnk&response_mode=form_post&state=4bd0b9a389b4b229602346c33913b4c3c199628a90011ab3a901302ab62b3832"
	scopes := func(c *Config) { c.Scopes = Scopes{"email", "profile", "offline_access", "openid"} }

	var uri string
	w := newWire(t, func(w http.ResponseWriter, r *http.Request) {
		uri = r.RequestURI
		reply(200, "code=c&state="+theState, asForm)(w, r)
	})
	require.NoError(t, authorize(t.Context(), newAuth(t, w.URL, scopes)))
	path, query, _ := strings.Cut(strings.TrimPrefix(example, LiveBaseURL), "?")
	require.Equal(t, path+"?"+inOrder(query), "/authorize?"+inOrder(strings.TrimPrefix(uri, "/authorize?")))

	a := newAuth(t, LiveBaseURL, scopes)
	attempt, err := a.Begin(nil)
	require.NoError(t, err)
	require.Equal(t, LiveBaseURL, strings.TrimSuffix(attempt.URL[:strings.Index(attempt.URL, "?")], "/authorize"))
	begun := strings.Split(attempt.URL[strings.Index(attempt.URL, "?")+1:], "&")
	for _, param := range strings.Split(query, "&") {
		if name, _, _ := strings.Cut(param, "="); name != "state" && name != "code_challenge" {
			assert.Contains(t, begun, param)
		}
	}
}

// TestAuthorizeAnswers holds what comes of each answer to GET /authorize.
func TestAuthorizeAnswers(t *testing.T) {
	schema := &EmbeddedModelSchema{Semantic: "MAJOR_0_MINOR_0_PATCH_1"}
	plain := ResultedPKCE{Code: theCode, State: theState}
	browser := &Error{Op: "authorize", StatusCode: 302}
	const result = "code=" + theCode + "&state=" + theState
	for _, tt := range []struct {
		name   string
		answer http.HandlerFunc
		want   ResultedPKCE // or
		err    *Error
		causes []error
	}{
		{name: "a form", answer: reply(200, result, asForm), want: plain},
		{
			name:   "a form with a bracketed schema",
			answer: reply(200, result+"&schema[migration]=0&schema[semantic]=MAJOR_0_MINOR_0_PATCH_1", asForm),
			want:   ResultedPKCE{Code: theCode, State: theState, Schema: schema},
		}, {
			name:   "a form with an escaped schema",
			answer: reply(200, result+"&schema%5Bmigration%5D=0&schema%5Bsemantic%5D=MAJOR_0_MINOR_0_PATCH_1", asForm),
			want:   ResultedPKCE{Code: theCode, State: theState, Schema: schema},
		}, {
			name:   "a form with a JSON schema",
			answer: reply(200, result+"&schema="+url.QueryEscape(theSchema), asForm),
			want:   ResultedPKCE{Code: theCode, State: theState, Schema: schema},
		}, {
			name:   "a form with ten more fields",
			answer: reply(200, result+"&iss=i&scope=openid+email&session_state=1&a=&b=2&c=3&d=4&e=5&f=6&g=7", asForm),
			want:   ResultedPKCE{Code: theCode, State: theState, ISS: "i", Scope: "openid email"},
		}, {
			name:   "a form that is called a page",
			answer: reply(200, result, asHTML),
			want:   plain,
		}, {
			name:   "JSON",
			answer: reply(200, `{"code":"`+theCode+`","state":"`+theState+`","schema":`+theSchema+`,"extra":[1]}`, asJSON),
			want:   ResultedPKCE{Code: theCode, State: theState, Schema: schema},
		}, {
			name:   "a redirect with the result in its query",
			answer: reply(302, "", "Location: "+theRedirect+"?"+result+"&iss=x"),
			want:   ResultedPKCE{Code: theCode, State: theState, ISS: "x"},
		}, {
			name:   "a redirect with the result in its fragment",
			answer: reply(303, "", "Location: "+theRedirect+"#"+result),
			want:   plain,
		}, {
			name:   "an error in a redirect's query",
			answer: reply(302, "", "Location: "+theRedirect+"?error=login_required&error_description=Login+required&state="+theState),
			err:    &Error{Op: "authorize", StatusCode: 302, Code: "login_required", Description: "Login required"},
			causes: []error{ErrSignInRequired},
		}, {
			name:   "an error in a redirect's fragment",
			answer: reply(303, "", "Location: "+theRedirect+"#error=access_denied&error_uri=https%3A%2F%2Fe&state="+theState),
			err:    &Error{Op: "authorize", StatusCode: 303, Code: "access_denied", URI: "https://e"},
		}, {
			name:   "an error in a form",
			answer: reply(200, "error=consent_required&state="+theState, asForm),
			err:    &Error{Op: "authorize", StatusCode: 200, Code: "consent_required"},
			causes: []error{ErrSignInRequired},
		}, {
			name:   "an error that repeats secrets",
			answer: reply(302, "", "Location: "+theRedirect+"?error=server_error&error_description=bad+"+theState+"&state="+theState),
			err:    &Error{Op: "authorize", Code: "server_error", Description: "bad [redacted]"},
		}, {
			name:   "a redirect to the login page, which carries our state",
			answer: reply(302, "", "Location: /u/login?state="+theState+"&code=x"),
			err:    browser, causes: []error{ErrBrowserRequired},
		}, {
			name:   "a redirect to another port",
			answer: reply(302, "", "Location: http://localhost:3001/pkce/response/code?"+result),
			err:    browser, causes: []error{ErrBrowserRequired},
		}, {
			name:   "a redirect to another path",
			answer: reply(302, "", "Location: "+theRedirect+"/login?"+result),
			err:    browser, causes: []error{ErrBrowserRequired},
		}, {
			name:   "a redirect by another scheme",
			answer: reply(302, "", "Location: "+strings.Replace(theRedirect, "http", "https", 1)+"?"+result),
			err:    browser, causes: []error{ErrBrowserRequired},
		}, {
			name:   "a page",
			answer: reply(200, "<!doctype html><html>…</html>", asHTML),
			err:    &Error{Op: "authorize", StatusCode: 200}, causes: []error{ErrBrowserRequired},
		}, {
			name:   "a page that posts itself",
			answer: reply(200, `<html><form method=post action="`+theRedirect+`"><input name=code value=`+theCode+`></form></html>`, asHTML),
			err:    &Error{Op: "authorize", StatusCode: 200}, causes: []error{ErrBrowserRequired},
		}, {
			name:   "a page that posts an error",
			answer: reply(400, "<html><form method=post></form></html>", asHTML),
			err:    &Error{Op: "authorize", StatusCode: 400},
		}, {
			name:   "unknown client, as JSON",
			answer: reply(401, `{"error":"invalid_client","error_description":"who?"}`, asJSON),
			err:    &Error{Op: "authorize", StatusCode: 401, Code: "invalid_client", Description: "who?"},
		}, {
			name:   "bad redirect URI, as text",
			answer: reply(400, "Bad Request\nredirect_uri", asText),
			err:    &Error{Op: "authorize", StatusCode: 400},
		}, {
			name:   "somebody else's state",
			answer: reply(302, "", "Location: "+theRedirect+"?code=x&state=other"),
			err:    &Error{Op: "authorize", StatusCode: 302}, causes: []error{ErrStateMismatch},
		}, {
			name:   "an error with somebody else's state",
			answer: reply(302, "", "Location: "+theRedirect+"?error=access_denied&state=other"),
			err:    &Error{Op: "authorize", StatusCode: 302}, causes: []error{ErrStateMismatch},
		}, {
			name:   "no state",
			answer: reply(200, "code=x", asForm),
			err:    &Error{Op: "authorize", StatusCode: 200}, causes: []error{ErrStateMismatch},
		}, {
			name:   "two codes",
			answer: reply(200, result+"&code=other", asForm),
			err:    &Error{Op: "authorize", StatusCode: 200},
		}, {
			name:   "an empty code",
			answer: reply(200, "code=&state="+theState, asForm),
			err:    &Error{Op: "authorize", StatusCode: 200},
		}, {
			name:   "a redirect with neither code nor error",
			answer: reply(302, "", "Location: "+theRedirect+"?state="+theState),
			err:    &Error{Op: "authorize", StatusCode: 302},
		}, {
			name:   "a redirect that is no URL",
			answer: reply(302, "", "Location: http://[::1"), // of which net/http returns no status
			err:    &Error{Op: "authorize"},
		}, {
			name:   "a redirect to nowhere",
			answer: reply(302, ""),
			err:    &Error{Op: "authorize", StatusCode: 302},
		}, {
			name:   "an error with a place",
			answer: reply(400, "", "Location: "+theRedirect+"?"+result),
			err:    &Error{Op: "authorize", StatusCode: 400},
		}, {
			name:   "a malformed schema",
			answer: reply(200, result+"&schema=x", asForm),
			err:    &Error{Op: "authorize", StatusCode: 200},
		}, {
			name:   "nothing",
			answer: reply(200, "", asForm),
			err:    &Error{Op: "authorize", StatusCode: 200},
		}, {
			name:   "no content",
			answer: reply(204, ""),
			err:    &Error{Op: "authorize", StatusCode: 204},
		}, {
			name:   "cut JSON",
			answer: reply(200, `{"code":"`+theCode, asJSON),
			err:    &Error{Op: "authorize", StatusCode: 200},
		}, {
			name:   "a server's failure",
			answer: reply(500, "<html>", asHTML),
			err:    &Error{Op: "authorize", StatusCode: 500},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWire(t, tt.answer)
			a := newAuth(t, w.URL)
			got, err := a.Authorize(t.Context(), AuthorizeAuth0Params{CodeChallenge: theChallenge, State: ptr(theState)})
			require.Len(t, w.requests(), 1, "what was sent")
			if tt.err == nil {
				require.NoError(t, err)
				require.Equal(t, &tt.want, got)
				return
			}
			require.Nil(t, got)
			requireError(t, err, tt.err, tt.causes...)
			if slices.Contains(tt.causes, ErrBrowserRequired) {
				var e *Error
				require.ErrorAs(t, err, &e)
				require.Equal(t, w.URL+"/authorize?"+sentDefault+"&state="+theState, sorted(e.URI), "the URL to open")
			}
		})
	}
}

// TestExchangeAnswers holds what comes of each answer of POST /oauth/token,
// for every grant.
func TestExchangeAnswers(t *testing.T) {
	tokenWith := func(more string) http.HandlerFunc {
		return reply(200, `{"access_token":"`+theAccess+`","token_type":"Bearer"`+more+`}`, asJSON)
	}
	bearer := Token{AccessToken: theAccess, TokenType: "Bearer"}
	day := 24 * time.Hour
	for _, tt := range []struct {
		name   string
		answer http.HandlerFunc
		want   Token // or
		expiry time.Duration
		err    *Error
		causes []error
	}{
		{
			name:   "all there is",
			answer: tokenWith(`,"expires_in":86400,"scope":"openid  email","refresh_token":"r","id_token":"i.d.t","schema":` + theSchema + `,"new":{}`),
			want:   Token{AccessToken: theAccess, TokenType: "Bearer", RefreshToken: "r", IDToken: "i.d.t", Scopes: Scopes{"openid", "email"}},
			expiry: day,
		},
		{name: "what is required", answer: tokenWith(""), want: bearer},
		{name: "expires_in as a string", answer: tokenWith(`,"expires_in":"86400"`), want: bearer, expiry: day},
		{name: "expires_in with a fraction", answer: tokenWith(`,"expires_in":3600.0`), want: bearer, expiry: time.Hour},
		{name: "expires_in null", answer: tokenWith(`,"expires_in":null`), want: bearer},
		{name: "a token type in lower case", answer: reply(200, `{"access_token":"`+theAccess+`","token_type":"bearer"}`, asJSON), want: bearer},
		{name: "JSON that is called text", answer: reply(200, tokenBody, asText), want: bearer, expiry: day},
		{
			name:   "all characters that a token may have",
			answer: reply(200, `{"access_token":" !a~","refresh_token":"~ ","token_type":"Bearer"}`, asJSON),
			want:   Token{AccessToken: " !a~", TokenType: "Bearer", RefreshToken: "~ "},
		},
		{
			name:   "a character that none may have",
			answer: reply(200, `{"access_token":"a\u007f","token_type":"Bearer"}`, asJSON),
			err:    &Error{StatusCode: 200}, causes: []error{ErrUnknownOutcome},
		}, {
			name:   "an unknown token type",
			answer: reply(200, `{"access_token":"`+theAccess+`","token_type":"DPoP"}`, asJSON),
			err:    &Error{StatusCode: 200}, causes: []error{ErrUnknownOutcome},
		}, {
			name:   "no token type",
			answer: reply(200, `{"access_token":"`+theAccess+`"}`, asJSON),
			want:   bearer,
		},
		{name: "a token type that is null", answer: reply(200, `{"access_token":"`+theAccess+`","token_type":null}`, asJSON), want: bearer},
		{name: "a token type that is a list", answer: reply(200, `{"access_token":"`+theAccess+`","token_type":["Bearer"]}`, asJSON), want: bearer},
		{name: "expires_in as an object", answer: tokenWith(`,"expires_in":{}`), want: bearer},
		{name: "expires_in as a date", answer: tokenWith(`,"expires_in":"2026-01-02T03:04:05Z"`), want: bearer},
		{name: "a scope that is a list", answer: tokenWith(`,"scope":["openid","email"]`), want: Token{AccessToken: theAccess, TokenType: "Bearer", Scopes: Scopes{"openid", "email"}}},
		{name: "a scope that is a number", answer: tokenWith(`,"scope":1`), want: bearer},
		{name: "an ID token that is an object", answer: tokenWith(`,"id_token":{}`), want: bearer},
		{name: "a refresh token that is an object", answer: tokenWith(`,"refresh_token":{}`), want: bearer},
		{name: "a refresh token that none can be", answer: tokenWith(`,"refresh_token":"a\r\nb"`), want: bearer},
		{name: "a byte order mark", answer: reply(200, "\ufeff"+tokenBody, asJSON), want: bearer, expiry: day},
		{name: "201", answer: reply(201, tokenBody, asJSON), want: bearer, expiry: day},
		{name: "names in other letters", answer: reply(200, `{"access_token":"`+theAccess+`","ACCESS_TOKEN":"x","Refresh_Token":"y"}`, asJSON), want: bearer},
		{name: "an access token twice", answer: reply(200, `{"access_token":"`+theAccess+`","access_token":"x"}`, asJSON), err: &Error{StatusCode: 200}, causes: []error{ErrUnknownOutcome}},
		{name: "an access token that is a number", answer: reply(200, `{"access_token":1}`, asJSON), err: &Error{StatusCode: 200}, causes: []error{ErrUnknownOutcome}},
		{name: "no access token", answer: reply(200, `{"token_type":"Bearer","expires_in":60}`, asJSON), err: &Error{StatusCode: 200}, causes: []error{ErrUnknownOutcome}},
		{name: "an empty object", answer: reply(200, "{}", asJSON), err: &Error{StatusCode: 200}, causes: []error{ErrUnknownOutcome}},
		{name: "null", answer: reply(200, "null", asJSON), err: &Error{StatusCode: 200}, causes: []error{ErrUnknownOutcome}},
		{name: "a list", answer: reply(200, "[]", asJSON), err: &Error{StatusCode: 200}, causes: []error{ErrUnknownOutcome}},
		{name: "nothing", answer: reply(200, "", asJSON), err: &Error{StatusCode: 200}, causes: []error{ErrUnknownOutcome}},
		{name: "no content", answer: reply(204, ""), err: &Error{StatusCode: 204}, causes: []error{ErrUnknownOutcome}},
		{name: "a page", answer: reply(200, "<html>", asHTML), err: &Error{StatusCode: 200}, causes: []error{ErrUnknownOutcome}},
		{name: "a failure", answer: reply(502, "<html>", asHTML), err: &Error{StatusCode: 502}, causes: []error{ErrUnknownOutcome}},
		{
			name:   "a header in the token",
			answer: reply(200, `{"access_token":"a\r\nX: y","token_type":"Bearer"}`, asJSON),
			err:    &Error{StatusCode: 200}, causes: []error{ErrUnknownOutcome},
		}, {
			name:   "an error with status 200",
			answer: reply(200, `{"error":"invalid_grant"}`, asJSON),
			err:    &Error{StatusCode: 200, Code: "invalid_grant"}, causes: []error{ErrSignInRequired},
		}, {
			name:   "invalid_grant",
			answer: reply(400, `{"error":"invalid_grant","error_description":"no\nsuch code","error_uri":"https://e"}`, asJSON),
			err:    &Error{StatusCode: 400, Code: "invalid_grant", Description: "no such code", URI: "https://e"}, causes: []error{ErrSignInRequired},
		}, {
			name:   "invalid_request",
			answer: reply(400, `{"error":"invalid_request"}`, asJSON),
			err:    &Error{StatusCode: 400, Code: "invalid_request"},
		}, {
			name:   "invalid_client",
			answer: reply(401, `{"error":"invalid_client"}`, asJSON),
			err:    &Error{StatusCode: 401, Code: "invalid_client"},
		}, {
			name: "forbidden, repeating what was sent",
			answer: func(w http.ResponseWriter, r *http.Request) {
				b, _ := io.ReadAll(r.Body)
				reply(403, fmt.Sprintf(`{"error":"unauthorized_client","error_description":%q}`, b), asJSON)(w, r)
			},
			err: &Error{StatusCode: 403, Code: "unauthorized_client"},
		}, {
			name:   "too many, for longer than a call may wait",
			answer: reply(429, `{"error":"too_many_requests"}`, asJSON, "Retry-After: 3600"),
			err:    &Error{StatusCode: 429, Code: "too_many_requests", RetryAfter: time.Hour},
		},
		{
			name:   "a failure with a code",
			answer: reply(500, `{"error":"invalid_grant"}`, asJSON),
			err:    &Error{StatusCode: 500, Code: "invalid_grant"}, causes: []error{ErrUnknownOutcome, ErrSignInRequired},
		},
		{name: "several to choose from", answer: reply(300, "<html>", asHTML), err: &Error{StatusCode: 300}},
		{name: "an error as a page", answer: reply(400, "<html>", asHTML), err: &Error{StatusCode: 400}},
		{name: "an error as an object", answer: reply(400, `{"error":{"message":"`+theCode+`"}}`, asJSON), err: &Error{StatusCode: 400}},
		{name: "an error cut off", answer: reply(400, `{"error":"inval`, asJSON), err: &Error{StatusCode: 400}},
	} {
		for op, call := range map[string]func(context.Context, *Authenticator) (*Token, error){
			"exchange": func(ctx context.Context, a *Authenticator) (*Token, error) {
				return a.Exchange(ctx, TokenizedPKCE{Code: theCode, CodeVerifier: theVerifier})
			},
			"refresh": func(ctx context.Context, a *Authenticator) (*Token, error) {
				return a.Refresh(ctx, &Token{RefreshToken: theRefresh})
			},
		} {
			if op == "refresh" && tt.want.IDToken != "" {
				continue // its ID token is checked: see TestRefreshedIDToken
			}
			t.Run(op+"/"+tt.name, func(t *testing.T) {
				w := newWire(t, tt.answer)
				before := time.Now()
				got, err := call(t.Context(), newAuth(t, w.URL))
				after := time.Now()
				require.Len(t, w.requests(), 1, "what was sent")
				if tt.err != nil {
					require.Nil(t, got)
					tt.err.Op = op
					requireError(t, err, tt.err, tt.causes...)
					switch {
					case tt.err.Code != "" || tt.err.StatusCode > 400:
						require.NoError(t, errors.Unwrap(err), "the refusal says it all")
					case tt.err.StatusCode == http.StatusBadRequest:
						require.ErrorContains(t, err, strings.TrimPrefix(w.URL, "http://")+"/oauth/token", "where it comes from")
					default:
						require.Error(t, errors.Unwrap(err), "what is wrong with it")
					}
					return
				}
				require.NoError(t, err)
				want := tt.want
				require.WithinRange(t, got.Obtained, before.Truncate(0), after)
				want.Obtained, want.BaseURL, want.ClientID = got.Obtained, w.URL+"/", theClient
				if op == "refresh" && want.RefreshToken == "" {
					want.RefreshToken = theRefresh // which is carried over
				}
				if tt.expiry != 0 {
					require.WithinRange(t, got.Expiry, before.Add(tt.expiry), after.Add(tt.expiry))
					want.Expiry = got.Expiry
				}
				if len(want.Scopes) == 0 {
					require.Empty(t, got.Scopes)
					want.Scopes = got.Scopes
				}
				require.Equal(t, &want, got)
				require.True(t, got.Valid())
			})
		}
	}
}

// TestUserInfoAnswers holds what comes of each answer of GET /userinfo.
func TestUserInfoAnswers(t *testing.T) {
	second := Timestamp{time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	for _, tt := range []struct {
		name   string
		answer http.HandlerFunc
		want   Auth0User // or
		err    *Error
	}{
		{name: "sub alone", answer: reply(200, `{"sub":"auth0|1"}`, asJSON), want: Auth0User{Sub: "auth0|1"}},
		{name: "a claim that is called error", answer: reply(200, `{"sub":"auth0|1","error":"none"}`, asJSON), want: Auth0User{Sub: "auth0|1"}},
		{
			name: "all there is",
			answer: reply(200, `{"sub":"auth0|1","name":"Ada","email":"","email_verified":true,"updated_at":"2026-01-02T03:04:05Z","logins_count":3,
				"identities":[{"provider":"p","isSocial":true,"expires_in":"60","access_token":"t"}],"blocked_for":["a"],
				"user_metadata":{"global_id":"not-a-uuid","schema":`+theSchema+`,"open_AI":{"api_key":"k"},"allocation":{"project":"p","region":"r"},
				"beta":{"from":{"value":"2026-01-02T03:04:05Z"}}}}`, asJSON),
			want: Auth0User{
				Sub: "auth0|1", Name: "Ada", EmailVerified: true, UpdatedAt: second, LoginsCount: 3, BlockedFor: []string{"a"},
				Identities: []Auth0Identity{{Provider: "p", IsSocial: true, ExpiresIn: 60, AccessToken: "t"}},
				UserMetadata: &Auth0UserMetadata{
					GlobalID: "not-a-uuid", Schema: &EmbeddedModelSchema{Semantic: "MAJOR_0_MINOR_0_PATCH_1"},
					OpenAI: &Auth0OpenAIUserMetadata{APIKey: "k"}, Allocation: &Auth0UserAllocationMetadata{Project: "p", Region: "r"},
					Beta: &AnonymousTemporalRange{From: &GroupedTimestamp{Value: second}},
				},
			},
		},
		{name: "updated_at as a number", answer: reply(200, `{"sub":"s","updated_at":1767323045}`, asJSON), want: Auth0User{Sub: "s", UpdatedAt: second}},
		{name: "an unknown enum value", answer: reply(200, `{"sub":"s","user_metadata":{"schema":{"migration":9,"semantic":"NEW"}}}`, asJSON), want: Auth0User{
			Sub: "s", UserMetadata: &Auth0UserMetadata{Schema: &EmbeddedModelSchema{Migration: 9, Semantic: "NEW"}},
		}},
		{name: "JSON that is called text", answer: reply(200, ` {"sub":"s"}`, asText), want: Auth0User{Sub: "s"}},
		{
			name:   "refused by challenge and JSON",
			answer: reply(401, `{"error":"invalid_token","error_description":"expired"}`, asJSON, `WWW-Authenticate: Bearer error="other"`),
			err:    &Error{StatusCode: 401, Code: "invalid_token", Description: "expired"},
		}, {
			name:   "refused by challenge",
			answer: reply(401, "Unauthorized", asText, `WWW-Authenticate: Bearer realm="error=x", error="invalid_token", error_description="say \"please\", `+theAccess+`"`),
			err:    &Error{StatusCode: 401, Code: "invalid_token", Description: `say "please", [redacted]`},
		}, {
			name: "refused by two challenges",
			answer: reply(401, "{}", asJSON, `WWW-Authenticate: Basic realm="r"`,
				`WWW-Authenticate: Bearer error="invalid_token", error_uri="https://e"`, `WWW-Authenticate: Bearer error="second"`),
			err: &Error{StatusCode: 401, Code: "invalid_token", URI: "https://e"},
		}, {
			name:   "refused by a challenge that is cut off",
			answer: reply(401, "", `WWW-Authenticate: Bearer error="invalid_token`),
			err:    &Error{StatusCode: 401, Code: "invalid_token"},
		}, {
			name:   "refused by a challenge that is cut off in an escape",
			answer: reply(401, "", `WWW-Authenticate: Bearer error="x\`),
			err:    &Error{StatusCode: 401, Code: `x\`},
		}, {
			name:   "refused by a challenge without quotes",
			answer: reply(403, "", "WWW-Authenticate: Bearer error=insufficient_scope, scope=openid"),
			err:    &Error{StatusCode: 403, Code: "insufficient_scope"},
		},
		{name: "refused as text", answer: reply(401, "Unauthorized", asText), err: &Error{StatusCode: 401}},
		{name: "refused as an empty object", answer: reply(403, "{}", asJSON), err: &Error{StatusCode: 403}},
		{name: "a failure", answer: reply(500, "<html>"+theAccess, asHTML), err: &Error{StatusCode: 500}},
		{name: "too many", answer: reply(429, "", "Retry-After: 60"), err: &Error{StatusCode: 429, RetryAfter: time.Minute}},
		{name: "an empty object", answer: reply(200, "{}", asJSON), err: &Error{StatusCode: 200}},
		{name: "an empty object with room in it", answer: reply(200, "{\n}\n", asJSON), err: &Error{StatusCode: 200}},
		{name: "an error with status 200", answer: reply(200, `{"error":"invalid_token"}`, asJSON), err: &Error{StatusCode: 200, Code: "invalid_token"}},
		{name: "null", answer: reply(200, "null", asJSON), err: &Error{StatusCode: 200}},
		{name: "a list", answer: reply(200, "[]", asJSON), err: &Error{StatusCode: 200}},
		{name: "nothing", answer: reply(200, "", asJSON), err: &Error{StatusCode: 200}},
		{name: "no content", answer: reply(204, ""), err: &Error{StatusCode: 204}},
		{name: "a page", answer: reply(200, "<html>", asHTML), err: &Error{StatusCode: 200}},
		{name: "cut off", answer: reply(200, `{"sub":"s`, asJSON), err: &Error{StatusCode: 200}},
		{name: "wrong types", answer: reply(200, `{"sub":{}}`, asJSON), err: &Error{StatusCode: 200}},
		{name: "no UTF-8", answer: reply(200, "{\"sub\":\"\xff\"}", asJSON), err: &Error{StatusCode: 200}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWire(t, tt.answer)
			got, err := newAuth(t, w.URL).UserInfo(t.Context(), &Token{AccessToken: theAccess})
			require.Len(t, w.requests(), 1, "what was sent")
			if tt.err != nil {
				require.Nil(t, got)
				tt.err.Op = "userinfo"
				requireError(t, err, tt.err)
				return
			}
			require.NoError(t, err)
			require.Equal(t, tt.want, got.Auth0User)
		})
	}
}

// TestUserClaims loses nothing of a profile, not even on its way through JSON.
func TestUserClaims(t *testing.T) {
	const profile = `{"sub":"s","name":"Ada","https://pieces.app/plan":{"tier":"pro"},"updated_at":1767323045}`
	w := newWire(t, reply(200, profile, asJSON))
	user, err := newAuth(t, w.URL).UserInfo(t.Context(), &Token{AccessToken: theAccess})
	require.NoError(t, err)

	stored, err := json.Marshal(user)
	require.NoError(t, err)
	require.JSONEq(t, profile, string(stored))
	var again User
	require.NoError(t, json.Unmarshal(stored, &again))
	require.Equal(t, "Ada", again.Name)

	for _, u := range []*User{user, &again} {
		var claims struct {
			Name string `json:"name"`
			Plan struct {
				Tier string `json:"tier"`
			} `json:"https://pieces.app/plan"`
		}
		require.NoError(t, u.Claims(&claims))
		require.Equal(t, "Ada", claims.Name)
		require.Equal(t, "pro", claims.Plan.Tier)
	}

	var byHand struct{ Name string }
	require.NoError(t, (&User{Auth0User: Auth0User{Name: "Grace"}}).Claims(&byHand))
	require.Equal(t, "Grace", byHand.Name)
	requireError(t, user.Claims(&[]string{}), &Error{Op: "userinfo"})
	require.Error(t, json.Unmarshal([]byte(`{"sub":1}`), &again))
}

// TestLogoutAnswers holds what comes of each answer of GET /v2/logout.
func TestLogoutAnswers(t *testing.T) {
	for _, tt := range []struct {
		name   string
		answer http.HandlerFunc
		want   LogoutResult // or
		err    *Error
	}{
		{name: "a page", answer: reply(200, "<html>Bye</html>", asHTML), want: LogoutResult{HTML: "<html>Bye</html>"}},
		{name: "a redirect", answer: reply(302, "Found", "Location: https://example.com/bye"), want: LogoutResult{Location: "https://example.com/bye"}},
		{name: "a redirect on the same server", answer: reply(303, "", "Location: /v2/bye?x=1"), want: LogoutResult{Location: "/v2/bye?x=1"}},
		{name: "an address that is not registered", answer: reply(400, "<html>", asHTML), err: &Error{StatusCode: 400}},
		{name: "an error as JSON", answer: reply(400, `{"error":"invalid_request","error_description":"returnTo"}`, asJSON), err: &Error{StatusCode: 400, Code: "invalid_request", Description: "returnTo"}},
		{name: "a redirect to nowhere", answer: reply(302, ""), err: &Error{StatusCode: 302}},
		{name: "a redirect that is no URL", answer: reply(302, "", "Location: http://[::1"), err: &Error{}},
		{name: "an error with a place", answer: reply(400, "", "Location: https://example.com/bye"), err: &Error{StatusCode: 400}},
		{name: "a failure", answer: reply(500, "<html>", asHTML), err: &Error{StatusCode: 500}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWire(t, tt.answer)
			got, err := newAuth(t, w.URL).Logout(t.Context(), "https://example.com/bye")
			require.Len(t, w.requests(), 1, "what was sent")
			if tt.err != nil {
				require.Nil(t, got)
				tt.err.Op = "logout"
				requireError(t, err, tt.err)
				return
			}
			require.NoError(t, err)
			if strings.HasPrefix(tt.want.Location, "/") {
				tt.want.Location = w.URL + tt.want.Location
			}
			require.Equal(t, &tt.want, got)
		})
	}
}

func TestLogoutURL(t *testing.T) {
	a := newAuth(t, "https://auth.example.com/base/")
	require.Equal(t, "https://auth.example.com/base/v2/logout?client_id="+theClient, a.LogoutURL(""))
	require.Equal(t, "https://auth.example.com/base/v2/logout?client_id="+theClient+sentReturn, sorted(a.LogoutURL("https://example.com/bye")))
}

// TestRefusedUnsent names what is missing or wrong, and sends nothing.
func TestRefusedUnsent(t *testing.T) {
	exchangeOf := func(grant TokenizedPKCE) func(context.Context, *Authenticator) error {
		return func(ctx context.Context, a *Authenticator) error { _, err := a.Exchange(ctx, grant); return err }
	}
	completeOf := func(attempt *Attempt) func(context.Context, *Authenticator) error {
		return func(ctx context.Context, a *Authenticator) error {
			_, err := a.Complete(ctx, attempt, url.Values{"state": {""}, "code": {theCode}})
			return err
		}
	}
	for _, tt := range []struct {
		op, names string
		config    func(*Config)
		call      func(context.Context, *Authenticator) error
	}{
		{op: "authorize", names: "CodeChallenge", call: func(ctx context.Context, a *Authenticator) error {
			_, err := a.Authorize(ctx, AuthorizeAuth0Params{})
			return err
		}},
		{op: "authorize", names: "Audience", config: func(c *Config) { c.Audience = "" }, call: authorize},
		{op: "exchange", names: "Code", call: exchangeOf(TokenizedPKCE{})},
		{op: "exchange", names: "CodeVerifier", call: exchangeOf(TokenizedPKCE{Code: theCode})},
		{op: "exchange", names: "RedirectURI", config: func(c *Config) { c.RedirectURL = "" }, call: exchangeCode},
		{op: "exchange", names: "RefreshToken", call: exchangeOf(TokenizedPKCE{GrantType: GrantTypeRefreshToken, Code: theCode})},
		{op: "exchange", names: "GrantType", call: exchangeOf(TokenizedPKCE{Code: theCode, RefreshToken: theRefresh})},
		{op: "exchange", names: "GrantType", call: exchangeOf(TokenizedPKCE{GrantType: "password", Code: theCode})},
		{op: "refresh", names: "RefreshToken", call: func(ctx context.Context, a *Authenticator) error { _, err := a.Refresh(ctx, nil); return err }},
		{op: "refresh", names: "RefreshToken", call: func(ctx context.Context, a *Authenticator) error {
			_, err := a.Refresh(ctx, &Token{AccessToken: theAccess})
			return err
		}},
		{op: "userinfo", names: "AccessToken", call: func(ctx context.Context, a *Authenticator) error { _, err := a.UserInfo(ctx, nil); return err }},
		{op: "userinfo", names: "AccessToken", call: func(ctx context.Context, a *Authenticator) error {
			_, err := a.UserInfo(ctx, &Token{RefreshToken: theRefresh})
			return err
		}},
		{op: "userinfo", names: "ID token", call: func(ctx context.Context, a *Authenticator) error {
			_, err := a.UserInfo(ctx, &Token{AccessToken: theAccess, IDToken: "a.b.c"})
			return err
		}},
		{op: "complete", names: "attempt", call: completeOf(nil)},
		{op: "complete", names: "State", call: completeOf(&Attempt{Verifier: theVerifier, RedirectURL: theRedirect})},
		{op: "complete", names: "Verifier", call: completeOf(&Attempt{State: theState, RedirectURL: theRedirect})},
		{op: "complete", names: "RedirectURL", call: completeOf(&Attempt{State: theState, Verifier: theVerifier})},
	} {
		t.Run(tt.op+" "+tt.names, func(t *testing.T) {
			w := newWire(t, reply(200, tokenBody, asJSON))
			var change []func(*Config)
			if tt.config != nil {
				change = append(change, tt.config)
			}
			err := tt.call(t.Context(), newAuth(t, w.URL, change...))
			requireError(t, err, &Error{Op: tt.op})
			require.Contains(t, err.Error(), tt.names+" ")
			require.Empty(t, w.requests())
		})
	}
}
