// Package oidc reads and checks an OpenID Connect ID token. [Parse] reads it,
// [Token.Check] compares its claims with what is expected and needs nothing but
// the token, and [Provider.Verify] checks its signature with the issuer's keys,
// which it fetches if necessary. Use them in that order: no request is made for
// a token whose claims are wrong.
//
// JOSE is handled by go-jose. This package adds what go-jose does not check:
// white space within base64url, unused bits, b64, sizes of RSA keys, the number
// of keys that are tried, and invalid keys in a set.
//
// # Keys
//
// The keys of an issuer are kept for as long as its Cache-Control says, between
// a minute and a day, or for an hour if it says nothing. A new key is fetched
// when it is first needed, so age matters only for keys that are withdrawn.
// When the issuer can't be reached, keys are used until they are a day old.
// Unknown keys cause at most five requests a minute. All who wait share one
// request, which continues when one of them leaves.
//
// github.com/MicahParks/jwkset was considered and rejected. It drops a whole
// set because of one bad key, reads bodies without a limit, ignores
// Cache-Control, has no age after which a key is refused, keeps one key for a
// kid, makes a request for each caller that waits, and refreshes from a
// goroutine that never ends.
package oidc

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/go-jose/go-jose/v4"

	"github.com/piecesauth/piecesauth/internal/strictjson"
)

// Kind is the kind of a failed check.
type Kind int

// The kinds of errors, in the order in which claims are checked.
const (
	Malformed Kind = iota // can't be read, or lacks what every ID token has
	Issuer                // of another issuer
	Subject               // no subject, or another person than before
	Nonce                 // made for another attempt
	Audience              // made for another client
	AuthTime              // the person signed in too long ago
	Algorithm             // not signed, or not with an algorithm that is allowed
	Hash                  // made for another access token
	Clock                 // expired or not valid yet, by this machine's clock
	Signature             // not the issuer's
	Keys                  // can't be checked just now
)

// Error is what the functions of this package return.
type Error struct {
	Kind       Kind
	Op         string // "discovery" or "jwks" if that answer is wrong
	StatusCode int    // of that answer
	Err        error

	passing bool // asking again may help
}

// Error returns the text of the cause.
func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

func failed(kind Kind, format string, args ...any) error {
	return &Error{Kind: kind, Err: fmt.Errorf(format, args...)}
}

// Claims holds the claims that are used here (OpenID Connect Core §2).
type Claims struct {
	Issuer          string   `json:"iss"`
	Subject         string   `json:"sub"`
	Audience        Strings  `json:"aud"`
	AuthorizedParty string   `json:"azp"`
	Expiry          *float64 `json:"exp"`
	IssuedAt        *float64 `json:"iat"`
	NotBefore       *float64 `json:"nbf"`
	AuthTime        *float64 `json:"auth_time"`
	Nonce           string   `json:"nonce"`
	AccessTokenHash string   `json:"at_hash"`
}

// Strings is a list that is sent as a single string if it has one item.
type Strings []string

// UnmarshalJSON reads a list of strings, or a string.
func (s *Strings) UnmarshalJSON(b []byte) error {
	var list []string
	if b[0] == '"' {
		list = []string{""}
		b = append(append([]byte{'['}, b...), ']')
	}
	if json.Unmarshal(b, &list) != nil {
		return strictjson.FixedError("the JSON has an aud that is neither a string nor a list of strings")
	}
	*s = list
	return nil
}

// Token is an ID token that has been read. Neither its claims nor its signature
// have been checked.
type Token struct {
	Algorithm string // "" if the header has none
	KeyID     string // "" if the header has none
	Claims    Claims
	Payload   []byte // the claims as JSON

	jws *jose.JSONWebSignature
}

// Parse reads a signed JWT in its compact form (RFC 7515 §7.1).
func Parse(raw string) (*Token, error) {
	parts := strings.Split(raw, ".")
	if len(parts) != 3 {
		return nil, failed(Malformed, "the ID token is not a signed JWT")
	}
	for _, part := range parts {
		if !canonical(part) {
			return nil, failed(Malformed, "the ID token is malformed: it is not base64url")
		}
	}
	jws, err := parseJWS(raw)
	if err != nil { // which may quote the header
		return nil, failed(Malformed, "the ID token is malformed: its header cannot be read")
	}
	// The header in the place of the payload is how go-jose hands it out whole.
	head, err := parseJWS(parts[0] + "." + parts[0] + "." + parts[2])
	var header struct {
		Algorithm string          `json:"alg"`
		KeyID     string          `json:"kid"`
		Critical  json.RawMessage `json:"crit"` // extensions that would have to be understood
		Base64    json.RawMessage `json:"b64"`  // which no JWT may have (RFC 7797 §7)
	}
	if err == nil {
		err = strictjson.Unmarshal(head.UnsafePayloadWithoutVerification(), &header)
	}
	if err != nil || header.Critical != nil || header.Base64 != nil {
		return nil, failed(Malformed, "the ID token is malformed: its header has crit, b64 or a name twice, or cannot be read")
	}
	t := &Token{Algorithm: header.Algorithm, KeyID: header.KeyID, Payload: jws.UnsafePayloadWithoutVerification(), jws: jws}
	if err := strictjson.Unmarshal(t.Payload, &t.Claims); err != nil {
		return nil, failed(Malformed, "the ID token is malformed: %w", err)
	}
	return t, nil
}

// parseJWS accepts any algorithm; Check and Verify decide which are allowed.
func parseJWS(raw string) (*jose.JSONWebSignature, error) {
	jws, err := jose.ParseSignedCompact(raw, []jose.SignatureAlgorithm{jose.RS256})
	var other *jose.ErrUnexpectedSignatureAlgorithm
	if errors.As(err, &other) {
		return jose.ParseSignedCompact(raw, []jose.SignatureAlgorithm{other.Got})
	}
	return jws, err
}

// canonical reports whether part is base64url without padding, white space or
// unused bits, which go-jose may ignore.
func canonical(part string) bool {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	if strings.Trim(part, alphabet) != "" {
		return false
	}
	unread := map[int]int{0: 1, 2: 16, 3: 4}[len(part)%4] // what the last value is a multiple of
	return unread == 1 || unread > 0 && strings.IndexByte(alphabet, part[len(part)-1])%unread == 0
}
