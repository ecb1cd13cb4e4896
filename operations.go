package piecesauth

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/oapi-codegen/runtime"

	"github.com/piecesauth/piecesauth/internal/callback"
	"github.com/piecesauth/piecesauth/internal/exchange"
	"github.com/piecesauth/piecesauth/internal/oautherror"
	"github.com/piecesauth/piecesauth/internal/oidc"
	"github.com/piecesauth/piecesauth/internal/strictjson"
	"github.com/piecesauth/piecesauth/internal/tokenresponse"
)

const (
	formType = "application/x-www-form-urlencoded"
	jsonType = "application/json"
)

var errNoResult = callback.ErrNone

// API returns the generated client with this Authenticator's server, HTTP
// client, bounds of time and size, User-Agent and X-Application-ID. What a
// generator can't know is the caller's: checks of what comes back, and the
// Authorization header of GetAuth0UserInfo, for which a [RequestEditorFn]
// serves.
func (a *Authenticator) API() *ClientWithResponses {
	identify := func(_ context.Context, r *http.Request) error { a.identify(r); return nil }
	// As NewClientWithResponses does, but for an error that can't be: New checked the URL.
	return &ClientWithResponses{&Client{Server: a.base.String(), Client: apiClient{a}, RequestEditors: []RequestEditorFn{identify}}}
}

// apiClient bounds what the generated client, which reads to the end, takes.
type apiClient struct{ a *Authenticator }

func (c apiClient) Do(r *http.Request) (*http.Response, error) {
	resp, err := c.a.client.Raw(r)
	if err != nil {
		return nil, wrap("api", err)
	}
	return resp, nil
}

// Authorize sends GET /authorize, as documented. Fields of params that are
// empty are taken from the configuration; CodeChallenge has to be there. State,
// where set, is compared with the answer's.
//
// It suits silent authentication (Prompt "none", for which query is the default
// mode, since an answer by form_post is a page) and servers that answer
// directly; signing a person in needs a browser, for which there is
// [Authenticator.Begin]. The result is read from a form, from JSON, or from a
// redirect whose scheme, host and path are the redirect URI's. A page, or a
// redirect elsewhere, is [ErrBrowserRequired] with the URL to open; an error
// such as login_required is the [Error]'s Code.
func (a *Authenticator) Authorize(ctx context.Context, params AuthorizeAuth0Params) (*ResultedPKCE, error) {
	const op = "authorize"
	a.fillAuthorize(&params)
	req, err := a.authorizeRequest(&params)
	if err != nil {
		return nil, &Error{Op: op, Err: err}
	}
	req.Header.Set("Accept", formType+", text/html;q=0.5")
	a.identify(req)
	answer, err := a.client.Do(ctx, req, req.Header, "")
	if err != nil {
		return nil, wrap(op, err)
	}
	state, nonce := deref(params.State), deref(params.Nonce)
	if answer.Location() == "" && answer.StatusCode != http.StatusOK {
		return nil, refusal(op, req.URL, &answer, state, nonce)
	}
	values, err := callback.Answered(&answer, req.URL, deref(params.RedirectURI))
	if err == nil && values == nil {
		return nil, &Error{Op: op, StatusCode: answer.StatusCode, URI: req.URL.String(), Err: ErrBrowserRequired}
	}
	var result *ResultedPKCE
	if err == nil {
		err = a.checkCallback(ctx, op, values, state, nonce)
	}
	if err == nil {
		result, err = newResult(values)
	}
	if err != nil {
		e := wrap(op, err)
		e.StatusCode = answer.StatusCode
		return nil, e
	}
	return result, nil
}

// fillAuthorize takes what is empty from the configuration.
func (a *Authenticator) fillAuthorize(p *AuthorizeAuth0Params) {
	if p.ResponseMode == "" && deref(p.Prompt) == "none" && a.config.ResponseMode == ResponseModeFormPost {
		p.ResponseMode = ResponseModeQuery // nobody is there to post the form
	}
	fill(&p.Audience, a.config.Audience)
	fill(&p.ResponseType, ResponseTypeCode)
	fill(&p.ClientID, a.config.ClientID)
	fill(&p.CodeChallengeMethod, CodeChallengeMethodS256)
	fill(&p.ResponseMode, a.config.ResponseMode)
	if len(p.Scope) == 0 {
		p.Scope = a.config.Scopes
	}
	if p.RedirectURI == nil && a.config.RedirectURL != "" {
		p.RedirectURI = &a.config.RedirectURL
	}
}

