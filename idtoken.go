package piecesauth

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const leeway = 30 * time.Second // between this machine's clock and the issuer's

// claims of an ID token that have a meaning here (OpenID Connect Core §2).
type claims struct {
	Issuer   string
	Subject  string
	Audience audience
	Party    string
	Expiry   *float64
	IssuedAt *float64
	AuthTime *float64
	Nonce    string
	AtHash   string
}

// audience is one string on the wire, or several.
type audience []string

func (a *audience) UnmarshalJSON(b []byte) error {
	if b[0] == '"' {
		*a = audience{""}
		return json.Unmarshal(b, &(*a)[0])
	}
	return json.Unmarshal(b, (*[]string)(a))
}

// exactly decodes the members of a JSON object by their very names, each given
// once: encoding/json alone would take "SUB" for "sub", and the last of several.
func exactly(object []byte, members map[string]any) error {
	if !json.Valid(object) {
		return errors.New("not JSON")
	}
	d := json.NewDecoder(bytes.NewReader(object))
	if start, _ := d.Token(); start != json.Delim('{') {
		return errors.New("not an object")
	}
	for seen := map[string]bool{}; d.More(); {
		token, _ := d.Token()
		name, _ := token.(string)
		v, known := members[name]
		if !known {
			v = new(json.RawMessage)
		}
		if err := d.Decode(v); err != nil {
			return err
		}
		if seen[name] {
			return errors.New("a member twice")
		}
		seen[name] = true
	}
	return nil
}

// idToken is a compact JWS (RFC 7515 §7.1) in its parts. Its signature has not
// been checked.
type idToken struct {
	alg, kid  string
	signed    string // what the signature is of
	signature []byte
	payload   []byte
	claims    claims
}

func parseIDToken(raw string) (*idToken, error) {
	parts := strings.Split(raw, ".")
	if len(parts) != 3 {
		return nil, errors.New("the ID token is not a signed JWT")
	}
	t := &idToken{signed: raw[:len(parts[0])+1+len(parts[1])]}
	var (
		head []byte
		err  error
		crit json.RawMessage // extensions that have to be understood (RFC 7515 §4.1.11)
		c    = &t.claims
	)
	for i, part := range []*[]byte{&head, &t.payload, &t.signature} {
		if err == nil {
			*part, err = base64.RawURLEncoding.Strict().DecodeString(parts[i])
		}
	}
	if err == nil {
		err = exactly(head, map[string]any{"alg": &t.alg, "kid": &t.kid, "crit": &crit})
	}
	if err == nil {
		err = exactly(t.payload, map[string]any{
			"iss": &c.Issuer, "sub": &c.Subject, "aud": &c.Audience, "azp": &c.Party, "exp": &c.Expiry, "iat": &c.IssuedAt,
			"auth_time": &c.AuthTime, "nonce": &c.Nonce, "at_hash": &c.AtHash,
		})
	}
	if err != nil || crit != nil {
		return nil, errors.New("the ID token is malformed")
	}
	return t, nil
}

// checkIDToken checks the token's ID token, then what fits says of its claims,
// and gives the token its claims.
func (a *Authenticator) checkIDToken(ctx context.Context, op string, t *Token, fits func(*claims) error) error {
	id, err := parseIDToken(t.IDToken)
	if err == nil && a.config.Issuer != "" {
		err = a.verifySignature(ctx, id)
	}
	if err == nil {
		err = a.checkClaims(id.alg, &id.claims, t.AccessToken)
	}
	if err == nil {
		err = fits(&id.claims)
	}
	var e *Error
	switch {
	case errors.As(err, &e): // of asking for the keys
		return err
	case err != nil:
		return &Error{Op: op, Err: err}
	}
	t.claims = id.payload
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
	id, err := parseIDToken(t.IDToken)
	switch {
	case err != nil:
		return "", err
	case id.claims.Subject == "":
		return "", errors.New("sub of the ID token is missing")
	}
	return id.claims.Subject, nil
}

