package piecesauthtest

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"time"

	"github.com/piecesauth/piecesauth"
)

// family is everything that comes of one sign-in, which reuse of a refresh
// token revokes.
type family struct {
	Family
	issued int // access tokens so far
	ended  int // how many of these a refresh or a revocation has ended
}

// Family describes what became of one sign-in, and of the tokens that it led
// to.
type Family struct {
	Sub       string // the person who signed in
	Scopes    piecesauth.Scopes
	SignedIn  time.Time // by the server's clock
	Refreshes int       // refreshes that were answered with tokens
	Repeats   int       // how many of these reused a refresh token within the leeway
	Refused   int       // refreshes that were refused
	Revoked   bool      // by reuse of a code or refresh token, or by [Server.Revoke]
}

// Families returns what became of the sign-ins so far, in order: those of the
// given people, or all.
func (s *Server) Families(only ...Person) []Family {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := []Family{}
	for _, f := range s.families {
		if concerns(only, f.Sub) {
			list = append(list, f.Family)
		}
	}
	return list
}

// concerns reports whether somebody is among people; an empty list means
// everybody.
func concerns(people []Person, sub string) bool {
	return len(people) == 0 || slices.ContainsFunc(people, func(p Person) bool { return p.Sub == sub })
}

// newFamily is called with the server's lock held.
func (s *Server) newFamily(sub string, scopes piecesauth.Scopes, signedIn time.Time) *family {
	f := &family{Family: Family{Sub: sub, Scopes: slices.Clone(scopes), SignedIn: signedIn}}
	s.families = append(s.families, f)
	return f
}

type code struct {
	*family
	nonce, challenge, redirectURI string
	expires                       time.Time
	used                          bool
}

type accessToken struct {
	*family
	number  int // in its family, from 1
	expires time.Time
}

type refreshToken struct {
	*family
	expires time.Time // zero: never
	used    time.Time // first; zero: not yet
}

// tokens is an answer of the token endpoint (RFC 6749 §5.1).
type tokens struct {
	AccessToken  string `json:"access_token"`
	TokenType    string `json:"token_type"`
	ExpiresIn    int64  `json:"expires_in"`
	RefreshToken string `json:"refresh_token,omitempty"`
	IDToken      string `json:"id_token,omitempty"`
	Scope        string `json:"scope"`
}

// refusal is an answer of RFC 6749 §5.2.
type refusal struct {
	status            int
	code, description string
}

func (r *refusal) Error() string { return r.code + ": " + r.description }

func malformed(description string) *refusal {
	return &refusal{http.StatusBadRequest, "invalid_request", description}
}

func invalid(description string) *refusal {
	return &refusal{http.StatusBadRequest, "invalid_grant", description}
}

// A verifier (RFC 7636 §4.1).
var verifierSyntax = regexp.MustCompile(`^[A-Za-z0-9._~-]{43,128}$`)

// ExchangeForAuth0Token redeems a code or a refresh token.
func (h *handler) ExchangeForAuth0Token(w http.ResponseWriter, r *http.Request) {
	var object map[string]any
	answer, err := h.redeem(r)
	if err == nil {
		object, err = answer.object(h.settings().TokenAnswer)
	}
	var refused *refusal
	switch {
	case errors.As(err, &refused):
		oauthError(w, refused.status, refused.code, refused.description)
	case err != nil:
		oauthError(w, http.StatusInternalServerError, "server_error", err.Error())
	default:
		w.Header().Set("Pragma", "no-cache")
		writeJSON(w, http.StatusOK, object)
	}
}

func (h *handler) redeem(r *http.Request) (*tokens, error) {
	form := r.PostForm
	if err := checkGrant(form); err != nil {
		return nil, err
	}
	if form.Get("client_id") != h.ClientID {
		return nil, &refusal{http.StatusUnauthorized, "invalid_client", "client_id is unknown"}
	}
	if form.Has("refresh_token") {
		return h.redeemRefreshToken(form.Get("refresh_token"))
	}
	if !verifierSyntax.MatchString(form.Get("code_verifier")) {
		return nil, malformed("code_verifier is not 43 to 128 unreserved characters (RFC 7636 §4.1)")
	}
	return h.redeemCode(form.Get("code"), form.Get("redirect_uri"), form.Get("code_verifier"))
}

