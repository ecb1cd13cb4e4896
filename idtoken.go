package piecesauth

import (
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"
	josejson "github.com/go-jose/go-jose/v4/json" // exact in names, and refuses one given twice
)

const leeway = 30 * time.Second // between this machine's clock and the issuer's

// claims of an ID token that have a meaning here (OpenID Connect Core §2).
type claims struct {
	Issuer   string   `json:"iss"`
	Subject  string   `json:"sub"`
	Audience audience `json:"aud"`
	Party    string   `json:"azp"`
	Expiry   *float64 `json:"exp"`
	IssuedAt *float64 `json:"iat"`
	AuthTime *float64 `json:"auth_time"`
	Nonce    string   `json:"nonce"`
	AtHash   string   `json:"at_hash"`
}

// audience is one string on the wire, or several.
type audience []string

func (a *audience) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '"' {
		*a = audience{""}
		return json.Unmarshal(b, &(*a)[0])
	}
	return json.Unmarshal(b, (*[]string)(a))
}

// parseIDToken reads a compact JWS without checking its signature.
func parseIDToken(raw string) (alg string, payload []byte, c *claims, err error) {
	parts := strings.Split(raw, ".")
	if len(parts) != 3 {
		return "", nil, nil, errors.New("the ID token is not a signed JWT")
	}
	var header struct {
		Alg string `json:"alg"`
	}
	head, err := base64.RawURLEncoding.DecodeString(parts[0])
	if err == nil {
		err = josejson.Unmarshal(head, &header)
	}
	if err == nil {
		payload, err = base64.RawURLEncoding.DecodeString(parts[1])
	}
	if err == nil {
		err = josejson.Unmarshal(payload, &c)
	}
	if err != nil || c == nil {
		return "", nil, nil, errors.New("the ID token is malformed")
	}
	return header.Alg, payload, c, nil
}

// checkIDToken checks the token's ID token, then what fits says of its claims,
// and gives the token its claims.
func (a *Authenticator) checkIDToken(ctx context.Context, op string, t *Token, fits func(*claims) error) error {
	alg, payload, c, err := parseIDToken(t.IDToken)
	if err != nil {
		return &Error{Op: op, Err: err}
	}
	if a.config.Issuer != "" {
		if payload, err = a.verifySignature(ctx, op, t.IDToken); err != nil {
			return err
		}
	}
	err = a.checkClaims(alg, c, t.AccessToken)
	if err == nil {
		err = fits(c)
	}
	if err != nil {
		return &Error{Op: op, Err: err}
	}
	t.claims = payload
	return nil
}

// checkClaims checks what holds for every ID token (OpenID Connect Core
// §3.1.3.7).
func (a *Authenticator) checkClaims(alg string, c *claims, accessToken string) error {
	now := time.Now()
	seconds := func(s *float64, d time.Duration) time.Time {
		return time.Unix(int64(max(-1<<40, min(*s, 1<<40))), 0).Add(d)
	}
	trusted := func(aud string) bool { return aud == a.config.ClientID }
	switch {
	case alg == "" || strings.EqualFold(alg, "none"):
		return errors.New("the ID token is not signed")
	case c.Issuer == "" || a.config.Issuer != "" && c.Issuer != a.config.Issuer:
		return fmt.Errorf("iss of the ID token: %w", ErrIssuerMismatch)
	case c.Subject == "":
		return errors.New("sub of the ID token is missing")
	case !slices.ContainsFunc(c.Audience, trusted):
		return errors.New("aud of the ID token lacks this client")
	case slices.ContainsFunc(c.Audience, func(aud string) bool { return !trusted(aud) }):
		return errors.New("aud of the ID token has others than this client")
	case c.Party != "" && !trusted(c.Party):
		return errors.New("azp of the ID token is not this client")
	case c.Expiry == nil:
		return errors.New("exp of the ID token is missing")
	case !now.Before(seconds(c.Expiry, leeway)):
		return errors.New("exp of the ID token has passed")
	case c.IssuedAt == nil:
		return errors.New("iat of the ID token is missing")
	case now.Before(seconds(c.IssuedAt, -leeway)):
		return errors.New("iat of the ID token is yet to come")
	case c.AtHash != "" && c.AtHash != atHash(alg, accessToken):
		return errors.New("at_hash of the ID token is not the access token's")
	}
	return nil
}

// atHash is the left half of the hash that goes with alg (OpenID Connect Core
// §3.1.3.6).
func atHash(alg, accessToken string) string {
	var sum []byte
	switch {
	case strings.HasSuffix(alg, "256"):
		h := sha256.Sum256([]byte(accessToken))
		sum = h[:]
	case strings.HasSuffix(alg, "384"):
		h := sha512.Sum384([]byte(accessToken))
		sum = h[:]
	default: // EdDSA's too
		h := sha512.Sum512([]byte(accessToken))
		sum = h[:]
	}
	return base64.RawURLEncoding.EncodeToString(sum[:len(sum)/2])
}

