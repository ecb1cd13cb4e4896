// Package piecesauth signs people in to Pieces.
//
// It is the Go SDK for the four operations of the Pieces Auth0 API, and for
// what has to happen around them: PKCE, state, nonce, the callback, ID tokens,
// and keeping a token fresh.
//
//	auth, err := piecesauth.New(piecesauth.Config{
//		BaseURL:  piecesauth.LiveBaseURL,
//		ClientID: "…",
//		Audience: "https://pieces.us.auth0.com/api/v2/",
//	})
//	token, err := loopback.SignIn(ctx, auth, loopback.Options{})
//	user, err := auth.UserInfo(ctx, token)
//
// # Signing in
//
// Package loopback does the whole journey on a person's machine. A web
// application does it in two requests: [Authenticator.Begin] gives an
// [Attempt], with the URL to send the person to and the values to keep until
// the answer comes; [Authenticator.Complete] takes the attempt and the
// callback's values, and gives a [Token]. [Authenticator.UserInfo] says whose.
//
// # Staying signed in
//
// [Authenticator.TokenSource] hands out a valid token to any number of
// goroutines and, with a store such as package tokenfile, of processes.
//
// # Errors
//
// Every failed call returns an [*Error]. [ErrSignInRequired] answers whether
// the person has to sign in again.
//
// # Testing
//
// Package piecesauthtest is a Pieces authorization server in memory, for the
// tests of whatever uses this package.
//
// # The generated client
//
// Models and [Client] come from the API's OpenAPI document. [Authenticator.API]
// gives the client as it is, for what the methods of [Authenticator] don't
// cover. What oapi-codegen says of it:
package piecesauth

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// The servers of the contract; [Config.BaseURL] takes these or any other.
const (
	LocalBaseURL = "http://localhost:1000"        // a Pieces OS on this machine, the contract's default
	LiveBaseURL  = "https://auth.pieces.services" // the live sign-in domain
)

// Config says which application signs people in, and where. ClientID is
// required, Audience for signing in; all else has a default.
type Config struct {
	// BaseURL is the authorization server, by default [LocalBaseURL]. Like
	// every URL here it is https, or http on this machine.
	BaseURL string
	// ClientID is the application, as registered. There is no secret: an
	// application on a person's machine could not keep one (RFC 8252 §8.5).
	ClientID string
	// RedirectURL is where the answer of a sign-in goes, one of those
	// registered: https, http on this machine, or a scheme of the
	// application's own. It may come with each attempt instead.
	RedirectURL string
	// Audience identifies the API that access tokens are for.
	Audience string
	// Scopes is what to ask for, by default openid, profile, email and
	// offline_access.
	Scopes Scopes
	// ResponseMode is how the answer reaches RedirectURL, by default
	// [ResponseModeFormPost].
	ResponseMode ResponseMode
	// Issuer, where set, has ID tokens verified in full: that they are of this
	// issuer, and signed with its keys, which are found through
	// {Issuer}/.well-known/openid-configuration (OpenID Connect Discovery §4).
	// An issuer is compared as a string; Auth0's end in a slash. Where it is
	// not set, see [Authenticator.Complete] for what is proved nonetheless.
	Issuer string
	// IDTokenAlgorithms lists the signature algorithms ID tokens may have, by
	// default RS256 alone. Only signatures with a public key can be listed.
	IDTokenAlgorithms []string
	// ApplicationID is sent as X-Application-ID, on every call but UserInfo,
	// where set.
	ApplicationID string
	// RefreshBefore is how long before its expiry a [TokenSource] refreshes a
	// token, by default 30 seconds. It should be well below the lifetime of
	// tokens, or every call refreshes.
	RefreshBefore time.Duration
	// HTTPClient sends the requests. It is copied, and the copy follows no
	// redirects. Whatever it is, a call ends within 30 seconds, an answer of
	// over 1 MiB fails with [ErrTooLarge], and no request to the token endpoint
	// whose fate is unknown is sent again, unless its Transport does that by
	// itself. Limits on headers and handshakes are the Transport's; the default
	// is a transport of our own, set up as [http.DefaultTransport] is.
	HTTPClient *http.Client
}

// Authenticator carries out the operations. It is safe for concurrent use, and
// holds no tokens.
type Authenticator struct {
	config      Config
	base        *url.URL // with a slash at the end, as the generated requests need
	client      *http.Client
	userInfo    *http.Request // built once, with all that calls have in common
	token       *http.Request
	begin       beginURL // of the default options
	grantFields []string
	issuer      issuer
}

