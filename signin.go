package piecesauth

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/piecesauth/piecesauth/internal/authorization"
	"github.com/piecesauth/piecesauth/internal/callback"
	"github.com/piecesauth/piecesauth/internal/oidc"
	"github.com/piecesauth/piecesauth/internal/redact"
	"github.com/piecesauth/piecesauth/internal/valid"
)

// BeginOptions holds the options of one sign-in that are not in the
// configuration. Empty fields are not sent.
type BeginOptions struct {
	// Prompt lists the pages to show: "login", "consent", "select_account" or
	// "none" (OpenID Connect Core §3.1.2.1).
	Prompt string
	// LoginHint tells the server who is probably signing in, for example by
	// email address.
	LoginHint string
	// Connection is the identity provider to go to directly.
	Connection string
	// UILocales lists languages for the pages, in order of preference,
	// separated by spaces.
	UILocales string
	// RedirectURL replaces [Config.RedirectURL].
	RedirectURL string
	// ResponseMode replaces [Config.ResponseMode].
	ResponseMode ResponseMode
	// MaxAge is how long ago the person may have last authenticated, rounded up
	// to whole seconds. The auth_time of the ID token must prove it. For
	// max_age=0, which asks for a new authentication, use Extra.
	MaxAge time.Duration
	// Extra holds further parameters, such as organization or screen_hint,
	// which are sent unchanged. It can't replace a parameter that another field
	// or the library sends. Each parameter has one value, except resource (RFC
	// 8707 §2).
	Extra url.Values
}

// Attempt is one sign-in in progress. It is plain data that can be stored as
// JSON, for example in a cookie between two requests. A web application must
// keep it encrypted, where only the person's own browser can send it back, and
// use it once only. Printing it shows no secret.
type Attempt struct {
	// URL is the address to send the person to. It is not part of the JSON.
	URL string `json:"-" secret:"true"`
	// State comes back in the callback (RFC 6749 §10.12).
	State string `json:"state" secret:"true"`
	// Nonce comes back in the ID token. It is empty if the scopes do not
	// include openid.
	Nonce string `json:"nonce,omitempty" secret:"true"`
	// Verifier is the secret that redeems the code (RFC 7636 §4.1).
	Verifier string `json:"code_verifier" secret:"true"`
	// RedirectURL is the redirect URI that was sent.
	RedirectURL string `json:"redirect_uri"`
	// MaxAge is [BeginOptions.MaxAge], as sent.
	MaxAge time.Duration `json:"max_age,omitempty"`
	// BaseURL and ClientID are the server and the client that the attempt was
	// begun with. No others can complete it.
	BaseURL  string `json:"base_url,omitempty"`
	ClientID string `json:"client_id,omitempty"`
}

// Format prints the attempt without its secrets, for every verb.
func (t Attempt) Format(s fmt.State, _ rune) { redact.Write(s, t) }

// LogValue logs the attempt without its secrets.
func (t Attempt) LogValue() slog.Value { return redact.Value(t) }

// attemptTemplate is an attempt without the values that are new each time.
type attemptTemplate struct {
	request *authorization.Request // nil if the configuration lacks something
	attempt Attempt
}

// Begin starts a sign-in: it makes the PKCE verifier (RFC 7636), the state and,
// with the scope openid, the nonce, and builds the URL. It sends nothing. A nil
// options uses the defaults.
func (a *Authenticator) Begin(options *BeginOptions) (*Attempt, error) {
	template := a.attempts
	if options != nil || template.request == nil {
		o := BeginOptions{}
		if options != nil {
			o = *options
		}
		if o.RedirectURL == "" {
			o.RedirectURL = a.config.RedirectURL
		} else if err := valid.Redirect(o.RedirectURL); err != nil {
			return nil, &Error{Op: "begin", Err: fmt.Errorf("RedirectURL %w", err)}
		}
		var err error
		if template, err = a.newAttemptTemplate(&o); err != nil {
			return nil, &Error{Op: "begin", Err: err}
		}
	}
	var entropy [authorization.Entropy]byte
	_, _ = rand.Read(entropy[:]) // cannot fail: it ends the process instead
	return template.fill(&entropy), nil
}