// authorizeRequest builds the request of GET /authorize. What is required has
// to be there, and what is optional and empty is left out.
func (a *Authenticator) authorizeRequest(p *AuthorizeAuth0Params) (*http.Request, error) {
	if missing := firstEmpty(
		"Audience", p.Audience, "Scope", p.Scope.String(), "ResponseType", string(p.ResponseType), "ClientID", p.ClientID,
		"CodeChallengeMethod", string(p.CodeChallengeMethod), "CodeChallenge", p.CodeChallenge, "ResponseMode", string(p.ResponseMode),
	); missing != "" {
		return nil, fmt.Errorf("%s %w", missing, errEmpty)
	}
	sent := *p
	for _, field := range []**string{
		&sent.State, &sent.RedirectURI, &sent.Connection, &sent.Prompt, &sent.Nonce, &sent.LoginHint, &sent.UILocales,
	} {
		if deref(*field) == "" {
			*field = nil
		}
	}
	return NewAuthorizeAuth0Request(a.base.String(), &sent)
}

// newResult makes the documented model of a result's values. An object in a
// form is bracketed, or JSON.
func newResult(v url.Values) (*ResultedPKCE, error) {
	var r ResultedPKCE
	err := runtime.BindForm(&r, v, nil, nil)
	if text := v.Get("schema"); err == nil && text != "" {
		err = strictjson.Unmarshal([]byte(text), &r.Schema)
	}
	switch {
	case err != nil:
		return nil, errors.New("the result's schema is malformed")
	case r.Code == "":
		return nil, errNoResult
	}
	return &r, nil
}

// Exchange sends POST /oauth/token, as documented, with exactly what the grant
// takes: for authorization_code the client, code, redirect URI and verifier,
// and audience and schema where set; for refresh_token the client and refresh
// token. ClientID and RedirectURI are taken from the configuration where they
// are empty, and GrantType from what is there. The ID token is not checked:
// see [Authenticator.Complete], which does.
//
// It is sent once, but for 429 answers. An error that is [ErrUnknownOutcome]
// leaves open whether the code or refresh token is spent; what the server
// granted in an answer that can't be used is in [Error.Token].
func (a *Authenticator) Exchange(ctx context.Context, grant TokenizedPKCE) (*Token, error) {
	g, err := a.exchange(ctx, "exchange", grant)
	return g.token, err
}

// granted is what a 200 of the token endpoint brought.
type granted struct {
	token  *Token
	scoped bool // the answer says which scopes
}

// exchange sends a grant. The secrets that the server may know from before are
// cut out of what it says.
func (a *Authenticator) exchange(ctx context.Context, op string, grant TokenizedPKCE, secrets ...string) (granted, error) {
	if err := a.completeGrant(&grant); err != nil {
		return granted{}, &Error{Op: op, Err: err}
	}
	form, err := a.grants.Encode(&grant)
	if err != nil {
		return granted{}, &Error{Op: op, Err: err}
	}
	sent := time.Now()
	answer, err := a.client.Do(ctx, a.token, shallow(a.token.Header), form)
	if err != nil {
		return granted{}, wrap(op, err)
	}
	if answer.StatusCode != http.StatusOK && answer.StatusCode != http.StatusCreated {
		e := refusal(op, a.token.URL, &answer, append(secrets, grant.Code, grant.CodeVerifier, grant.RefreshToken)...)
		// A refusal of what was sent before may be of what that one achieved.
		e.unknownOutcome = answer.StatusCode >= 500 || answer.StatusCode < 300 && e.Code == "" ||
			answer.Repeated && answer.StatusCode != http.StatusTooManyRequests
		return granted{}, e
	}
	g, cause := a.readGrant(&answer, sent)
	if cause == nil {
		return g, nil
	}
	e := refusal(op, a.token.URL, &answer, append(secrets, grant.Code, grant.CodeVerifier, grant.RefreshToken)...)
	if e.Code == "" {
		e.Err, e.Token = cause, g.token
		e.unknownOutcome, e.spent = true, g.token != nil
	}
	return granted{}, e
}