// New checks the configuration. Its error names the field that can't work.
func New(config Config) (*Authenticator, error) {
	fail := func(field string, err error) (*Authenticator, error) {
		return nil, &Error{Op: "new", Err: fmt.Errorf("%s %w", field, err)}
	}
	if config.BaseURL == "" {
		config.BaseURL = LocalBaseURL
	}
	if config.Scopes == nil {
		config.Scopes = Scopes{"openid", "profile", "email", "offline_access"}
	}
	if config.ResponseMode == "" {
		config.ResponseMode = ResponseModeFormPost
	}
	if config.RefreshBefore == 0 {
		config.RefreshBefore = 30 * time.Second
	}
	if config.IDTokenAlgorithms == nil {
		config.IDTokenAlgorithms = []string{"RS256"}
	}
	config.Scopes, config.IDTokenAlgorithms = slices.Clone(config.Scopes), slices.Clone(config.IDTokenAlgorithms)

	base, err := parseURL(config.BaseURL)
	if err == nil {
		err = checkSecure(base)
	}
	if err != nil {
		return fail("BaseURL", err)
	}
	if config.ClientID == "" {
		return fail("ClientID", errEmpty)
	}
	if config.RedirectURL != "" {
		if err := checkRedirectURL(config.RedirectURL); err != nil {
			return fail("RedirectURL", err)
		}
	}
	if slices.ContainsFunc(config.Scopes, func(s string) bool { return s == "" || strings.ContainsAny(s, " \t\r\n") }) {
		return fail("Scopes", errors.New("has an item that is empty, or several in one"))
	}
	switch config.ResponseMode {
	case ResponseModeFormPost, ResponseModeFragment, ResponseModeQuery, ResponseModeWebMessage:
	default:
		return fail("ResponseMode", errors.New("is none of form_post, query, fragment and web_message"))
	}
	if config.RefreshBefore < 0 {
		return fail("RefreshBefore", errors.New("is negative"))
	}
	a := &Authenticator{config: config, base: base.JoinPath("/"), client: newHTTPClient(config.HTTPClient), grantFields: grantFields()}
	if err := a.initIssuer(); err != nil {
		return nil, err
	}

	server := a.base.String()
	if a.userInfo, err = NewGetAuth0UserInfoRequest(server); err == nil {
		a.token, err = NewExchangeForAuth0TokenRequestWithBody(server, formType, nil)
	}
	if err != nil {
		return fail("BaseURL", err)
	}
	a.userInfo.Header.Set("Accept", jsonType)
	a.token.Header.Set("Accept", jsonType)
	_ = a.identify(context.Background(), a.token)
	if config.RedirectURL != "" && config.Audience != "" {
		if a.begin, err = a.newBeginURL(config.RedirectURL, &BeginOptions{}); err != nil {
			return fail("Config", err)
		}
	}
	return a, nil
}

// Config returns a copy of the configuration, with its defaults filled in.
func (a *Authenticator) Config() Config {
	config := a.config
	config.Scopes, config.IDTokenAlgorithms = slices.Clone(config.Scopes), slices.Clone(config.IDTokenAlgorithms)
	return config
}

const (
	formType = "application/x-www-form-urlencoded"
	jsonType = "application/json"
)

var (
	errEmpty    = errors.New("is empty")
	errNoResult = errors.New("the answer has neither code nor error")
	errRedirect = errors.New("the answer is a redirect that can't be read")
)

func parseURL(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		return nil, errors.New("is not a URL") // the reason given would repeat it
	case u.RawQuery != "" || u.Fragment != "":
		return nil, errors.New("has a query or fragment")
	}
	return u, nil
}

// checkRedirectURL checks a redirection endpoint (RFC 6749 §3.1.2): absolute,
// without a fragment, and not open to listeners (RFC 9700 §2.6).
func checkRedirectURL(raw string) error {
	u, err := url.Parse(raw)
	switch {
	case err != nil || u.Scheme == "":
		return errors.New("is not an absolute URL")
	case strings.Contains(raw, "#"):
		return errors.New("has a fragment (RFC 6749 §3.1.2)")
	case u.Scheme == "http" || u.Scheme == "https":
		return checkSecure(u)
	}
	return nil // a scheme of the application's own (RFC 8252 §7.1)
}