func (a *Authenticator) newAttemptTemplate(o *BeginOptions) (attemptTemplate, error) {
	t := attemptTemplate{attempt: Attempt{RedirectURL: o.RedirectURL, MaxAge: o.MaxAge, BaseURL: a.base.String(), ClientID: a.config.ClientID}}
	params := AuthorizeAuth0Params{
		Audience:            a.config.Audience,
		Scope:               a.config.Scopes,
		ResponseType:        ResponseTypeCode,
		ClientID:            a.config.ClientID,
		RedirectURI:         &o.RedirectURL,
		CodeChallengeMethod: CodeChallengeMethodS256,
		CodeChallenge:       authorization.Placeholder,
		ResponseMode:        cmp.Or(o.ResponseMode, a.config.ResponseMode),
		Prompt:              &o.Prompt,
		LoginHint:           &o.LoginHint,
		Connection:          &o.Connection,
		UILocales:           &o.UILocales,
	}
	switch {
	case o.RedirectURL == "":
		return t, fmt.Errorf("RedirectURL %w", errEmpty)
	case !slices.Contains(responseModes(), params.ResponseMode):
		return t, fmt.Errorf("ResponseMode %w", errResponseMode)
	case o.MaxAge < 0:
		return t, errors.New("MaxAge is negative")
	case o.MaxAge > 0:
		seconds := int((o.MaxAge + time.Second - 1) / time.Second)
		params.MaxAge = &seconds
	}
	req, err := a.authorizeRequest(&params)
	if err != nil {
		return t, err
	}
	extra, err := authorization.Extra(o.Extra, req.URL.Query(), ownParameters()...)
	if err != nil {
		return t, err
	}
	if text := extra.Get("max_age"); text != "" {
		seconds, _ := strconv.Atoi(text)
		t.attempt.MaxAge = max(time.Duration(seconds)*time.Second, 1) // 0 would mean that it doesn't matter
	}
	t.request = authorization.NewRequest(req.URL, extra, a.config.Scopes.Contains("openid"))
	return t, nil
}

// ownParameters lists the parameters that the library sends or that have a
// field, except max_age, because the field can't express zero.
func ownParameters() []string {
	return []string{"state", "nonce", "prompt", "login_hint", "connection", "ui_locales"}
}

// fill makes an attempt from new random bytes.
func (t *attemptTemplate) fill(entropy *[authorization.Entropy]byte) *Attempt {
	values, attempt := t.request.Fill(entropy), t.attempt
	attempt.URL, attempt.State, attempt.Nonce, attempt.Verifier = values.URL, values.State, values.Nonce, values.Verifier
	return &attempt
}

// Complete finishes a sign-in: it checks the callback's values, which must be
// passed unchanged, whether they came by POST or in a query, redeems the code
// once, and checks the ID token before it returns the token.
//
// The state is compared first (RFC 9700 §2.1), then iss (RFC 9207 §2.4), then
// error. The ID token must be for this client only, unexpired, and made for
// this attempt (nonce, and auth_time with MaxAge): OpenID Connect Core
// §3.1.3.7. With [Config.Issuer], it is also verified in full: it must be
// present if the scope openid was asked for, name that issuer, and be signed
// with one of the issuer's keys. Without an Issuer only its claims are checked,
// and that it does not claim to be unsigned. Then only TLS to the token
// endpoint proves where it came from, any issuer is accepted, and it may be
// missing.
//
// [ErrUnknownOutcome] means that the code is spent, or may be. An attempt can
// be completed once only; after an error, begin another.
func (a *Authenticator) Complete(ctx context.Context, attempt *Attempt, callback url.Values) (*Token, error) {
	const op = "complete"
	if err := a.checkAttempt(attempt); err != nil {
		return nil, &Error{Op: op, Err: err}
	}
	if err := a.checkCallback(ctx, op, callback, attempt.State, attempt.Nonce, attempt.Verifier); err != nil {
		return nil, err
	}
	code := callback.Get("code")
	if code == "" {
		return nil, &Error{Op: op, Err: errors.New("the callback has neither code nor error")}
	}
	if a.issuer != nil {
		if err := a.issuer.Prepare(ctx); err != nil {
			return nil, wrap(op, err) // before the code is spent
		}
	}
	g, err := a.exchange(ctx, op, TokenizedPKCE{
		GrantType:    GrantTypeAuthorizationCode,
		Code:         code,
		RedirectURI:  attempt.RedirectURL,
		CodeVerifier: attempt.Verifier,
	}, attempt.State, attempt.Nonce)
	if err != nil {
		e := wrap(op, err)
		e.Token = nil // an attempt that failed can't be used again
		return nil, e
	}
	if !g.scoped {
		g.token.Scopes = slices.Clone(a.config.Scopes)
	}
	if err := a.checkAttemptToken(ctx, attempt, g.token); err != nil {
		e := wrap(op, err)
		e.unknownOutcome, e.spent = true, true
		return nil, e
	}
	return g.token, nil
}

