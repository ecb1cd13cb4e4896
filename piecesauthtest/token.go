package piecesauthtest

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/piecesauth/piecesauth"
)

// grant is what a person gave to the application, with all the tokens that
// come of it: what reuse revokes.
type grant struct {
	user     map[string]any
	scopes   piecesauth.Scopes
	authTime time.Time
	revoked  bool
}

type code struct {
	*grant
	nonce, challenge, redirectURI string
	expires                       time.Time
	used                          bool
}

type accessToken struct {
	*grant
	expires time.Time
}

type refreshToken struct {
	*grant
	used time.Time // first; zero: not yet
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

func invalid(description string) *refusal {
	return &refusal{http.StatusBadRequest, "invalid_grant", description}
}

// A verifier (RFC 7636 §4.1).
var verifierSyntax = regexp.MustCompile(`^[A-Za-z0-9._~-]{43,128}$`)

// ExchangeForAuth0Token redeems a code or a refresh token.
func (h *handler) ExchangeForAuth0Token(w http.ResponseWriter, r *http.Request) {
	answer, err := h.redeem(r)
	var refused *refusal
	switch {
	case errors.As(err, &refused):
		oauthError(w, refused.status, refused.code, refused.description)
	case err != nil:
		oauthError(w, http.StatusInternalServerError, "server_error", err.Error())
	default:
		w.Header().Set("Pragma", "no-cache")
		writeJSON(w, http.StatusOK, answer)
	}
}

func (h *handler) redeem(r *http.Request) (*tokens, error) {
	form := r.PostForm
	malformed := func(description string) error {
		return &refusal{http.StatusBadRequest, "invalid_request", description}
	}
	var needs, mustLack []string
	switch grantType := form.Get("grant_type"); piecesauth.GrantType(grantType) {
	case piecesauth.GrantTypeAuthorizationCode:
		needs, mustLack = []string{"client_id", "code", "code_verifier"}, []string{"refresh_token"}
	case piecesauth.GrantTypeRefreshToken:
		needs, mustLack = []string{"client_id", "refresh_token"}, []string{"code", "code_verifier", "redirect_uri"}
	case "":
		return nil, malformed("parameter grant_type is missing")
	default:
		return nil, &refusal{http.StatusBadRequest, "unsupported_grant_type", "grant_type is neither authorization_code nor refresh_token"}
	}
	for _, name := range needs {
		if !form.Has(name) {
			return nil, malformed("parameter " + name + " is missing")
		}
	}
	for _, name := range mustLack {
		if form.Has(name) {
			return nil, malformed("parameter " + name + " belongs to another grant")
		}
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

func (s *Server) redeemCode(text, redirectURI, verifier string) (*tokens, error) {
	s.mu.Lock()
	c := s.codes[text]
	var err *refusal
	hash := sha256.Sum256([]byte(verifier))
	switch {
	case c == nil:
		err = invalid("code is unknown")
	case c.used:
		c.revoked = true
		err = invalid("code was used before; what it gave is revoked (RFC 6749 §4.1.2)")
	case !s.options.Now().Before(c.expires):
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
	return s.issue(c.grant, c.nonce, true)
}

func (s *Server) redeemRefreshToken(text string) (*tokens, error) {
	s.mu.Lock()
	t := s.refreshTokens[text]
	now := s.options.Now()
	var err *refusal
	switch {
	case t == nil:
		err = invalid("refresh token is unknown")
	case t.revoked:
		err = invalid("refresh token is revoked")
	case s.options.NoRotation, t.used.IsZero():
		t.used = now
	case s.options.RefreshLeeway > 0 && now.Sub(t.used) <= s.options.RefreshLeeway:
	default:
		t.revoked = true
		s.revocations++
		err = invalid("refresh token was used before; all that came of the sign-in is revoked")
	}
	s.mu.Unlock()
	if err != nil {
		return nil, err
	}
	return s.issue(t.grant, "", !s.options.NoRotation)
}

// issue makes the tokens that g is good for.
func (s *Server) issue(g *grant, nonce string, withRefreshToken bool) (*tokens, error) {
	now := s.options.Now()
	answer := &tokens{
		AccessToken: random(),
		TokenType:   "Bearer",
		ExpiresIn:   int64(s.options.TokenLifetime / time.Second),
		Scope:       g.scopes.String(),
	}
	if g.scopes.Contains("openid") {
		var err error
		if answer.IDToken, err = s.idToken(g, nonce, answer.AccessToken); err != nil {
			return nil, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.accessTokens[answer.AccessToken] = &accessToken{g, now.Add(time.Duration(answer.ExpiresIn) * time.Second)}
	if withRefreshToken && g.scopes.Contains("offline_access") {
		answer.RefreshToken = random()
		s.refreshTokens[answer.RefreshToken] = &refreshToken{grant: g}
	}
	return answer, nil
}

// NewToken gives a token as though somebody had just signed in and granted the
// scopes; without any: openid, profile, email and offline_access.
func (s *Server) NewToken(scopes ...string) (*piecesauth.Token, error) {
	if len(scopes) == 0 {
		scopes = []string{"openid", "profile", "email", "offline_access"}
	}
	now := s.options.Now()
	issued, err := s.issue(&grant{user: s.options.User, scopes: scopes, authTime: now}, "", true)
	if err != nil {
		return nil, err
	}
	return &piecesauth.Token{
		AccessToken:  issued.AccessToken,
		TokenType:    issued.TokenType,
		RefreshToken: issued.RefreshToken,
		IDToken:      issued.IDToken,
		Scopes:       scopes,
		Expiry:       now.Add(time.Duration(issued.ExpiresIn) * time.Second),
	}, nil
}

// Revoke ends all sessions, and revokes all codes and tokens given out so far.
func (s *Server) Revoke() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.sessions)
	clear(s.codes)
	clear(s.accessTokens)
	clear(s.refreshTokens)
}

// Revocations says how often the reuse of a refresh token has revoked what
// came of a sign-in.
func (s *Server) Revocations() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.revocations
}

// GetAuth0UserInfo gives the claims that the scopes of the access token cover.
func (h *handler) GetAuth0UserInfo(w http.ResponseWriter, r *http.Request) {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	switch {
	case scheme == "":
		challenge(w, http.StatusUnauthorized, "", "")
		return
	case !strings.EqualFold(scheme, "Bearer") || token == "":
		challenge(w, http.StatusUnauthorized, "invalid_request", "The Authorization header has to be Bearer and the access token.")
		return
	}
	h.mu.Lock()
	t := h.accessTokens[token]
	good := t != nil && !t.revoked && h.options.Now().Before(t.expires)
	h.mu.Unlock()
	switch {
	case !good:
		challenge(w, http.StatusUnauthorized, "invalid_token", "The access token is unknown, expired or revoked.")
	case !t.scopes.Contains("openid"):
		challenge(w, http.StatusForbidden, "insufficient_scope", "The scope openid was not granted.")
	default:
		writeJSON(w, http.StatusOK, claims(t.user, t.scopes))
	}
}

// claims picks what scopes cover (OpenID Connect Core §5.4): sub and
// namespaced claims in any case, the address with email, all else with profile.
func claims(user map[string]any, scopes piecesauth.Scopes) map[string]any {
	picked := maps.Clone(user)
	maps.DeleteFunc(picked, func(name string, _ any) bool {
		switch {
		case name == "sub" || strings.Contains(name, "://"):
			return false
		case name == "email" || name == "email_verified":
			return !scopes.Contains("email")
		}
		return !scopes.Contains("profile")
	})
	return picked
}

func defaultUser() map[string]any {
	const id = "auth0|507f1f77bcf86cd799439011"
	return map[string]any{
		"sub":            id,
		"user_id":        id,
		"name":           "Ada Lovelace",
		"given_name":     "Ada",
		"family_name":    "Lovelace",
		"nickname":       "ada",
		"email":          "ada@example.com",
		"email_verified": true,
		"picture":        "https://example.com/ada.png",
		"updated_at":     "2026-01-02T03:04:05Z",
		"user_metadata":  map[string]any{"global_id": "5a2b1c3d-0e4f-4a6b-8c7d-9e0f1a2b3c4d", "vanityname": "ada"},

		"https://example.com/roles": []string{"tester"},
	}
}

// oauthError answers as RFC 6749 §5.2 says.
func oauthError(w http.ResponseWriter, status int, code, description string) {
	writeJSON(w, status, map[string]string{"error": code, "error_description": description})
}

// challenge answers as RFC 6750 §3 says: without a code where no token came.
func challenge(w http.ResponseWriter, status int, code, description string) {
	if code == "" {
		w.Header().Set("WWW-Authenticate", `Bearer realm="piecesauthtest"`)
		writeJSON(w, status, struct{}{})
		return
	}
	w.Header().Set("WWW-Authenticate", `Bearer realm="piecesauthtest", error="`+code+`", error_description="`+description+`"`)
	oauthError(w, status, code, description)
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil { // claims of Options.User
		http.Error(w, "piecesauthtest: "+err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

func random() string { return rand.Text() + rand.Text() }