// identify names the application to Pieces, everywhere but at the profile.
func (a *Authenticator) identify(_ context.Context, r *http.Request) error {
	if a.config.ApplicationID != "" && r.URL.Path != a.userInfo.URL.Path {
		r.Header.Set("X-Application-ID", a.config.ApplicationID)
	}
	return nil
}

// API gives the generated client, set up as a is: its server, its HTTP client,
// its timeout and cap, X-Application-ID. What a generator can't know is the
// caller's: checks of what comes back, and the Authorization header of
// GetAuth0UserInfo, for which a [RequestEditorFn] serves.
func (a *Authenticator) API() *ClientWithResponses {
	// As NewClientWithResponses does, but for an error that can't be: New checked the URL.
	return &ClientWithResponses{&Client{
		Server: a.base.String(), Client: apiClient{a}, RequestEditors: []RequestEditorFn{a.identify},
	}}
}

// apiClient bounds what the generated client, which reads to the end, takes.
type apiClient struct{ a *Authenticator }

func (c apiClient) Do(r *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithTimeout(r.Context(), callTimeout)
	defer cancel()
	resp, err := c.a.client.Do(r.WithContext(ctx))
	if err != nil {
		return nil, &Error{Op: "api", Err: transportCause(cmp.Or(ctx.Err(), err))}
	}
	b, err := readBody(resp)
	_ = resp.Body.Close()
	if err != nil {
		return nil, &Error{Op: "api", StatusCode: resp.StatusCode, Err: transportCause(cmp.Or(ctx.Err(), err))}
	}
	resp.Body = io.NopCloser(bytes.NewReader(b))
	return resp, nil
}

// Authorize sends GET /authorize, as documented. Fields of params that are
// empty are taken from the configuration; CodeChallenge has to be there. State,
// where set, is compared with the answer's.
//
// It suits silent authentication (Prompt "none", best with ResponseModeQuery:
// the answer by form_post is a page) and servers that answer directly; signing
// a person in needs a browser, for which there is [Authenticator.Begin]. The
// result is read from a form, from JSON, or from a redirect whose scheme, host
// and path are the redirect URI's. A page, or a redirect elsewhere, is
// [ErrBrowserRequired] with the URL to open; an error such as login_required is
// the [Error]'s Code.
func (a *Authenticator) Authorize(ctx context.Context, params AuthorizeAuth0Params) (*ResultedPKCE, error) {
	const op = "authorize"
	fill(&params.Audience, a.config.Audience)
	fill(&params.ResponseType, ResponseTypeCode)
	fill(&params.ClientID, a.config.ClientID)
	fill(&params.CodeChallengeMethod, CodeChallengeMethodS256)
	fill(&params.ResponseMode, a.config.ResponseMode)
	if len(params.Scope) == 0 {
		params.Scope = a.config.Scopes
	}
	if params.RedirectURI == nil && a.config.RedirectURL != "" {
		params.RedirectURI = &a.config.RedirectURL
	}
	req, err := a.authorizeRequest(&params)
	if err != nil {
		return nil, &Error{Op: op, Err: err}
	}
	req.Header.Set("Accept", formType+", text/html;q=0.5")
	_ = a.identify(ctx, req)
	ans, err := a.do(ctx, op, req, req.Header, "")
	if err != nil {
		return nil, err
	}

	state := deref(params.State)
	var values url.Values
	switch location := ans.redirect(); {
	case location != "":
		to, err := req.URL.Parse(location)
		if err != nil {
			return nil, &Error{Op: op, StatusCode: ans.status, Err: errRedirect}
		}
		if sameEndpoint(to, deref(params.RedirectURI)) {
			if values = callbackOf(to); values == nil {
				return nil, &Error{Op: op, StatusCode: ans.status, Err: errNoResult}
			}
		}
	case ans.status == http.StatusOK:
		if values, err = parseResult(&ans); err != nil {
			return nil, &Error{Op: op, StatusCode: ans.status, Err: err}
		}
	default:
		return nil, ans.refusal(op, state, deref(params.Nonce))
	}
	if values == nil {
		return nil, &Error{Op: op, StatusCode: ans.status, URI: req.URL.String(), Err: ErrBrowserRequired}
	}
	if err := a.checkCallback(ctx, op, values, state, deref(params.Nonce)); err != nil {
		err.StatusCode = ans.status
		return nil, err
	}
	result, err := newResult(values)
	if err != nil {
		return nil, &Error{Op: op, StatusCode: ans.status, Err: err}
	}
	return result, nil
}