// checkGrant checks that a request has the parameters of its grant type.
func checkGrant(form url.Values) error {
	var needs, mustLack []string
	switch grantType := form.Get("grant_type"); piecesauth.GrantType(grantType) {
	case piecesauth.GrantTypeAuthorizationCode:
		needs, mustLack = []string{"client_id", "code", "code_verifier"}, []string{"refresh_token"}
	case piecesauth.GrantTypeRefreshToken:
		needs, mustLack = []string{"client_id", "refresh_token"}, []string{"code", "code_verifier", "redirect_uri"}
	case "":
		return malformed("parameter grant_type is missing")
	default:
		return &refusal{http.StatusBadRequest, "unsupported_grant_type", "grant_type is neither authorization_code nor refresh_token"}
	}
	for _, name := range needs {
		if !form.Has(name) {
			return malformed("parameter " + name + " is missing")
		}
	}
	for _, name := range mustLack {
		if form.Has(name) {
			return malformed("parameter " + name + " belongs to another grant")
		}
	}
	return nil
}

func (s *Server) redeemCode(text, redirectURI, verifier string) (*tokens, error) {
	o := s.settings()
	now := o.now()
	s.mu.Lock()
	c := s.codes[text]
	var err *refusal
	hash := sha256.Sum256([]byte(verifier))
	switch {
	case c == nil:
		err = invalid("code is unknown")
	case c.used:
		c.Revoked = true
		err = invalid("code was used before; what it gave is revoked (RFC 6749 §4.1.2)")
	case c.Revoked:
		err = invalid("code is revoked")
	case !now.Before(c.expires):
		err = invalid("code has expired")
	case c.redirectURI != redirectURI:
		err = invalid("redirect_uri is not the one that the sign-in was started with (RFC 6749 §4.1.3)")
	case base64.RawURLEncoding.EncodeToString(hash[:]) != c.challenge:
		err = invalid("code_verifier does not fit the challenge (RFC 7636 §4.6)")
	}
	if c != nil {
		c.used = true // a failed attempt spends it too
	}
	s.mu.Unlock()
	if err != nil {
		return nil, err
	}
	return s.issue(o, c.family, c.nonce, true)
}

func (s *Server) redeemRefreshToken(text string) (*tokens, error) {
	o := s.settings()
	s.mu.Lock()
	t := s.refreshTokens[text]
	if t == nil {
		s.mu.Unlock()
		return nil, invalid("refresh token is unknown")
	}
	err := s.useRefreshToken(t, o, o.now())
	s.mu.Unlock()
	if err != nil {
		return nil, err
	}
	return s.issue(o, t.family, "", !o.NoRotation)
}

// useRefreshToken is called with the server's lock held.
func (s *Server) useRefreshToken(t *refreshToken, o *Options, now time.Time) (err error) {
	defer func() {
		if err != nil {
			t.Refused++
			return
		}
		t.Refreshes++
		if o.RefreshEndsAccessTokens {
			t.ended = t.issued
		}
	}()
	switch {
	case t.Revoked:
		return invalid("refresh token is revoked")
	case !t.expires.IsZero() && !now.Before(t.expires):
		return invalid("refresh token has expired")
	case o.NoRotation, t.used.IsZero():
		t.used = now
		return nil
	case o.RefreshLeeway > 0 && now.Sub(t.used) <= o.RefreshLeeway:
		t.Repeats++
		return nil
	}
	t.Revoked = true
	s.revocations++
	return invalid("refresh token was used before; all that came of the sign-in is revoked")
}

