package piecesauth

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/piecesauth/piecesauth/internal/jsonvalue"
	"github.com/piecesauth/piecesauth/internal/redact"
)

// Scopes is a list of scopes. On the wire, and in JSON, it is one string with
// its items separated by spaces (RFC 6749 §3.3).
type Scopes []string

// Contains reports whether the list has the scope.
func (s Scopes) Contains(scope string) bool { return slices.Contains(s, scope) }

// String joins the list by spaces.
func (s Scopes) String() string { return strings.Join(s, " ") }

// MarshalText joins the list by spaces.
func (s Scopes) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText splits text at white space.
func (s *Scopes) UnmarshalText(text []byte) error {
	*s = strings.Fields(string(text))
	return nil
}

// Seconds is a lifetime in seconds. Servers send it as 86400, 86400.0 or
// "86400" (RFC 6749 §5.1 defines a number); all three are accepted.
type Seconds int64

// Duration converts s, capped at a hundred years either way.
func (s Seconds) Duration() time.Duration { return jsonvalue.Duration(int64(s)) }

// UnmarshalJSON reads a number, or a string that holds one; null and "" are 0.
func (s *Seconds) UnmarshalJSON(data []byte) error {
	n, err := jsonvalue.Seconds(data)
	*s = Seconds(n)
	return err
}

// Timestamp is a point in time. Servers send it as a date-time string or as a
// number of seconds since 1970 (OpenID Connect Core §5.1); both are accepted.
// It is written as a date-time.
type Timestamp struct{ time.Time }

// UnmarshalJSON reads a date-time, a date, or a number of seconds. A number
// that would be thousands of years from now is taken as milliseconds; null and
// "" are the zero time.
func (t *Timestamp) UnmarshalJSON(data []byte) (err error) {
	t.Time, err = jsonvalue.Moment(data)
	return err
}

// What holds a secret is never printed: Format answers every verb of package
// fmt, LogValue every handler of slog. Both leave JSON alone, which is how
// values are stored and sent.

func (v Auth0Identity) Format(s fmt.State, _ rune)           { redact.Write(s, v) }
func (v Auth0OpenAIUserMetadata) Format(s fmt.State, _ rune) { redact.Write(s, v) }
func (v Auth0User) Format(s fmt.State, _ rune)               { redact.Write(s, v) }
func (v Auth0UserMetadata) Format(s fmt.State, _ rune)       { redact.Write(s, v) }
func (v AuthorizeAuth0Params) Format(s fmt.State, _ rune)    { redact.Write(s, v) }
func (v OAuthToken) Format(s fmt.State, _ rune)              { redact.Write(s, v) }
func (v ResultedPKCE) Format(s fmt.State, _ rune)            { redact.Write(s, v) }
func (v TokenizedPKCE) Format(s fmt.State, _ rune)           { redact.Write(s, v) }

func (v Auth0Identity) LogValue() slog.Value           { return redact.Value(v) }
func (v Auth0OpenAIUserMetadata) LogValue() slog.Value { return redact.Value(v) }
func (v Auth0User) LogValue() slog.Value               { return redact.Value(v) }
func (v Auth0UserMetadata) LogValue() slog.Value       { return redact.Value(v) }
func (v AuthorizeAuth0Params) LogValue() slog.Value    { return redact.Value(v) }
func (v OAuthToken) LogValue() slog.Value              { return redact.Value(v) }
func (v ResultedPKCE) LogValue() slog.Value            { return redact.Value(v) }
func (v TokenizedPKCE) LogValue() slog.Value           { return redact.Value(v) }

// The generated answers hold the raw body, and the request with its bearer.

func (r Auth0LogoutResponse) Format(s fmt.State, _ rune)           { redact.Write(s, r) }
func (r AuthorizeAuth0Response) Format(s fmt.State, _ rune)        { redact.Write(s, r) }
func (r ExchangeForAuth0TokenResponse) Format(s fmt.State, _ rune) { redact.Write(s, r) }
func (r GetAuth0UserInfoResponse) Format(s fmt.State, _ rune)      { redact.Write(s, r) }

func (r Auth0LogoutResponse) LogValue() slog.Value           { return redact.Value(r) }
func (r AuthorizeAuth0Response) LogValue() slog.Value        { return redact.Value(r) }
func (r ExchangeForAuth0TokenResponse) LogValue() slog.Value { return redact.Value(r) }
func (r GetAuth0UserInfoResponse) LogValue() slog.Value      { return redact.Value(r) }