// Exchange sends POST /oauth/token, as documented, with exactly what the grant
// takes: for authorization_code the client, code, redirect URI and verifier,
// and audience and schema where set; for refresh_token the client and refresh
// token. ClientID and RedirectURI are taken from the configuration where they
// are empty, and GrantType from what is there. The ID token is not checked:
// see [Authenticator.Complete], which does.
//
// It is sent once, but for 429 answers: an error that is [ErrUnknownOutcome]
// leaves open whether the code or refresh token is spent.
func (a *Authenticator) Exchange(ctx context.Context, grant TokenizedPKCE) (*Token, error) {
	return a.exchange(ctx, "exchange", grant)
}

// exchange redacts further secrets that the server may know from before.
func (a *Authenticator) exchange(ctx context.Context, op string, grant TokenizedPKCE, secrets ...string) (*Token, error) {
	fill(&grant.ClientID, a.config.ClientID)
	fill(&grant.RedirectURI, a.config.RedirectURL)
	if grant.GrantType == "" {
		switch {
		case grant.Code != "" && grant.RefreshToken != "":
			return nil, &Error{Op: op, Err: errors.New("GrantType is empty, with both a Code and a RefreshToken")}
		case grant.RefreshToken != "":
			grant.GrantType = GrantTypeRefreshToken
		default:
			grant.GrantType = GrantTypeAuthorizationCode
		}
	}
	var missing string
	switch grant.GrantType {
	case GrantTypeAuthorizationCode:
		grant.RefreshToken = ""
		missing = firstEmpty("Code", grant.Code, "RedirectURI", grant.RedirectURI, "CodeVerifier", grant.CodeVerifier)
	case GrantTypeRefreshToken:
		grant = TokenizedPKCE{GrantType: grant.GrantType, ClientID: grant.ClientID, RefreshToken: grant.RefreshToken}
		missing = firstEmpty("RefreshToken", grant.RefreshToken)
	default:
		return nil, &Error{Op: op, Err: errors.New("GrantType is neither authorization_code nor refresh_token")}
	}
	if missing != "" {
		return nil, &Error{Op: op, Err: fmt.Errorf("%s %w", missing, errEmpty)}
	}
	form, err := a.encodeGrant(&grant)
	if err != nil {
		return nil, &Error{Op: op, Err: err}
	}
	sent := time.Now()
	ans, err := a.do(ctx, op, a.token, shallow(a.token.Header), form)
	if err != nil {
		return nil, err
	}
	var cause error
	if ans.status == http.StatusOK {
		var w OAuthToken
		if cause = decode(ans.body, &w); cause == nil {
			var t *Token
			if t, cause = newToken(&w, sent); cause == nil {
				return t, nil
			}
		}
	}
	e := ans.refusal(op, append(secrets, grant.Code, grant.CodeVerifier, grant.RefreshToken)...)
	if cause != nil && e.Code == "" {
		e.Err = cause
	}
	e.unknownOutcome = ans.status >= 500 || ans.status < 300 && e.Code == ""
	return nil, e
}

// UserInfo sends GET /userinfo with the access token as bearer, and gives the
// profile. Where the token has an ID token, the profile has to be of the same
// person (OpenID Connect Core §5.3.2).
func (a *Authenticator) UserInfo(ctx context.Context, token *Token) (*User, error) {
	const op = "userinfo"
	if token == nil || token.AccessToken == "" {
		return nil, &Error{Op: op, Err: fmt.Errorf("AccessToken %w", errEmpty)}
	}
	sub, err := token.subject()
	if err != nil {
		return nil, &Error{Op: op, Err: err}
	}
	header := shallow(a.userInfo.Header)
	header["Authorization"] = []string{"Bearer " + token.AccessToken}
	ans, err := a.do(ctx, op, a.userInfo, header, "")
	if err != nil {
		return nil, err
	}
	if ans.status != http.StatusOK {
		return nil, ans.refusal(op, token.AccessToken, token.RefreshToken, token.IDToken)
	}
	user := new(User)
	err = decode(ans.body, &user.Auth0User)
	if err == nil && len(bytes.Trim(ans.body, "{} \t\r\n")) == 0 {
		err = errors.New("the profile is empty")
	}
	if err != nil {
		return nil, &Error{Op: op, StatusCode: ans.status, Err: err}
	}
	if user.Sub+user.UserID == "" {
		var w struct{ Error any }
		if _ = json.Unmarshal(ans.body, &w); w.Error != nil {
			return nil, ans.refusal(op, token.AccessToken, token.RefreshToken, token.IDToken) // for all its status
		}
	}
	if sub != "" && user.Sub != sub {
		return nil, &Error{Op: op, StatusCode: ans.status, Err: errors.New("sub is missing or not the ID token's")}
	}
	user.raw = ans.body
	return user, nil
}