// Verify checks the ID token of a token that was read from storage, as
// [Authenticator.Complete] does but for the attempt's nonce and age, and gives
// a copy of the token whose [Token.Claims] work. It fails with [ErrNotVerified]
// where there is no ID token. One that a refresh carried over may no longer
// pass: it has expired, or its at_hash is of an earlier access token.
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
	keys     atomic.Pointer[[]key]
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
		if !strings.Contains(" RS256 RS384 RS512 PS256 PS384 PS512 ES256 ES384 ES512 EdDSA ", " "+alg+" ") {
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
	if err == nil && len(a.config.IDTokenAlgorithms) == 0 {
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
	var keys []key
	for _, raw := range set.Keys {
		if k, ok := parseKey(raw); ok { // those of a kind that is not known here are for others
			keys = append(keys, k)
		}
	}
	if len(keys) == 0 {
		return &Error{Op: op, StatusCode: ans.status, Err: errors.New("the answer has no key to verify with")}
	}
	a.issuer.keys.Store(&keys)
	return nil
}

// verifySignature checks that one of the issuer's keys signed the ID token.
// Keys rotate, so it asks for them once more before it gives up.
func (a *Authenticator) verifySignature(ctx context.Context, id *idToken) error {
	if !slices.Contains(a.config.IDTokenAlgorithms, id.alg) {
		return errors.New("the ID token is not signed with an algorithm that is allowed")
	}
	if known := a.issuer.keys.Load(); known != nil && id.verify(*known) == nil {
		return nil
	}
	if err := a.fetchKeys(ctx); err != nil {
		return err
	}
	return id.verify(*a.issuer.keys.Load())
}

// verify takes the key that the ID token names; one that names none has to
// leave no choice.
func (t *idToken) verify(keys []key) error {
	var fit []key
	for _, k := range keys {
		if (t.kid == "" || k.id == t.kid) && k.fits(t.alg) {
			fit = append(fit, k)
		}
	}
	switch {
	case len(fit) == 0:
		return errors.New("the ID token is signed with a key that its issuer doesn't have")
	case t.kid == "" && len(fit) > 1:
		return errors.New("the ID token doesn't say which of its issuer's keys it is signed with")
	}
	for _, k := range fit {
		if jwt.GetSigningMethod(t.alg).Verify(t.signed, t.signature, k.public) == nil {
			return nil
		}
	}
	return errors.New("the signature of the ID token is not its issuer's")
}

// key is one of an issuer's, for signatures.
type key struct {
	id, alg string // "" where the issuer doesn't say
	public  any
}

// fits reports whether the key is of the kind that alg takes (RFC 7518 §3.1,
// RFC 8037 §3.1).
func (k *key) fits(alg string) bool {
	if k.alg != "" && k.alg != alg {
		return false
	}
	switch public := k.public.(type) {
	case *rsa.PublicKey:
		return alg[:2] == "RS" || alg[:2] == "PS"
	case *ecdsa.PublicKey:
		return alg == map[int]string{256: "ES256", 384: "ES384", 521: "ES512"}[public.Params().BitSize]
	}
	return alg == "EdDSA"
}

// parseKey reads a public key of a set (RFC 7517 §4, RFC 7518 §6, RFC 8037 §2).
func parseKey(raw []byte) (k key, ok bool) {
	var j struct {
		Kty, Use, Kid, Alg, Crv string
		N, E, X, Y              base64url
		D                       any // of a private key, which is nobody's any more
	}
	if err := json.Unmarshal(raw, &j); err != nil || j.Use != "" && j.Use != "sig" || j.D != nil {
		return k, false
	}
	k.id, k.alg = j.Kid, j.Alg
	switch j.Kty {
	case "RSA":
		n, e := new(big.Int).SetBytes(j.N), new(big.Int).SetBytes(j.E)
		if n.BitLen() < 2048 || e.BitLen() < 2 || e.BitLen() > 31 {
			return k, false
		}
		k.public = &rsa.PublicKey{N: n, E: int(e.Int64())}
	case "EC":
		curve, known := map[string]elliptic.Curve{"P-256": elliptic.P256(), "P-384": elliptic.P384(), "P-521": elliptic.P521()}[j.Crv]
		if !known || len(j.X) != len(j.Y) {
			return k, false
		}
		public, err := ecdsa.ParseUncompressedPublicKey(curve, slices.Concat([]byte{4}, j.X, j.Y)) // which is on the curve
		if err != nil {
			return k, false
		}
		k.public = public
	case "OKP":
		if j.Crv != "Ed25519" || len(j.X) != ed25519.PublicKeySize {
			return k, false
		}
		k.public = ed25519.PublicKey(j.X)
	}
	return k, k.public != nil
}

// base64url is bytes in unpadded base64url.
type base64url []byte

func (b *base64url) UnmarshalText(text []byte) (err error) {
	*b, err = base64.RawURLEncoding.DecodeString(string(text))
	return err
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
