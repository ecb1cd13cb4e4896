package piecesauth

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/oapi-codegen/runtime"

	"github.com/piecesauth/piecesauth/internal/callback"
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
	// seconds, rounded up. The ID token has to show it (auth_time).
	MaxAge time.Duration
	// Extra is sent as it is: organization, screen_hint and the like. It can't
	// take the place of what the other fields or the library send.
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
}

// Format prints the attempt without its secrets, whatever the verb.
func (t Attempt) Format(s fmt.State, _ rune) { redact(s, t) }

// LogValue logs the attempt without its secrets.
func (t Attempt) LogValue() slog.Value { return redacted(t) }

// beginURL is an authorization URL but for what is new in every attempt.
type beginURL struct {
	before, after string // the challenge; then comes the state
	nonce         bool
	redirectURL   string
	maxAge        time.Duration
}

// Begin starts a sign-in: it makes the PKCE verifier (RFC 7636), the state and,
// with the scope openid, the nonce, and puts the URL together. Nothing is sent.
// nil options are the defaults.
func (a *Authenticator) Begin(options *BeginOptions) (*Attempt, error) {
	begin := a.begin
	if options != nil || begin.before == "" {
		if options == nil {
			options = &BeginOptions{}
		}
		redirectURL := a.config.RedirectURL
		if options.RedirectURL != "" {
			redirectURL = options.RedirectURL
			if err := checkRedirectURL(redirectURL); err != nil {
				return nil, &Error{Op: "begin", Err: fmt.Errorf("RedirectURL %w", err)}
			}
		}
		var err error
		if begin, err = a.newBeginURL(redirectURL, options); err != nil {
			return nil, &Error{Op: "begin", Err: err}
		}
	}
	var entropy [96]byte
	_, _ = rand.Read(entropy[:]) // cannot fail: it ends the process instead
	return begin.attempt(&entropy), nil
}

func (a *Authenticator) newBeginURL(redirectURL string, o *BeginOptions) (beginURL, error) {
	const placeholder = "~" // as a value it stays as it is, and no challenge is like it
	begin := beginURL{nonce: a.config.Scopes.Contains("openid"), redirectURL: redirectURL, maxAge: o.MaxAge}
	params := AuthorizeAuth0Params{
		Audience:            a.config.Audience,
		Scope:               a.config.Scopes,
		ResponseType:        ResponseTypeCode,
		ClientID:            a.config.ClientID,
		RedirectURI:         &redirectURL,
		CodeChallengeMethod: CodeChallengeMethodS256,
		CodeChallenge:       placeholder,
		ResponseMode:        cmp.Or(o.ResponseMode, a.config.ResponseMode),
		Prompt:              &o.Prompt,
		LoginHint:           &o.LoginHint,
		Connection:          &o.Connection,
		UILocales:           &o.UILocales,
	}
	switch {
	case redirectURL == "":
		return begin, fmt.Errorf("RedirectURL %w", errEmpty)
	case !slices.Contains([]ResponseMode{ResponseModeFormPost, ResponseModeQuery, ResponseModeFragment, ResponseModeWebMessage}, params.ResponseMode):
		return begin, errors.New("ResponseMode is none of form_post, query, fragment and web_message")
	case o.MaxAge < 0:
		return begin, errors.New("MaxAge is negative")
	case o.MaxAge > 0:
		seconds := int((o.MaxAge + time.Second - 1) / time.Second)
		params.MaxAge = &seconds
	}
	req, err := a.authorizeRequest(&params)
	if err != nil {
		return begin, err
	}
	begin.before, begin.after, _ = strings.Cut(req.URL.String(), "code_challenge="+placeholder)
	begin.before += "code_challenge="
	taken := req.URL.Query()
	taken["state"], taken["nonce"] = nil, nil
	extra := url.Values{}
	for name, values := range o.Extra {
		_, ours := taken[name]
		switch {
		case name == "" || ours || documented(name):
			return begin, fmt.Errorf("Extra has %q, which is not for it", name)
		case len(values) > 1:
			return begin, fmt.Errorf("Extra has %q more than once", name)
		case len(values) == 1 && values[0] != "":
			extra[name] = values
		}
	}
	if len(extra) > 0 {
		begin.after += "&" + extra.Encode()
	}
	begin.after += "&state="
	return begin, nil
}