// fits reports whether the ID token was made for the attempt.
func (c *claims) fits(t *Attempt) error {
	if t.Nonce != "" && subtle.ConstantTimeCompare([]byte(c.Nonce), []byte(t.Nonce)) != 1 {
		return fmt.Errorf("nonce of the ID token: %w", ErrNonceMismatch)
	}
	if t.MaxAge > 0 {
		oldest := float64(time.Now().Add(-t.MaxAge-leeway).UnixNano()) / 1e9
		if c.AuthTime == nil || *c.AuthTime < oldest {
			return errors.New("auth_time of the ID token is missing or longer ago than MaxAge")
		}
	}
	return nil
}

// continues reports whether a refreshed ID token is of the same sign-in as the
// one before (OpenID Connect Core §12.2).
func (c *claims) continues(before *claims) error {
	var field string
	switch {
	case c.Issuer != before.Issuer:
		return fmt.Errorf("iss of the refreshed ID token: %w", ErrIssuerMismatch)
	case c.Subject != before.Subject:
		field = "sub"
	case !slices.Equal(c.Audience, before.Audience):
		field = "aud"
	case c.Nonce != "" && c.Nonce != before.Nonce:
		return fmt.Errorf("nonce of the refreshed ID token: %w", ErrNonceMismatch)
	default:
		return nil
	}
	return fmt.Errorf("%s of the refreshed ID token has changed", field)
}

// subject gives the sub of the ID token, "" where there is none. It serves for
// refusing alone, so the token need not have been checked.
func (t *Token) subject() (string, error) {
	if t.IDToken == "" {
		return "", nil
	}
	_, _, c, err := parseIDToken(t.IDToken)
	if err == nil && c.Subject == "" {
		err = errors.New("sub of the ID token is missing")
	}
	if err != nil {
		return "", err
	}
	return c.Subject, nil
}

// Verify checks the ID token of a token that was read from storage, as
// [Authenticator.Complete] does but for the attempt's nonce and age, and gives
// a copy of the token whose [Token.Claims] work. It fails with [ErrNotVerified]
// where there is no ID token.
func (a *Authenticator) Verify(ctx context.Context, token *Token) (*Token, error) {
	const op = "verify"
	if token == nil || token.IDToken == "" {
		return nil, &Error{Op: op, Err: ErrNotVerified}
	}
	checked := *token
	if err := a.checkIDToken(ctx, op, &checked, func(*claims) error { return nil }); err != nil {
		return nil, err
	}
	return &checked, nil
}

// issuer is what is known of Config.Issuer. Both are asked for when first
// needed, and only what succeeded is kept.
type issuer struct {
	metadata atomic.Pointer[metadata]
	keys     atomic.Pointer[[]jose.JSONWebKey]
	algs     []jose.SignatureAlgorithm
}

// metadata of an issuer (OpenID Connect Discovery §3, RFC 9207 §3).
type metadata struct {
	Issuer        string `json:"issuer"`
	KeysURL       string `json:"jwks_uri"`
	IssInCallback bool   `json:"authorization_response_iss_parameter_supported"`
}

// initIssuer checks what the configuration says of ID tokens.
func (a *Authenticator) initIssuer() error {
	for _, alg := range a.config.IDTokenAlgorithms {
		switch alg := jose.SignatureAlgorithm(alg); alg {
		case jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512, jose.ES256, jose.ES384, jose.ES512, jose.EdDSA:
			a.issuer.algs = append(a.issuer.algs, alg)
		default:
			return &Error{Op: "new", Err: fmt.Errorf("IDTokenAlgorithms has %q, which is no signature with a public key", alg)}
		}
	}
	if a.config.Issuer == "" {
		return nil
	}
	u, err := parseURL(a.config.Issuer)
	if err == nil {
		err = checkSecure(u)
	}
	if err == nil && len(a.issuer.algs) == 0 {
		return &Error{Op: "new", Err: fmt.Errorf("IDTokenAlgorithms %w", errEmpty)}
	}
	if err != nil {
		return &Error{Op: "new", Err: fmt.Errorf("Issuer %w", err)}
	}
	return nil
}

