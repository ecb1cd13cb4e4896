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

// Token is what a sign-in returns, and what a [TokenStore] keeps: its JSON form
// is stable and holds the secrets; every printed form leaves them out.
type Token struct {
	// AccessToken opens the API of the audience, and the profile.
	AccessToken string `json:"access_token" secret:"true"`
	// TokenType is "Bearer".
	TokenType string `json:"token_type"`
	// RefreshToken is what a new token is had for later; it comes with the
	// scope offline_access.
	RefreshToken string `json:"refresh_token,omitempty" secret:"true"`
	// IDToken says who signed in, as a signed JWT; see [Token.Claims].
	IDToken string `json:"id_token,omitempty" secret:"true"`
	// Scopes is what was granted; where the server doesn't say, what was asked
	// for (RFC 6749 §5.1).
	Scopes Scopes `json:"scope,omitempty"`
	// Expiry is when the access token expires, by the wall clock of this
	// machine; zero where the server doesn't say.
	Expiry time.Time `json:"expiry,omitzero"`
	// Obtained is when the access token was asked for, by the same clock.
	Obtained time.Time `json:"obtained,omitzero"`
	// BaseURL and ClientID are the server that granted the token, and the
	// client that it granted it to. It is used with no other. Tokens made by
	// hand may leave them out.
	BaseURL  string `json:"base_url,omitempty"`
	ClientID string `json:"client_id,omitempty"`

	checked string // the ID token that was checked, "" where none was
}

// Valid reports whether t has an access token that has not expired. The server
// may have revoked it all the same.
func (t *Token) Valid() bool { return t != nil && t.AccessToken != "" && t.left(time.Now()) > 0 }

// forever is what is left of a token that doesn't expire.
const forever = time.Duration(1<<63 - 1)

// left is how long the access token is good for, by the wall clock: the
// monotonic one stands still while the machine sleeps.
func (t *Token) left(now time.Time) time.Duration {
	if t.Expiry.IsZero() {
		return forever
	}
	return t.Expiry.Round(0).Sub(now.Round(0))
}

// lifetime is how long the access token was good for when it was asked for, or
// for as long as anybody cares where that isn't known.
func (t *Token) lifetime() time.Duration {
	if t.Expiry.IsZero() || t.Obtained.IsZero() || !t.Expiry.After(t.Obtained) {
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

// Claims decodes the claims of the ID token into v, as [encoding/json] does,
// but for names that differ in case alone from a field's tag. It fails with
// [ErrNotVerified] unless the ID token was checked in this process, by
// [Authenticator.Complete], [Authenticator.Refresh] or [Authenticator.Verify]:
// a token that was read from a store has to go through Verify first.
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

// Format prints t without its secrets, whatever the verb.
func (t Token) Format(s fmt.State, _ rune) { redact.Write(s, t) }

// LogValue logs t without its secrets.
func (t Token) LogValue() slog.Value { return redact.Value(t) }

// checkOrigin refuses a token of another server or client: what is known of one
// is not sent to another.
func (a *Authenticator) checkOrigin(what, baseURL, clientID string) error {
	switch {
	case baseURL != "" && baseURL != a.base.String():
		return fmt.Errorf("%s came from %s, and BaseURL is %s", what, baseURL, a.config.BaseURL)
	case clientID != "" && clientID != a.config.ClientID:
		return fmt.Errorf("%s belongs to the client %q, and ClientID is %q", what, clientID, a.config.ClientID)
	}
	return nil
}

// Verify checks the ID token of a token that was read from storage, as
// [Authenticator.Complete] does but for the attempt's nonce and age, and
// returns a copy of the token whose [Token.Claims] work. It fails with
// [ErrNotVerified] where there is no ID token. One that a refresh carried over
// may no longer pass: it has expired, or its at_hash is of an earlier access
// token.
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

// expected is what holds for every ID token that comes with the access token.
// Its errors repeat none of the secrets.
func (a *Authenticator) expected(accessToken string, secrets ...string) oidc.Expected {
	return oidc.Expected{
		Issuer: a.config.Issuer, ClientID: a.config.ClientID, AccessToken: accessToken, Leeway: a.config.Leeway, Secrets: secrets,
	}
}