// issue makes the tokens of a sign-in.
func (s *Server) issue(o *Options, f *family, nonce string, withRefreshToken bool) (*tokens, error) {
	now := o.now()
	person, known := o.person(f.Sub)
	if !known {
		return nil, invalid("the person is no longer known")
	}
	answer := &tokens{
		AccessToken: random(),
		TokenType:   "Bearer",
		ExpiresIn:   int64(o.TokenLifetime / time.Second),
		Scope:       f.Scopes.String(),
	}
	if f.Scopes.Contains("openid") {
		var err error
		if answer.IDToken, err = s.idToken(o, f, person, nonce, answer.AccessToken); err != nil {
			return nil, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	f.issued++
	s.accessTokens[answer.AccessToken] = &accessToken{f, f.issued, now.Add(time.Duration(answer.ExpiresIn) * time.Second)}
	if withRefreshToken && f.Scopes.Contains("offline_access") {
		answer.RefreshToken = random()
		t := &refreshToken{family: f}
		if o.RefreshTokenLifetime > 0 {
			t.expires = now.Add(o.RefreshTokenLifetime)
		}
		s.refreshTokens[answer.RefreshToken] = t
	}
	return answer, nil
}

// NewToken returns a token as though the first person had just signed in and
// granted the scopes or, if there are none, openid, profile, email and
// offline_access.
func (s *Server) NewToken(scopes ...string) (*piecesauth.Token, error) {
	o := s.settings()
	person, _ := o.person("")
	return s.newToken(o, person, scopes)
}

// NewTokenFor is NewToken for another person, such as that of
// [Server.BrowserAs].
func (s *Server) NewTokenFor(person Person, scopes ...string) (*piecesauth.Token, error) {
	if person.Sub == "" {
		return nil, errors.New("piecesauthtest: the person has no sub")
	}
	s.meet(person)
	return s.newToken(s.settings(), person, scopes)
}

func (s *Server) newToken(o *Options, person Person, scopes []string) (*piecesauth.Token, error) {
	if len(scopes) == 0 {
		scopes = []string{"openid", "profile", "email", "offline_access"}
	}
	s.mu.Lock()
	f := s.newFamily(person.Sub, scopes, o.now())
	s.mu.Unlock()
	issued, err := s.issue(o, f, "", true)
	if err != nil {
		return nil, err
	}
	return &piecesauth.Token{
		AccessToken:  issued.AccessToken,
		TokenType:    issued.TokenType,
		RefreshToken: issued.RefreshToken,
		IDToken:      issued.IDToken,
		Scopes:       scopes,
		Expiry:       o.Now().Add(time.Duration(issued.ExpiresIn) * time.Second), // by the client's clock
	}, nil
}

// Revoke revokes, at once, what the given people have granted so far, or what
// everybody has: sessions, codes and tokens. Access tokens are then answered
// with 401 invalid_token, and refresh tokens with invalid_grant.
func (s *Server) Revoke(only ...Person) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.families {
		f.Revoked = f.Revoked || concerns(only, f.Sub)
	}
	maps.DeleteFunc(s.sessions, func(_ string, who *session) bool { return concerns(only, who.sub) })
}

// RevokeAccessTokens ends all issued access tokens, and leaves the refresh
// tokens valid.
func (s *Server) RevokeAccessTokens(only ...Person) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.families {
		if concerns(only, f.Sub) {
			f.ended = f.issued
		}
	}
}

// Revocations returns how often the reuse of a refresh token has revoked a
// sign-in.
func (s *Server) Revocations() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.revocations
}

// object is the answer with what Options.TokenAnswer says.
func (t *tokens) object(changes map[string]any) (map[string]any, error) {
	data, err := json.Marshal(t)
	if err != nil {
		return nil, err
	}
	object := map[string]any{}
	err = json.Unmarshal(data, &object)
	override(object, changes)
	return object, err
}

// oauthError answers as RFC 6749 §5.2 says.
func oauthError(w http.ResponseWriter, status int, code, description string) {
	writeJSON(w, status, map[string]string{"error": code, "error_description": description})
}

func random() string { return rand.Text() + rand.Text() }