func (a *Authenticator) checkAttempt(attempt *Attempt) error {
	if attempt == nil {
		return errors.New("the attempt is nil")
	}
	if missing := firstEmpty("State", attempt.State, "Verifier", attempt.Verifier, "RedirectURL", attempt.RedirectURL); missing != "" {
		return fmt.Errorf("%s of the attempt %w", missing, errEmpty)
	}
	return a.checkOrigin("the attempt", attempt.BaseURL, attempt.ClientID)
}

// redemptionTime is how long the redemption of a code may take: auth_time may be
// that much older than MaxAge when the ID token is made.
const redemptionTime = 30 * time.Second

// checkAttemptToken checks the attempt's ID token, and records that in token.
func (a *Authenticator) checkAttemptToken(ctx context.Context, attempt *Attempt, token *Token) error {
	if token.IDToken == "" {
		if attempt.MaxAge > 0 || a.issuer != nil && attempt.Nonce != "" {
			return errors.New("the answer has no ID token")
		}
		return nil
	}
	expected := a.expected(token.AccessToken, attempt.State, attempt.Nonce, attempt.Verifier, token.RefreshToken, token.AccessToken)
	expected.Nonce = attempt.Nonce
	if attempt.MaxAge > 0 {
		expected.MaxAge = attempt.MaxAge + redemptionTime
	}
	if _, err := oidc.Check(ctx, token.IDToken, expected, a.issuer); err != nil {
		return err
	}
	token.checked = token.IDToken
	return nil
}

// checkCallback checks an authorization response in the order that RFC 9700
// requires: the state, the issuer, and only then the result. An empty state is
// not compared.
func (a *Authenticator) checkCallback(ctx context.Context, op string, v url.Values, state string, secrets ...string) error {
	if state != "" {
		if fault := callback.StateFault(v["state"], state); fault != "" {
			return &Error{Op: op, Err: fmt.Errorf("%w: %s", ErrStateMismatch, fault)}
		}
	}
	if name := callback.Repeated(v); name != "" {
		return &Error{Op: op, Err: fmt.Errorf("the callback has %s more than once (RFC 6749 §3.1)", name)}
	}
	if a.issuer != nil && v.Get("iss") != a.config.Issuer {
		if v.Has("iss") {
			return &Error{Op: op, Err: fmt.Errorf("iss of the callback is %s: %w", oidc.Differs(redact.Cut(v.Get("iss"), 8, append(secrets, state, v.Get("code"))), a.config.Issuer), ErrIssuerMismatch)}
		}
		switch meta, err := a.issuer.Metadata(ctx); {
		case err != nil:
			return wrap(op, err)
		case meta.AnnouncesIssuer:
			return &Error{Op: op, Err: fmt.Errorf("the callback has no iss, which the issuer's metadata announces: %w", ErrIssuerMismatch)}
		}
	}
	if v.Get("error") != "" {
		e := &Error{Op: op}
		e.setOAuth(v.Get("error"), v.Get("error_description"), v.Get("error_uri"), append(secrets, state, v.Get("code")))
		return e
	}
	return nil
}

// ParseCallback returns the values of a callback that a person pasted because
// no redirect could be received: the URL that the browser ended at, with the
// result in its query or its fragment, or the code and the state alone
// (code=…&state=…). It ignores surrounding white space, quotes and angle
// brackets, and parameters that OAuth does not define.
func ParseCallback(pasted string) (url.Values, error) {
	v, err := callback.Pasted(pasted)
	if err != nil {
		return nil, &Error{Op: "callback", Err: err}
	}
	return v, nil
}

