// Package tokenresponse reads a successful answer of the token endpoint
// (RFC 6749 §5.1). What it granted can't be asked for again, so whatever can be
// read without doubt is returned, even with an error: only the access token
// decides whether the answer can be used, and a fault in any other member, or
// after the object, costs that member at most.
package tokenresponse

import (
	"cmp"
	"errors"
	"strings"
	"time"

	"github.com/piecesauth/piecesauth/internal/jsonvalue"
	"github.com/piecesauth/piecesauth/internal/strictjson"
)

// Bearer is the only token type that is accepted (RFC 6750).
const Bearer = "Bearer"

// Response is what was granted.
type Response struct {
	AccessToken  string
	TokenType    string // Bearer, or with an error what the server says
	RefreshToken string
	IDToken      string // not checked; "" with an error
	Scopes       []string
	Scoped       bool          // the answer says which scopes
	ExpiresIn    time.Duration // 0 if the answer doesn't say
}

// Kept reports whether there is anything worth keeping.
func (r *Response) Kept() bool { return r.AccessToken+r.RefreshToken != "" }

type members struct {
	AccessToken  string  `json:"access_token"`
	TokenType    string  `json:"token_type"`
	RefreshToken string  `json:"refresh_token"`
	IDToken      string  `json:"id_token"`
	Scope        any     `json:"scope"`
	ExpiresIn    seconds `json:"expires_in"`
}

type seconds int64

// UnmarshalJSON reads a lifetime as servers send it.
func (s *seconds) UnmarshalJSON(data []byte) error {
	n, err := jsonvalue.Seconds(data)
	*s = seconds(n)
	return err
}

// Read reads the answer. The error says why it can't be used.
func Read(body []byte) (Response, error) {
	m, unreadable := readMembers(body)
	r := Response{
		AccessToken: m.AccessToken, TokenType: Bearer, RefreshToken: m.RefreshToken, IDToken: m.IDToken,
		ExpiresIn: jsonvalue.Duration(int64(m.ExpiresIn)),
	}
	text, scoped := scopeText(m.Scope)
	r.Scopes, r.Scoped = strings.Fields(text), scoped
	if !IsToken(r.RefreshToken) {
		r.RefreshToken = ""
	}
	err := r.check(m.TokenType)
	if err = cmp.Or(unreadable, err); err != nil {
		r.IDToken = ""
	}
	return r, err
}

func (r *Response) check(tokenType string) error {
	switch {
	case r.AccessToken == "":
		return errors.New("the answer has no access_token")
	case !IsToken(r.AccessToken):
		r.AccessToken = ""
		return errors.New("the answer has a token with characters that none may have (RFC 6749 appendix A)")
	case tokenType != "" && !strings.EqualFold(tokenType, Bearer):
		r.TokenType = tokenType
		return errors.New("the answer's token_type is not Bearer")
	}
	return nil
}

// readMembers reads the members that count, and of an answer that is malformed
// somewhere those that can be made out.
func readMembers(body []byte) (m members, err error) {
	const access, refresh = "access_token", "refresh_token"
	err = strictjson.UnmarshalLenient(body, &m, access)
	if err == nil {
		return m, nil
	}
	m = members{} // without what was read before the fault
	sound, lost := strictjson.Salvage(body, []string{access, refresh}, "token_type", "expires_in", "scope", "id_token")
	unreadable := strictjson.UnmarshalLenient(sound, &m, access)
	if unreadable != nil { // the access token is no string; the rest is worth keeping all the same
		_ = strictjson.UnmarshalLenient(sound, &m)
		m.AccessToken = ""
	}
	if errors.Is(err, strictjson.ErrTooLarge) {
		return m, err
	}
	return m, cmp.Or(lost, unreadable)
}

// scopeText joins a scope as servers send it: a string (RFC 6749 §5.1), or a
// list.
func scopeText(scope any) (text string, given bool) {
	switch scope := scope.(type) {
	case string:
		return scope, true
	case []any:
		var items []string
		for _, item := range scope {
			if s, ok := item.(string); ok {
				items = append(items, s)
			}
		}
		return strings.Join(items, " "), true
	}
	return "", false
}

// IsToken reports whether s has only the characters that a token may have
// (RFC 6749 appendix A.12 and A.17).
func IsToken(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' })
}
