package piecesauth

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"
)

// Token is what a sign-in gives, and what a [TokenStore] keeps: its JSON form
// is stable and holds the secrets; every printed form leaves them out.
type Token struct {
	// AccessToken opens the API of the audience, and the profile.
	AccessToken string `json:"access_token" secret:"true"`
	// TokenType is "Bearer".
	TokenType string `json:"token_type"`
	// RefreshToken gives a new token later; it comes with the scope
	// offline_access.
	RefreshToken string `json:"refresh_token,omitempty" secret:"true"`
	// IDToken says who signed in, as a signed JWT; see [Token.Claims].
	IDToken string `json:"id_token,omitempty" secret:"true"`
	// Scopes is what was granted; where the server doesn't say, what was asked
	// for (RFC 6749 §5.1).
	Scopes Scopes `json:"scope,omitempty"`
	// Expiry is when the access token expires, by the wall clock of this
	// machine; zero where the server doesn't say.
	Expiry time.Time `json:"expiry,omitzero"`

	claims []byte // of IDToken, once it was checked
}

// Valid reports whether t has an access token that has not expired. The server
// may have revoked it all the same.
func (t *Token) Valid() bool { return t.validFor(0) }

// validFor reports whether t can be used for a while yet. It asks the wall
// clock: the monotonic one stands still while the machine sleeps.
func (t *Token) validFor(while time.Duration) bool {
	return t != nil && t.AccessToken != "" &&
		(t.Expiry.IsZero() || time.Now().Round(0).Before(t.Expiry.Add(-while)))
}

func (t *Token) clone() *Token {
	if t == nil {
		return nil
	}
	c := *t
	c.Scopes = slices.Clone(t.Scopes)
	return &c
}

// Claims decodes the claims of the ID token into v, as [json.Unmarshal] would.
// It fails with [ErrNotVerified] unless the ID token was checked in this
// process: by [Authenticator.Complete], [Authenticator.Refresh] or
// [Authenticator.Verify].
func (t *Token) Claims(v any) error {
	if t == nil || t.claims == nil {
		return &Error{Op: "verify", Err: ErrNotVerified}
	}
	if err := json.Unmarshal(t.claims, v); err != nil {
		return &Error{Op: "verify", Err: jsonCause(err)}
	}
	return nil
}

// Format prints t without its secrets, whatever the verb.
func (t Token) Format(s fmt.State, _ rune) { redact(s, t) }

// LogValue logs t without its secrets.
func (t Token) LogValue() slog.Value { return redacted(t) }

// newToken makes a Token of the token endpoint's answer to a request that was
// sent at the time given, and checks what RFC 6749 §5.1 requires of it.
func newToken(w *OAuthToken, sent time.Time) (*Token, error) {
	if w.AccessToken == "" {
		return nil, errors.New("the answer has no access_token")
	}
	for _, secret := range []string{w.AccessToken, w.RefreshToken} {
		if strings.ContainsFunc(secret, func(r rune) bool { return r < ' ' || r > '~' }) {
			return nil, errors.New("the answer has a token with characters that none may have (RFC 6749 appendix A)")
		}
	}
	if !strings.EqualFold(string(w.TokenType), string(TokenTypeBearer)) {
		return nil, errors.New("the answer's token_type is not Bearer")
	}
	t := &Token{
		AccessToken:  w.AccessToken,
		TokenType:    string(TokenTypeBearer),
		RefreshToken: w.RefreshToken,
		IDToken:      w.IDToken,
		Scopes:       strings.Fields(w.Scope),
	}
	if w.ExpiresIn != 0 {
		t.Expiry = sent.Add(w.ExpiresIn.Duration()).Round(0).UTC()
	}
	return t, nil
}