// documented reports whether the parameter has a field of its own.
func documented(name string) bool {
	switch name {
	case "prompt", "login_hint", "connection", "ui_locales", "max_age":
		return true
	}
	return false
}

// attempt makes an attempt of 32 random bytes each for verifier, state and nonce.
func (b *beginURL) attempt(entropy *[96]byte) *Attempt {
	const n = 43 // characters of 32 bytes
	var text [3 * n]byte
	for i := range 3 {
		base64.RawURLEncoding.Encode(text[n*i:n*(i+1)], entropy[32*i:32*(i+1)])
	}
	sum := sha256.Sum256(text[:n])
	var challenge [n]byte
	base64.RawURLEncoding.Encode(challenge[:], sum[:])

	all := string(text[:])
	t := &Attempt{Verifier: all[:n], State: all[n : 2*n], RedirectURL: b.redirectURL, MaxAge: b.maxAge}
	if b.nonce {
		t.Nonce = all[2*n:]
	}
	t.URL = b.url(string(challenge[:]), t.State, t.Nonce)
	return t
}

func (b *beginURL) url(challenge, state, nonce string) string {
	if nonce == "" {
		return b.before + challenge + b.after + state
	}
	return b.before + challenge + b.after + state + "&nonce=" + nonce
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
// An error that is [ErrUnknownOutcome] leaves open whether the code is spent.
// An attempt, once completed or not, is done with: begin another.
func (a *Authenticator) Complete(ctx context.Context, attempt *Attempt, callback url.Values) (*Token, error) {
	const op = "complete"
	if attempt == nil {
		return nil, &Error{Op: op, Err: errors.New("the attempt is nil")}
	}
	if missing := firstEmpty("State", attempt.State, "Verifier", attempt.Verifier, "RedirectURL", attempt.RedirectURL); missing != "" {
		return nil, &Error{Op: op, Err: fmt.Errorf("%s of the attempt %w", missing, errEmpty)}
	}
	if err := a.checkCallback(ctx, op, callback, attempt.State, attempt.Nonce, attempt.Verifier); err != nil {
		return nil, err
	}
	code := callback.Get("code")
	if code == "" {
		return nil, &Error{Op: op, Err: errors.New("the callback has neither code nor error")}
	}
	if err := a.loadKeys(ctx); err != nil {
		return nil, err // before the code is spent
	}
	token, err := a.exchange(ctx, op, TokenizedPKCE{
		GrantType:    GrantTypeAuthorizationCode,
		Code:         code,
		RedirectURI:  attempt.RedirectURL,
		CodeVerifier: attempt.Verifier,
	}, attempt.State, attempt.Nonce)
	if err != nil {
		return nil, err
	}
	if token.IDToken != "" {
		if err := a.checkIDToken(ctx, op, token, func(c *claims) error { return c.fits(attempt) }); err != nil {
			return nil, err
		}
	} else if attempt.MaxAge > 0 || a.config.Issuer != "" && attempt.Nonce != "" {
		return nil, &Error{Op: op, Err: errors.New("the answer has no ID token")}
	}
	if len(token.Scopes) == 0 {
		token.Scopes = slices.Clone(a.config.Scopes)
	}
	return token, nil
}

// checkCallback looks at the result of an authorization in the order that
// RFC 9700 asks for: whose it is, who answers, and only then what. An empty
// state is not compared.
func (a *Authenticator) checkCallback(ctx context.Context, op string, v url.Values, state string, secrets ...string) *Error {
	if got := v["state"]; state != "" && (len(got) != 1 || subtle.ConstantTimeCompare([]byte(got[0]), []byte(state)) != 1) {
		return &Error{Op: op, Err: ErrStateMismatch}
	}
	for _, name := range []string{"code", "state", "iss", "scope", "error", "error_description", "error_uri"} {
		if len(v[name]) > 1 {
			return &Error{Op: op, Err: fmt.Errorf("the callback has %s more than once (RFC 6749 §3.1)", name)}
		}
	}
	if a.config.Issuer != "" && v.Get("iss") != a.config.Issuer {
		required := v.Has("iss")
		if !required {
			meta, err := a.metadata(ctx)
			if err != nil {
				return err
			}
			required = meta.IssInCallback
		}
		if required {
			return &Error{Op: op, Err: ErrIssuerMismatch}
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
	address, fragment, _ := strings.Cut(strings.TrimFunc(pasted, surrounds), "#")
	if name, _, found := strings.Cut(address, "="); found && !strings.ContainsAny(name, ":/?") {
		if v, _ := readCallback(address, ""); v.Has("state") {
			return v, nil
		}
	}
	unreadable := ""
	if u, err := url.Parse(address); err == nil { // whose reason would repeat it
		var v url.Values
		if v, unreadable = readCallback(u.RawQuery, fragment); v != nil {
			return v, nil
		}
	}
	if unreadable != "" {
		return nil, &Error{Op: "callback", Err: fmt.Errorf("the URL's %s can't be read: copy the address anew, all of it", unreadable)}
	}
	return nil, &Error{Op: "callback", Err: errors.New("the URL has no code and no error that can be read, so it is not the one a sign-in ended at")}
}

// surrounds reports whether r is copied along with a URL, and not part of it.
func surrounds(r rune) bool {
	return unicode.IsSpace(r) || strings.ContainsRune("\"'`<>“”‘’«»", r)
}

// callbackOf returns the values of a callback, nil where there are none, or
// none that can be read.
func callbackOf(u *url.URL) url.Values {
	// EscapedFragment alone takes "%2B" for "+" beside what it would escape.
	v, _ := readCallback(u.RawQuery, cmp.Or(u.RawFragment, u.EscapedFragment()))
	return v
}

// readCallback returns the values of a callback, nil where there are none;
// unreadable names one that decides and can't be read.
func readCallback(query, fragment string) (v url.Values, unreadable string) {
	for _, raw := range []string{query, fragment} {
		values, broken := callback.Parse(raw)
		if isResult(values) && broken == "" {
			return values, ""
		}
		unreadable = cmp.Or(unreadable, broken)
	}
	return nil, unreadable
}

func isResult(v url.Values) bool { return v.Has("code") || v.Has("error") }

// sameEndpoint reports whether u is the redirect URI but for its parameters.
// Any other URL may carry our state too: a login page, say.
func sameEndpoint(u *url.URL, redirectURI string) bool {
	r, err := url.Parse(redirectURI)
	return err == nil && u.Scheme == r.Scheme && u.Host == r.Host && u.User == nil &&
		u.EscapedPath() == r.EscapedPath() && u.Opaque == r.Opaque
}

// parseResult reads the body of a 200 answer to GET /authorize, by what it is
// rather than by what it is called; nil is a page.
func parseResult(ans *answer) (url.Values, error) {
	text := strings.TrimSpace(string(ans.body))
	mediaType, _, _ := mime.ParseMediaType(ans.header.Get("Content-Type"))
	switch {
	case strings.HasPrefix(text, "{"):
		var fields map[string]any
		if err := decode(ans.body, &fields); err != nil {
			return nil, err
		}
		v := url.Values{}
		for name, field := range fields {
			switch field := field.(type) {
			case string:
				v.Set(name, field)
			case map[string]any:
				object, err := json.Marshal(field)
				if err != nil {
					return nil, err
				}
				v.Set(name, string(object))
			}
		}
		if isResult(v) {
			return v, nil
		}
	case strings.HasPrefix(text, "<"), mediaType == "text/html" && !strings.Contains(text, "code="):
		return nil, nil
	default:
		if v, err := url.ParseQuery(text); err == nil && isResult(v) {
			return v, nil
		}
	}
	return nil, errNoResult
}

// newResult makes the documented model of a result's values. An object in a
// form is bracketed, or JSON.
func newResult(v url.Values) (*ResultedPKCE, error) {
	var r ResultedPKCE
	err := runtime.BindForm(&r, v, nil, nil)
	if text := v.Get("schema"); err == nil && text != "" {
		err = decode([]byte(text), &r.Schema)
	}
	switch {
	case err != nil:
		return nil, errors.New("the result's schema is malformed")
	case r.Code == "":
		return nil, errNoResult
	}
	return &r, nil
}
