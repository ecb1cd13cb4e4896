package piecesauthtest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// IDToken is an ID token that is not signed yet.
type IDToken struct {
	// Header has alg, kid and typ, and decides how the token is signed. RS256
	// and ES256 use the server's key if it is of that kind, and an unknown key
	// if not; HS256 uses the server's public key as a secret; none leaves the
	// signature empty.
	Header map[string]any
	Claims map[string]any
	// BadSignature makes the signature belong to something else.
	BadSignature bool
}

// key is a signing key, made when it is first needed.
type key struct {
	id, alg string
	signer  func() (crypto.Signer, error)
	since   time.Time // by the server's clock; zero: always there
}

// firstKey is the key that each server of the process starts with, because
// making one takes longer than most tests do.
var firstKey = sync.OnceValue(func() *key { return newKey("RS256", time.Time{}) })

func newKey(alg string, since time.Time) *key {
	return &key{rand.Text(), alg, sync.OnceValues(func() (crypto.Signer, error) {
		switch alg {
		case "RS256":
			return rsa.GenerateKey(rand.Reader, 2048)
		case "ES256":
			return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		}
		return nil, fmt.Errorf("piecesauthtest: no keys for alg %q", alg)
	}), since}
}

// RotateKey makes a new signing key for alg, "RS256" or "ES256". It comes first
// in the key set, and the old ones after it.
func (s *Server) RotateKey(alg string) {
	now := s.settings().now()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys = append([]*key{newKey(alg, now)}, s.keys...)
}

// WithdrawKeys removes all keys except the newest from the key set.
func (s *Server) WithdrawKeys() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys = s.keys[:1:1]
}

// signingKeys returns the keys, the newest first.
func (s *Server) signingKeys() []*key {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.keys
}

func (s *Server) idToken(o *Options, f *family, person Person, nonce, accessToken string) (string, error) {
	k := s.signingKeys()[0]
	now := o.now()
	// The left half of the hash (OpenID Connect Core §3.1.3.6).
	hash := sha256.Sum256([]byte(accessToken))
	t := &IDToken{
		Header: map[string]any{"alg": k.alg, "kid": k.id, "typ": "JWT"},
		Claims: map[string]any{
			"iss":       s.Issuer,
			"aud":       s.ClientID,
			"iat":       now.Unix(),
			"exp":       now.Add(o.IDTokenLifetime).Unix(),
			"auth_time": f.SignedIn.Unix(),
			"at_hash":   base64.RawURLEncoding.EncodeToString(hash[:len(hash)/2]),
		},
	}
	for name, claim := range covered(person.claims(), f.Scopes) {
		switch {
		case name == "sub", name == "name", name == "nickname", name == "picture", name == "updated_at",
			name == "email", name == "email_verified", strings.Contains(name, "://"):
			t.Claims[name] = claim
		}
	}
	if nonce != "" {
		t.Claims["nonce"] = nonce
	}
	override(t.Claims, o.IDTokenClaims)
	if edit := pop(s, &s.bendIDToken); edit != nil {
		edit(t)
	}
	return t.sign(k)
}

// sign returns the compact serialization, signed with k or a substitute.
func (t *IDToken) sign(k *key) (string, error) {
	claims, err := json.Marshal(t.Claims)
	if err != nil {
		return "", err
	}
	alg, _ := t.Header["alg"].(string)
	signer, err := t.signer(alg, k)
	if err != nil {
		return "", err
	}
	signed, err := serialize(signer, claims)
	if err != nil {
		return "", err
	}
	input := signed[:strings.LastIndex(signed, ".")+1]
	switch {
	case alg == "none":
		return input, nil
	case !t.BadSignature:
		return signed, nil
	}
	other, err := serialize(signer, append(claims, ' '))
	return input + other[strings.LastIndex(other, ".")+1:], err
}

func serialize(signer jose.Signer, payload []byte) (string, error) {
	jws, err := signer.Sign(payload)
	if err != nil {
		return "", err
	}
	return jws.CompactSerialize()
}

// signer returns a signer that writes the header unchanged, true or not.
func (t *IDToken) signer(alg string, k *key) (jose.Signer, error) {
	used := alg
	if alg == "none" {
		used = k.alg // its signature is thrown away
	}
	if used != "HS256" && used != k.alg {
		k = newKey(used, time.Time{}) // nobody knows it
	}
	private, err := k.signer()
	if err != nil {
		return nil, err
	}
	signing := jose.SigningKey{Algorithm: jose.SignatureAlgorithm(used), Key: private}
	if used == "HS256" {
		if signing.Key, err = x509.MarshalPKIXPublicKey(private.Public()); err != nil {
			return nil, err
		}
	}
	options := &jose.SignerOptions{}
	for name, value := range t.Header {
		options.WithHeader(jose.HeaderKey(name), value)
	}
	return jose.NewSigner(signing, options)
}

// GetJwks answers with the key set (RFC 7517 §5).
func (h *handler) GetJwks(w http.ResponseWriter, _ *http.Request) {
	o := h.settings()
	if o.KeysStatus != http.StatusOK {
		http.Error(w, "piecesauthtest: Options.KeysStatus", o.KeysStatus)
		return
	}
	now := o.now()
	set := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{}}
	for _, k := range h.signingKeys() {
		if now.Sub(k.since) < o.KeyLag {
			continue
		}
		signer, err := k.signer()
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: signer.Public(), KeyID: k.id, Algorithm: k.alg, Use: "sig"})
	}
	o.letCache(w)
	writeJSON(w, http.StatusOK, set)
}

// letCache sets how long keys and metadata may be cached.
func (o *Options) letCache(w http.ResponseWriter) {
	if o.KeysMaxAge > 0 {
		w.Header().Set("Cache-Control", "max-age="+strconv.Itoa(int(o.KeysMaxAge/time.Second)))
	}
}

// GetOpenidConfiguration answers with the metadata (OpenID Connect Discovery §3).
func (h *handler) GetOpenidConfiguration(w http.ResponseWriter, _ *http.Request) {
	o := h.settings()
	metadata := map[string]any{
		"issuer":                                h.Issuer,
		"authorization_endpoint":                h.URL + "/authorize",
		"token_endpoint":                        h.URL + "/oauth/token",
		"userinfo_endpoint":                     h.URL + "/userinfo",
		"jwks_uri":                              h.URL + "/.well-known/jwks.json",
		"response_types_supported":              []string{"code"},
		"response_modes_supported":              responseModes,
		"grant_types_supported":                 []string{"authorization_code", "refresh_token"},
		"subject_types_supported":               []string{"public"},
		"id_token_signing_alg_values_supported": []string{h.signingKeys()[0].alg},
		"token_endpoint_auth_methods_supported": []string{"none"},
		"code_challenge_methods_supported":      []string{"S256"},
		"scopes_supported":                      []string{"openid", "profile", "email", "offline_access"},

		"authorization_response_iss_parameter_supported": true,
	}
	override(metadata, o.Metadata)
	o.letCache(w)
	writeJSON(w, http.StatusOK, metadata)
}