// Refresh redeems the refresh token of the previous token for a new one. Only
// RefreshToken has to be set. What the answer omits (refresh token, ID token,
// scopes) is carried over. A new ID token is checked as in
// [Authenticator.Complete], and must be for the same issuer, person and
// audience as the previous one (OpenID Connect Core §12.2).
//
// Servers rotate refresh tokens, and using an old one can revoke the whole
// sign-in. So store the result before you use it, or leave both to a
// [TokenSource]. If the new ID token can't be checked just now, because keys
// can't be fetched or the clocks differ too much, the result has the previous
// ID token and its claims.
//
// [ErrSignInRequired] means that the refresh token is no longer valid, came
// from another server or client, or was answered with another person's token.
// [ErrUnknownOutcome] means that it may be spent. If the answer is wrong in
// another way, [Error.Token] holds what was granted.
func (a *Authenticator) Refresh(ctx context.Context, previous *Token) (*Token, error) {
	const op = "refresh"
	if previous == nil || previous.RefreshToken == "" {
		return nil, &Error{Op: op, Err: fmt.Errorf("RefreshToken %w", errEmpty)}
	}
	before, err := a.checkPrevious(previous)
	if err != nil {
		return nil, &Error{Op: op, Err: err, signIn: true}
	}
	if a.issuer != nil && before == nil && (len(previous.Scopes) == 0 || previous.Scopes.Contains("openid")) {
		if err := a.issuer.Prepare(ctx); err != nil {
			return nil, wrap(op, err) // no previous ID token can replace one that can't be checked
		}
	}
	g, err := a.exchange(ctx, op, TokenizedPKCE{GrantType: GrantTypeRefreshToken, RefreshToken: previous.RefreshToken},
		previous.AccessToken, previous.IDToken)
	if err != nil {
		e := wrap(op, err)
		if e.Token != nil {
			fill(&e.Token.RefreshToken, previous.RefreshToken)
		}
		return nil, e
	}
	token := g.token
	fill(&token.RefreshToken, previous.RefreshToken)
	if !g.scoped {
		token.Scopes = slices.Clone(previous.Scopes)
	}
	if err := a.checkRefreshed(ctx, token, previous, before); err != nil {
		e := wrap(op, err)
		e.unknownOutcome, e.spent = true, true
		var check *oidc.Error
		if errors.As(err, &check) && (check.Kind == oidc.Issuer || check.Kind == oidc.Subject) {
			e.signIn = true
			return nil, e
		}
		e.Token = token
		token.IDToken = ""
		return nil, e
	}
	return token, nil
}

// previousToken is the ID token that a refresh continues from.
type previousToken struct {
	claims  oidc.Claims
	raw     string
	checked string // the ID token that was checked, or "" if none was
}

// checkPrevious refuses a refresh token that is known to belong to another
// server, client or issuer, before it is spent. An ID token that can't be read
// belongs to none.
func (a *Authenticator) checkPrevious(previous *Token) (*previousToken, error) {
	if err := a.checkOrigin("the token", previous.BaseURL, previous.ClientID); err != nil {
		return nil, err
	}
	if previous.IDToken == "" {
		return nil, nil
	}
	id, err := oidc.Parse(previous.IDToken)
	if err != nil {
		return nil, nil //nolint:nilerr // see above
	}
	if a.config.Issuer != "" && id.Claims.Issuer != a.config.Issuer {
		return nil, fmt.Errorf("the issuer of the stored ID token is %s: %w", oidc.Differs(id.Claims.Issuer, a.config.Issuer), ErrIssuerMismatch)
	}
	return &previousToken{claims: id.Claims, raw: previous.IDToken, checked: previous.checked}, nil
}

// checkRefreshed checks the ID token of a refreshed token. If it is missing, or
// can't be checked just now, the previous one replaces it.
func (a *Authenticator) checkRefreshed(ctx context.Context, token, previous *Token, before *previousToken) error {
	raw := token.IDToken
	token.IDToken, token.checked = "", ""
	if before != nil {
		token.IDToken, token.checked = before.raw, before.checked
	}
	if raw == "" {
		return nil
	}
	expected := a.expected(token.AccessToken, previous.RefreshToken, previous.AccessToken, previous.IDToken, token.RefreshToken, token.AccessToken)
	if before != nil {
		expected.Previous = &before.claims
	}
	settled, err := oidc.CheckRefreshed(ctx, raw, expected, a.issuer)
	switch {
	case !settled:
		a.logger.DebugContext(ctx, "piecesauth: the refreshed ID token can't be checked just now", "reason", err)
		return nil
	case err != nil:
		return err
	}
	token.IDToken, token.checked = raw, raw
	return nil
}