// metadata reads the issuer's metadata, once. An issuer that has none has its
// keys where Auth0 has them.
func (a *Authenticator) metadata(ctx context.Context) (*metadata, *Error) {
	const op = "discovery"
	if m := a.issuer.metadata.Load(); m != nil {
		return m, nil
	}
	at := strings.TrimSuffix(a.config.Issuer, "/") + "/.well-known/"
	m := new(metadata)
	switch ans, err := a.get(ctx, op, at+"openid-configuration"); {
	case err != nil:
		return nil, err
	case ans.status == http.StatusNotFound:
	case ans.status != http.StatusOK:
		return nil, ans.refusal(op)
	default:
		if err := decode(ans.body, m); err != nil {
			return nil, &Error{Op: op, StatusCode: ans.status, Err: err}
		}
		if m.Issuer != a.config.Issuer {
			return nil, &Error{Op: op, StatusCode: ans.status, Err: ErrIssuerMismatch}
		}
	}
	fill(&m.KeysURL, at+"jwks.json")
	u, err := url.Parse(m.KeysURL)
	if err != nil || checkSecure(u) != nil {
		return nil, &Error{Op: op, Err: errors.New("jwks_uri is not an https URL")}
	}
	a.issuer.metadata.Store(m)
	return m, nil
}

// loadKeys sees to it that the keys are there before something is spent that a
// failure to get them would lose.
func (a *Authenticator) loadKeys(ctx context.Context) error {
	if a.config.Issuer == "" || a.issuer.keys.Load() != nil {
		return nil
	}
	if err := a.fetchKeys(ctx); err != nil {
		return err
	}
	return nil
}

func (a *Authenticator) fetchKeys(ctx context.Context) *Error {
	const op = "jwks"
	m, e := a.metadata(ctx)
	if e != nil {
		return e
	}
	ans, e := a.get(ctx, op, m.KeysURL)
	switch {
	case e != nil:
		return e
	case ans.status != http.StatusOK:
		return ans.refusal(op)
	}
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := decode(ans.body, &set); err != nil {
		return &Error{Op: op, StatusCode: ans.status, Err: err}
	}
	keys := []jose.JSONWebKey{}
	for _, raw := range set.Keys {
		var k jose.JSONWebKey
		// Keys of a kind that is not known here are for others.
		if k.UnmarshalJSON(raw) == nil && k.Valid() && k.IsPublic() && (k.Use == "" || k.Use == "sig") {
			keys = append(keys, k)
		}
	}
	if len(keys) == 0 {
		return &Error{Op: op, StatusCode: ans.status, Err: errors.New("the answer has no key to verify with")}
	}
	a.issuer.keys.Store(&keys)
	return nil
}

// verifySignature gives the payload of an ID token that one of the issuer's
// keys signed. Keys rotate, so it asks for them once more before it gives up.
func (a *Authenticator) verifySignature(ctx context.Context, op, raw string) ([]byte, error) {
	jws, err := jose.ParseSignedCompact(raw, a.issuer.algs)
	if err != nil {
		return nil, &Error{Op: op, Err: errors.New("the ID token is not signed with an algorithm that is allowed")}
	}
	known := a.issuer.keys.Load()
	if known != nil {
		if payload, err := verifyWith(*known, jws); err == nil {
			return payload, nil
		}
	}
	if err := a.fetchKeys(ctx); err != nil {
		return nil, err
	}
	payload, err := verifyWith(*a.issuer.keys.Load(), jws)
	if err != nil {
		return nil, &Error{Op: op, Err: err}
	}
	return payload, nil
}

// verifyWith takes the key that the token names; one that names none has to
// leave no choice.
func verifyWith(keys []jose.JSONWebKey, jws *jose.JSONWebSignature) ([]byte, error) {
	header := jws.Signatures[0].Header
	var fit []jose.JSONWebKey
	for _, k := range keys {
		if (header.KeyID == "" || k.KeyID == header.KeyID) && (k.Algorithm == "" || k.Algorithm == header.Algorithm) {
			fit = append(fit, k)
		}
	}
	switch {
	case len(fit) == 0:
		return nil, errors.New("the ID token is signed with a key that its issuer doesn't have")
	case header.KeyID == "" && len(fit) > 1:
		return nil, errors.New("the ID token doesn't say which of its issuer's keys it is signed with")
	}
	for _, k := range fit {
		if payload, err := jws.Verify(k); err == nil {
			return payload, nil
		}
	}
	return nil, errors.New("the signature of the ID token is not its issuer's")
}

// get asks the issuer.
func (a *Authenticator) get(ctx context.Context, op, from string) (answer, *Error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		return answer{}, &Error{Op: op, Err: errors.New("the URL is malformed")}
	}
	req.Header.Set("Accept", jsonType)
	ans, err := a.do(ctx, op, req, req.Header, "")
	if err != nil {
		var e *Error
		errors.As(err, &e)
		return answer{}, e
	}
	return ans, nil
}