// User is a profile. Its JSON form is what the server sent, all of it.
type User struct {
	Auth0User

	raw []byte
}

// Claims decodes the whole profile into v, as [json.Unmarshal] would: custom
// and namespaced claims included (OpenID Connect Core §5.1.2).
func (u *User) Claims(v any) error {
	b, err := u.MarshalJSON()
	if err == nil {
		err = json.Unmarshal(b, v)
	}
	if err != nil {
		return &Error{Op: "userinfo", Err: jsonCause(err)}
	}
	return nil
}

// MarshalJSON gives what the server sent, or, of a User made by hand, its
// fields.
func (u User) MarshalJSON() ([]byte, error) {
	if u.raw != nil {
		return u.raw, nil
	}
	return json.Marshal(u.Auth0User)
}

// UnmarshalJSON keeps the whole profile.
func (u *User) UnmarshalJSON(b []byte) error {
	var fields Auth0User
	if err := json.Unmarshal(b, &fields); err != nil {
		return err
	}
	u.Auth0User, u.raw = fields, bytes.Clone(b)
	return nil
}

// LogoutResult is what the server answers to a logout: a page to show, or
// where to go instead.
type LogoutResult struct {
	HTML     string // the page, as it came
	Location string // the target of the redirect, made absolute
}

// Logout sends GET /v2/logout with the client, and returnTo where it is not
// empty; the server answers 400 to a returnTo that is not registered. It ends
// no browser's session, for a browser's cookies are not sent: to sign a person
// out, send them to [Authenticator.LogoutURL]. Tokens stay valid.
func (a *Authenticator) Logout(ctx context.Context, returnTo string) (*LogoutResult, error) {
	const op = "logout"
	req, err := a.logoutRequest(returnTo)
	if err != nil {
		return nil, &Error{Op: op, Err: err}
	}
	req.Header.Set("Accept", "text/html")
	_ = a.identify(ctx, req)
	ans, err := a.do(ctx, op, req, req.Header, "")
	if err != nil {
		return nil, err
	}
	if location := ans.redirect(); location != "" {
		to, err := req.URL.Parse(location)
		if err != nil {
			return nil, &Error{Op: op, StatusCode: ans.status, Err: errRedirect}
		}
		return &LogoutResult{Location: to.String()}, nil
	}
	if ans.status/100 != 2 {
		return nil, ans.refusal(op)
	}
	return &LogoutResult{HTML: string(ans.body)}, nil
}

// LogoutURL gives the URL that ends a browser's session with the server, which
// then sends the person on to returnTo, where it is registered; "" stays there.
func (a *Authenticator) LogoutURL(returnTo string) string {
	req, err := a.logoutRequest(returnTo)
	if err != nil {
		return a.base.String() // not reached: New has built such requests
	}
	return req.URL.String()
}

func (a *Authenticator) logoutRequest(returnTo string) (*http.Request, error) {
	params := Auth0LogoutParams{ClientID: &a.config.ClientID}
	if returnTo != "" {
		params.ReturnTo = &returnTo
	}
	return NewAuth0LogoutRequest(a.base.String(), &params)
}

// shallow copies a header for one call: transports add to what they are given.
func shallow(h http.Header) http.Header {
	c := make(http.Header, len(h)+1)
	for name, values := range h {
		c[name] = values[:len(values):len(values)]
	}
	return c
}

func fill[T ~string](field *T, value T) {
	if *field == "" {
		*field = value
	}
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// firstEmpty names the first of pairs of name and value whose value is empty.
func firstEmpty(pairs ...string) string {
	for ; len(pairs) > 1; pairs = pairs[2:] {
		if pairs[1] == "" {
			return pairs[0]
		}
	}
	return ""
}
