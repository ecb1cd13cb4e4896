package piecesauth

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/piecesauth/piecesauth/internal/oidc"
	"github.com/piecesauth/piecesauth/internal/redact"
	"github.com/piecesauth/piecesauth/internal/strictjson"
)

// Token is the result of a sign-in, and what a [TokenStore] keeps. Its JSON
// form is stable and includes the secrets; printing it shows none of them.
type Token struct {
	// AccessToken grants access to the API of the audience, and to the profile.
	AccessToken string `json:"access_token" secret:"true"`
	// TokenType is "Bearer".
	TokenType string `json:"token_type"`
	// RefreshToken obtains a new access token later. It comes with the scope
	// offline_access.
	RefreshToken string `json:"refresh_token,omitempty" secret:"true"`
	// IDToken identifies the person, as a signed JWT; see [Token.Claims].
	IDToken string `json:"id_token,omitempty" secret:"true"`
	// Scopes lists the granted scopes or, if the server does not say, those
	// that were asked for (RFC 6749 §5.1).
	Scopes Scopes `json:"scope,omitempty"`
	// Expiry is when the access token expires, by the wall clock of this
	// machine. It is zero if the server does not say.
	Expiry time.Time `json:"expiry,omitzero"`
	// Obtained is when the access token was requested, by the same clock.
	Obtained time.Time `json:"obtained,omitzero"`
	// BaseURL and ClientID are the server that granted the token and the client
	// that it was granted to. The token is used with no others. They may be
	// empty in a token made by hand.
	BaseURL  string `json:"base_url,omitempty"`
	ClientID string `json:"client_id,omitempty"`

	checked string // the ID token that was checked, or "" if none was
}

// Valid reports whether t has an access token that has not expired. The server
// may have revoked it nevertheless.
func (t *Token) Valid() bool { return t != nil && t.AccessToken != "" && t.left(time.Now()) > 0 }

// forever is the time left of a token that doesn't expire.
const forever = time.Duration(1<<63 - 1)

// left returns how long the access token is still valid, by the wall clock: the
// monotonic one stops while the machine sleeps.
func (t *Token) left(now time.Time) time.Duration {
	if t.Expiry.IsZero() {
		return forever
	}
	return t.Expiry.Round(0).Sub(now.Round(0))
}

// lifetime returns how long the access token was valid when it was requested,
// or forever if that isn't known.
func (t *Token) lifetime() time.Duration {
	if !t.Expiry.After(t.Obtained) { // of a zero Obtained Sub makes forever
		return forever
	}
	return t.Expiry.Sub(t.Obtained)
}

func (t *Token) clone() *Token {
	if t == nil {
		return nil
	}
	c := *t
	c.Scopes = slices.Clone(t.Scopes)
	return &c
}

// Claims decodes the claims of the ID token into v. It works like
// [encoding/json], except that names must match a field's tag in case too. It
// fails with [ErrNotVerified] unless the ID token was checked in this process,
// by [Authenticator.Complete], [Authenticator.Refresh] or
// [Authenticator.Verify]: pass a token that was read from a store to Verify
// first.
func (t *Token) Claims(v any) error {
	switch {
	case t == nil || t.IDToken == "":
		return &Error{Op: "verify", Err: fmt.Errorf("%w: there is none", ErrNotVerified)}
	case t.checked != t.IDToken:
		return &Error{Op: "verify", Err: fmt.Errorf("%w in this process: call Verify first", ErrNotVerified)}
	}
	id, err := oidc.Parse(t.IDToken)
	if err == nil {
		err = strictjson.UnmarshalCaller(id.Payload, v)
	}
	if err != nil {
		return &Error{Op: "verify", Err: err}
	}
	return nil
}

// Format prints t without its secrets, for every verb.
func (t Token) Format(s fmt.State, _ rune) { redact.Write(s, t) }

// LogValue logs t without its secrets.
func (t Token) LogValue() slog.Value { return redact.Value(t) }

// checkOrigin refuses a token of another server or client, so that it is never
// sent to the wrong one.
func (a *Authenticator) checkOrigin(what, baseURL, clientID string) error {
	switch {
	case baseURL != "" && baseURL != a.base.String():
		return fmt.Errorf("%s came from %s, and BaseURL is %s", what, baseURL, a.config.BaseURL)
	case clientID != "" && clientID != a.config.ClientID:
		return fmt.Errorf("%s belongs to the client %q, and ClientID is %q", what, clientID, a.config.ClientID)
	}
	return nil
}

// Verify checks the ID token of a token that was read from storage, and returns
// a copy of the token whose [Token.Claims] work. The checks are those of
// [Authenticator.Complete], except for the attempt's nonce and age. It fails
// with [ErrNotVerified] if there is no ID token. An ID token that a refresh
// carried over may no longer pass, because it has expired or its at_hash
// belongs to an earlier access token.
func (a *Authenticator) Verify(ctx context.Context, token *Token) (*Token, error) {
	const op = "verify"
	if token == nil || token.IDToken == "" {
		return nil, &Error{Op: op, Err: ErrNotVerified}
	}
	if _, err := oidc.Check(ctx, token.IDToken, a.expected(token.AccessToken), a.issuer); err != nil {
		return nil, wrap(op, err)
	}
	checked := *token
	checked.checked = token.IDToken
	return &checked, nil
}

// expected returns what must hold for every ID token that comes with the access
// token. Its errors repeat none of the secrets.
func (a *Authenticator) expected(accessToken string, secrets ...string) oidc.Expected {
	return oidc.Expected{
		Issuer: a.config.Issuer, ClientID: a.config.ClientID, AccessToken: accessToken, Leeway: a.config.Leeway, Secrets: secrets,
	}
}