// readGrant takes the grant from a 200 answer before anything else is made of
// it. The token beside the error is what can be kept, nil where that's nothing.
func (a *Authenticator) readGrant(answer *exchange.Answer, sent time.Time) (granted, error) {
	r, err := tokenresponse.Read(answer.Body)
	if err != nil && !r.Kept() {
		return granted{}, err
	}
	t := &Token{
		AccessToken: r.AccessToken, TokenType: r.TokenType, RefreshToken: r.RefreshToken, IDToken: r.IDToken, Scopes: r.Scopes,
		Obtained: sent.Round(0).UTC(), BaseURL: a.base.String(), ClientID: a.config.ClientID,
	}
	if r.ExpiresIn != 0 {
		t.Expiry = t.Obtained.Add(r.ExpiresIn)
	}
	return granted{t, r.Scoped}, err
}

// completeGrant takes what is empty from the configuration, and refuses what
// the server would.
func (a *Authenticator) completeGrant(grant *TokenizedPKCE) error {
	fill(&grant.ClientID, a.config.ClientID)
	fill(&grant.RedirectURI, a.config.RedirectURL)
	if grant.GrantType == "" {
		switch {
		case grant.Code != "" && grant.RefreshToken != "":
			return errors.New("GrantType is empty, with both a Code and a RefreshToken")
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
		*grant = TokenizedPKCE{GrantType: grant.GrantType, ClientID: grant.ClientID, RefreshToken: grant.RefreshToken}
		missing = firstEmpty("RefreshToken", grant.RefreshToken)
	default:
		return errors.New("GrantType is neither authorization_code nor refresh_token")
	}
	if missing != "" {
		return fmt.Errorf("%s %w", missing, errEmpty)
	}
	return nil
}

// UserInfo sends GET /userinfo with the access token as bearer, and returns the
// profile. Where the token has an ID token, the profile has to be of the same
// person (OpenID Connect Core §5.3.2). What a server writes in its own way is
// read as far as it can be: sub alone decides.
func (a *Authenticator) UserInfo(ctx context.Context, token *Token) (*User, error) {
	const op = "userinfo"
	if token == nil || token.AccessToken == "" {
		return nil, &Error{Op: op, Err: fmt.Errorf("AccessToken %w", errEmpty)}
	}
	if err := a.checkOrigin("the token", token.BaseURL, token.ClientID); err != nil {
		return nil, &Error{Op: op, Err: err, signIn: true}
	}
	subject, err := token.subject()
	if err != nil {
		return nil, wrap(op, err)
	}
	header := shallow(a.userInfo.Header)
	header["Authorization"] = []string{"Bearer " + token.AccessToken}
	answer, err := a.client.Do(ctx, a.userInfo, header, "")
	if err != nil {
		return nil, wrap(op, err)
	}
	if answer.StatusCode != http.StatusOK {
		return nil, refusal(op, a.userInfo.URL, &answer, token.AccessToken, token.RefreshToken, token.IDToken)
	}
	user := new(User)
	if err := user.read(answer.Body); err != nil {
		return nil, &Error{Op: op, StatusCode: answer.StatusCode, Err: err}
	}
	if user.Sub+user.UserID == "" && user.isRefusal() {
		return nil, refusal(op, a.userInfo.URL, &answer, token.AccessToken, token.RefreshToken, token.IDToken) // for all its status
	}
	if subject != "" && user.Sub != subject {
		return nil, &Error{Op: op, StatusCode: answer.StatusCode, Err: fmt.Errorf("sub is missing or not the ID token's: the profile is %w", ErrSubjectMismatch)}
	}
	return user, nil
}

// subject returns the sub of the ID token, "" where there is none. It serves for
// refusing alone, so the token need not have been checked.
func (t *Token) subject() (string, error) {
	if t.IDToken == "" {
		return "", nil
	}
	id, err := oidc.Parse(t.IDToken)
	switch {
	case err != nil:
		return "", err
	case id.Claims.Subject == "":
		return "", errors.New("sub of the ID token is missing")
	}
	return id.Claims.Subject, nil
}

// User is a profile. Its JSON form is what the server sent, all of it.
type User struct {
	Auth0User

	raw []byte
}

func (u *User) read(b []byte) error {
	if err := strictjson.UnmarshalLenient(b, &u.Auth0User, "sub"); err != nil {
		return err
	}
	if len(bytes.Trim(b, "\ufeff{} \t\r\n")) == 0 {
		return errors.New("the profile is empty")
	}
	u.raw = b
	return nil
}

// isRefusal reports whether the profile is an error in disguise.
func (u *User) isRefusal() bool {
	var w struct {
		Error any `json:"error"`
	}
	return strictjson.Unmarshal(u.raw, &w) == nil && w.Error != nil
}

// Claims decodes the whole profile into v, as [encoding/json] does, but for
// names that differ in case alone from a field's tag: custom and namespaced
// claims included (OpenID Connect Core §5.1.2).
func (u *User) Claims(v any) error {
	b, err := u.MarshalJSON()
	if err == nil {
		err = strictjson.UnmarshalCaller(b, v)
	}
	if err != nil {
		return &Error{Op: "userinfo", Err: err}
	}
	return nil
}

// MarshalJSON returns what the server sent, or, of a User made by hand, its
// fields.
func (u User) MarshalJSON() ([]byte, error) {
	if u.raw != nil {
		return bytes.TrimPrefix(u.raw, []byte("\ufeff")), nil
	}
	return json.Marshal(u.Auth0User)
}

// UnmarshalJSON keeps the whole profile.
func (u *User) UnmarshalJSON(b []byte) error {
	var read User
	if err := strictjson.UnmarshalLenient(b, &read.Auth0User, "sub"); err != nil {
		return err
	}
	u.Auth0User, u.raw = read.Auth0User, bytes.Clone(b)
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
	a.identify(req)
	answer, err := a.client.Do(ctx, req, req.Header, "")
	if err != nil {
		return nil, wrap(op, err)
	}
	if location := answer.Location(); location != "" {
		to, err := req.URL.Parse(location)
		if err != nil {
			return nil, &Error{Op: op, StatusCode: answer.StatusCode, Err: callback.ErrRedirect}
		}
		if v := callback.Of(to); v.Get("error") != "" {
			e := &Error{Op: op, StatusCode: answer.StatusCode}
			e.setOAuth(v.Get("error"), v.Get("error_description"), v.Get("error_uri"), nil)
			return nil, e
		}
		return &LogoutResult{Location: to.String()}, nil
	}
	if answer.StatusCode/100 != 2 {
		return nil, refusal(op, req.URL, &answer)
	}
	return &LogoutResult{HTML: string(answer.Body)}, nil
}

// LogoutURL returns the URL to send a person's browser to, which ends their
// session at the server and then goes to returnTo, where that is not empty. It
// has to be one of those registered.
func (a *Authenticator) LogoutURL(returnTo string) string {
	req, err := a.logoutRequest(returnTo)
	if err != nil {
		return "" // can't be: New has built such requests
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

// fetch asks the issuer, for package oidc.
func (a *Authenticator) fetch(ctx context.Context, op, from, accept string) (oidc.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		return oidc.Response{}, &Error{Op: op, Err: errors.New("the URL is malformed")}
	}
	req.Header.Set("Accept", accept)
	req.Header.Set("User-Agent", a.config.UserAgent)
	answer, err := a.client.Do(ctx, req, req.Header, "")
	if err != nil {
		return oidc.Response{}, wrap(op, err)
	}
	found := oidc.Response{StatusCode: answer.StatusCode, Header: answer.Header, Body: answer.Body}
	if answer.StatusCode == http.StatusOK || answer.StatusCode == http.StatusNotFound && op == "discovery" {
		a.logger.DebugContext(ctx, "piecesauth: asked the issuer", "for", op, "status", answer.StatusCode)
		return found, nil
	}
	return found, refusal(op, req.URL, &answer)
}

// refusal makes an Error of an answer that is none of those asked for.
func refusal(op string, from *url.URL, answer *exchange.Answer, secrets ...string) *Error {
	r := oautherror.Read(answer, from)
	e := &Error{Op: op, StatusCode: answer.StatusCode, RetryAfter: r.RetryAfter, Err: r.Cause}
	e.setOAuth(r.Code, r.Description, r.URI, secrets)
	return e
}

// shallow copies a header for one call: transports add to what they are given.
func shallow(h http.Header) http.Header {
	c := make(http.Header, len(h)+1)
	for name, values := range h {
		c[name] = values[:len(values):len(values)]
	}
	return c
}

func fill[T ~string](field *T, value T) { *field = cmp.Or(*field, value) }

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
