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

// BeginOptions is what one sign-in asks for beyond the configuration. Fields
// that are empty are not sent.
type BeginOptions struct {
	// Prompt says which pages the person has to see: "login", "consent",
	// "select_account" or "none" (OpenID Connect Core §3.1.2.1).
	Prompt string
	// LoginHint says who is probably signing in, such as a mail address.
	LoginHint string
	// Connection is the identity provider to go to without asking.
	Connection string
	// UILocales lists languages for the pages, best first, separated by spaces.
	UILocales string
	// RedirectURL takes the place of [Config.RedirectURL].
	RedirectURL string
	// ResponseMode takes the place of [Config.ResponseMode].
	ResponseMode ResponseMode
	// MaxAge is how long ago the person may have proved who they are, in whole
	// seconds, rounded up. The ID token has to show it (auth_time). For
	// max_age=0, which asks for a sign-in right now, use Extra.
	MaxAge time.Duration
	// Extra is sent as it is: organization, screen_hint and the like. It can't
	// take the place of what the other fields or the library send. A parameter
	// has one value, except resource (RFC 8707 §2).
	Extra url.Values
}

// Attempt is one sign-in on its way. It is plain data, which survives JSON and
// so a cookie between two requests; a web application keeps it where only the
// person's own browser can bring it back, encrypted. Using it once is the
// caller's duty. Printed, it shows no secret.
type Attempt struct {
	// URL is where to send the person. It is not part of the JSON.
	URL string `json:"-" secret:"true"`
	// State comes back in the callback (RFC 6749 §10.12).
	State string `json:"state" secret:"true"`
	// Nonce comes back in the ID token; empty where no scope asks for one.
	Nonce string `json:"nonce,omitempty" secret:"true"`
	// Verifier is the secret that the code is redeemed with (RFC 7636 §4.1).
	Verifier string `json:"code_verifier" secret:"true"`
	// RedirectURL is the redirect URI that was asked for.
	RedirectURL string `json:"redirect_uri"`
	// MaxAge is [BeginOptions.MaxAge].
	MaxAge time.Duration `json:"max_age,omitempty"`
	// BaseURL and ClientID are the server and the client that the attempt was
	// begun with. It can't be completed with others.
	BaseURL  string `json:"base_url,omitempty"`
	ClientID string `json:"client_id,omitempty"`
}

// Format prints the attempt without its secrets, whatever the verb.
func (t Attempt) Format(s fmt.State, _ rune) { redact.Write(s, t) }

// LogValue logs the attempt without its secrets.
func (t Attempt) LogValue() slog.Value { return redact.Value(t) }

// attemptTemplate is an attempt but for what is new in every one.
type attemptTemplate struct {
	request *authorization.Request // nil where the configuration lacks something
	attempt Attempt
}

// Begin starts a sign-in: it makes the PKCE verifier (RFC 7636), the state and,
// with the scope openid, the nonce, and puts the URL together. Nothing is sent.
// nil options are the defaults.
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

// ownParameters lists those that the library sends or that have a field, but
// for max_age, whose zero the field can't say.
func ownParameters() []string {
	return []string{"state", "nonce", "prompt", "login_hint", "connection", "ui_locales"}
}

// fill makes an attempt of fresh random bytes.
func (t *attemptTemplate) fill(entropy *[authorization.Entropy]byte) *Attempt {
	fresh, attempt := t.request.Fill(entropy), t.attempt
	attempt.URL, attempt.State, attempt.Nonce, attempt.Verifier = fresh.URL, fresh.State, fresh.Nonce, fresh.Verifier
	return &attempt
}

// Complete ends a sign-in: it takes the attempt and the callback's values as
// they came, by POST form or by query, checks them, redeems the code, once, and
// checks the ID token before it hands the token out.
//
// The state is compared before anything else is looked at (RFC 9700 §2.1),
// then iss (RFC 9207 §2.4), then error. The ID token has to be for this client
// and no other, unexpired, and made for this attempt (nonce; auth_time with
// MaxAge): OpenID Connect Core §3.1.3.7. With [Config.Issuer], it is verified
// in full: it has to be there if the scope openid was asked for, of that
// issuer, and signed with one of its keys. Without, its claims alone are
// checked, and that it is not declared unsigned; that it came from the token
// endpoint over TLS is then all that vouches for it, its issuer is whatever it
// says, and it may be missing.
//
// An error that is [ErrUnknownOutcome] means that the code is spent, or may be.
// An attempt, once completed or not, is done with: begin another.
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
		e.Token = nil // an attempt that failed is done with
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

// codeTrip is how long a code may be on its way: so much older than MaxAge may
// auth_time be when the ID token is made.
const codeTrip = 30 * time.Second

// checkAttemptToken checks the ID token that came for the attempt, and notes
// that in the token.
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
		expected.MaxAge = attempt.MaxAge + codeTrip
	}
	if _, err := oidc.Check(ctx, token.IDToken, expected, a.issuer); err != nil {
		return err
	}
	token.checked = token.IDToken
	return nil
}

// checkCallback looks at the result of an authorization in the order that
// RFC 9700 asks for: whose it is, who answers, and only then what. An empty
// state is not compared.
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

// ParseCallback reads the values of a callback from what a person pastes where
// no redirect is received: the URL that the browser ended at, with the result
// in its query or its fragment, or the code and the state alone
// (code=…&state=…). White space, quotes and angle brackets around it don't
// matter, nor does a parameter that no specification of OAuth knows.
func ParseCallback(pasted string) (url.Values, error) {
	v, err := callback.Pasted(pasted)
	if err != nil {
		return nil, &Error{Op: "callback", Err: err}
	}
	return v, nil
}

// Refresh redeems the refresh token of the previous token for a new one. Only
// RefreshToken has to be set. What the answer omits (refresh token, ID token,
// scopes) is carried over. A new ID token is checked as [Authenticator.Complete]
// does, and has to be of the same issuer, person and audience as the previous
// one (OpenID Connect Core §12.2).
//
// Servers rotate refresh tokens, and using an old one can revoke the whole
// sign-in: store the result before using it, or leave both to a [TokenSource].
// Where the new ID token can't be checked just now, since keys can't be fetched
// or the clocks differ too much, the result has the previous ID token with its
// claims. [ErrSignInRequired]: the refresh token is no longer good, came from
// another server or client, or was answered for another person.
// [ErrUnknownOutcome]: it may be spent. An answer that is wrong in another way
// is an error whose [Error.Token] holds what was granted.
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
			return nil, wrap(op, err) // no ID token is there to stand in for one that can't be checked
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

// previousToken is the ID token that a refresh has to go on from.
type previousToken struct {
	claims  oidc.Claims
	raw     string
	checked string // "" where it wasn't
}

// checkPrevious refuses, before it is spent, a refresh token that is known to
// be another server's, client's or issuer's. An ID token that can't be read is
// nobody's.
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

// checkRefreshed checks the ID token of a refreshed token. One that is missing,
// or can't be checked just now, is replaced by the previous one.
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
