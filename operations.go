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

// API returns the generated client, with this Authenticator's server, HTTP
// client, limits of time and size, User-Agent and X-Application-ID. The caller
// has to check the answers, and to set the Authorization header of
// GetAuth0UserInfo, with a [RequestEditorFn].
func (a *Authenticator) API() *ClientWithResponses {
	identify := func(_ context.Context, r *http.Request) error { a.identify(r); return nil }
	// NewClientWithResponses is not used because it returns an error, which
	// cannot happen: New checked the URL.
	return &ClientWithResponses{&Client{Server: a.base.String(), Client: apiClient{a}, RequestEditors: []RequestEditorFn{identify}}}
}

// apiClient limits the size of what the generated client reads, since that
// always reads to the end.
type apiClient struct{ a *Authenticator }

func (c apiClient) Do(r *http.Request) (*http.Response, error) {
	resp, err := c.a.client.Raw(r)
	if err != nil {
		return nil, wrap("api", err)
	}
	return resp, nil
}

// Authorize sends GET /authorize, as documented. Empty fields of params are
// taken from the configuration; CodeChallenge is required. If State is set, it
// is compared with that of the answer.
//
// Use it for silent authentication (Prompt "none", where the default response
// mode is query, because an answer by form_post is a page) and for servers that
// answer directly. Signing a person in needs a browser: use
// [Authenticator.Begin]. The result is read from a form, from JSON, or from a
// redirect to the scheme, host and path of the redirect URI. A page, or a
// redirect elsewhere, is [ErrBrowserRequired] with the URL to open; an error
// such as login_required is in the [Error]'s Code.
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

// fillAuthorize takes empty fields from the configuration.
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

// authorizeRequest builds the request for GET /authorize. It requires the
// required fields, and leaves out optional ones that are empty.
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

// newResult makes the documented model from the values of a result. An object
// in a form is either bracketed or JSON.
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
		return nil, callback.ErrNone
	}
	return &r, nil
}

// Exchange sends POST /oauth/token, as documented, with exactly the fields that
// the grant needs: for authorization_code the client, code, redirect URI and
// verifier, and audience and schema if they are set; for refresh_token the
// client and the refresh token. Empty ClientID and RedirectURI are taken from
// the configuration, and an empty GrantType from the fields that are set. The
// ID token is not checked; [Authenticator.Complete] checks it.
//
// The request is sent once, except after 429 answers. After [ErrUnknownOutcome]
// the code or refresh token may or may not be spent. If the server granted
// something in an answer that can't be used, it is in [Error.Token].
func (a *Authenticator) Exchange(ctx context.Context, grant TokenizedPKCE) (*Token, error) {
	g, err := a.exchange(ctx, "exchange", grant)
	return g.token, err
}

// granted is the content of a 200 answer of the token endpoint.
type granted struct {
	token  *Token
	scoped bool // the answer says which scopes
}

// exchange sends a grant. Secrets that the server may know are removed from
// what it says.
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
		// A refusal of a repeated request may be due to the success of the
		// first one.
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

// readGrant takes the grant from a 200 answer before anything else is read from
// it. The token returned with an error is what can be kept, or nil.
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

// completeGrant takes empty fields from the configuration, and refuses what the
// server would refuse.
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

// UserInfo sends GET /userinfo with the access token as a bearer token, and
// returns the profile. If the token has an ID token, the profile must be of the
// same person (OpenID Connect Core §5.3.2). Members with unexpected types are
// read as far as possible: only sub decides.
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
		return nil, &Error{Op: op, StatusCode: answer.StatusCode, Err: fmt.Errorf("sub is missing or not the ID token's: the profile %w", ErrSubjectMismatch)}
	}
	return user, nil
}

// subject returns the sub of the ID token, or "" if there is none. It is only
// used to refuse, so the token need not have been checked.
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

// User is a profile. Its JSON form is everything that the server sent.
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

// isRefusal reports whether the profile is in fact an error.
func (u *User) isRefusal() bool {
	var w struct {
		Error any `json:"error"`
	}
	return strictjson.Unmarshal(u.raw, &w) == nil && w.Error != nil
}

// Claims decodes the whole profile into v, including custom and namespaced
// claims (OpenID Connect Core §5.1.2). It works like [encoding/json], except
// that names must match a field's tag in case too.
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

// MarshalJSON returns what the server sent or, for a User made by hand, its
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

// LogoutResult is the server's answer to a logout: a page to show, or where to
// go next.
type LogoutResult struct {
	HTML     string // the page, as the server sent it
	Location string // the target of the redirect, as an absolute URL
}

// Logout sends GET /v2/logout with the client, and with returnTo if it is not
// empty; the server answers 400 if returnTo is not registered. It does not end
// the session of any browser, because it sends no browser's cookies: to sign a
// person out, send them to [Authenticator.LogoutURL]. Tokens stay valid.
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

// LogoutURL returns the URL to send a person's browser to. It ends the session
// at the server, and then goes to returnTo, if that is not empty. returnTo must
// be registered.
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

// fetch sends a request to the issuer on behalf of package oidc.
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

// refusal returns an *Error for an answer with an unexpected status.
func refusal(op string, from *url.URL, answer *exchange.Answer, secrets ...string) *Error {
	r := oautherror.Read(answer, from)
	e := &Error{Op: op, StatusCode: answer.StatusCode, RetryAfter: r.RetryAfter, Err: r.Cause}
	e.setOAuth(r.Code, r.Description, r.URI, secrets)
	return e
}

// shallow copies a header for one call, because transports may add to it.
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

// firstEmpty returns the name of the first of pairs of name and value whose
// value is empty.
func firstEmpty(pairs ...string) string {
	for ; len(pairs) > 1; pairs = pairs[2:] {
		if pairs[1] == "" {
			return pairs[0]
		}
	}
	return ""
}
