package piecesauthtest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// IDToken is an ID token that is not signed yet.
type IDToken struct {
	// Header has alg, kid and typ. What it says by then is what is done: RS256
	// and ES256 sign with the server's key if it is of the kind, and with one
	// that nobody knows if not; HS256 takes the server's public key for a
	// secret; none leaves the signature empty.
	Header map[string]any
	Claims map[string]any
	// BadSignature makes a signature, but of something else.
	BadSignature bool
}

// How long an ID token is good for; as long as Auth0's.
const idTokenLifetime = 10 * time.Hour

// key is a signing key, made when it is first needed.
type key struct {
	id, alg string
	signer  func() (crypto.Signer, error)
}

// firstKey is the key that each server of the process starts with, since
// making one takes longer than most tests do.
var firstKey = sync.OnceValue(func() *key { return newKey("RS256") })

func newKey(alg string) *key {
	return &key{rand.Text(), alg, sync.OnceValues(func() (crypto.Signer, error) {
		switch alg {
		case "RS256":
			return rsa.GenerateKey(rand.Reader, 2048)
		case "ES256":
			return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		}
		return nil, fmt.Errorf("piecesauthtest: no keys for alg %q", alg)
	})}
}

// RotateKey makes a new signing key for alg, "RS256" or "ES256". It stands first
// in the key set, and the old ones after it.
func (s *Server) RotateKey(alg string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys = append([]*key{newKey(alg)}, s.keys...)
}

func (s *Server) idToken(g *grant, nonce, accessToken string) (string, error) {
	s.mu.Lock()
	k := s.keys[0]
	s.mu.Unlock()
	now := s.options.Now()
	// The left half of the hash (OpenID Connect Core §3.1.3.6).
	hash := sha256.Sum256([]byte(accessToken))
	t := &IDToken{
		Header: map[string]any{"alg": k.alg, "kid": k.id, "typ": "JWT"},
		Claims: map[string]any{
			"iss":       s.Issuer,
			"aud":       s.ClientID,
			"iat":       now.Unix(),
			"exp":       now.Add(idTokenLifetime).Unix(),
			"auth_time": g.authTime.Unix(),
			"at_hash":   base64.RawURLEncoding.EncodeToString(hash[:len(hash)/2]),
		},
	}
	known := claims(g.user, g.scopes)
	for name, claim := range known {
		switch {
		case name == "sub", name == "name", name == "nickname", name == "picture", name == "updated_at",
			name == "email", name == "email_verified", strings.Contains(name, "://"):
			t.Claims[name] = claim
		}
	}
	if nonce != "" {
		t.Claims["nonce"] = nonce
	}
	if edit := pop(s, &s.bendIDToken); edit != nil {
		edit(t)
	}
	return t.sign(k)
}

func (t *IDToken) sign(k *key) (string, error) {
	header, err := json.Marshal(t.Header)
	if err != nil {
		return "", err
	}
	claims, err := json.Marshal(t.Claims)
	if err != nil {
		return "", err
	}
	input := base64.RawURLEncoding.EncodeToString(header) + "." + base64.RawURLEncoding.EncodeToString(claims)
	signed := []byte(input)
	if t.BadSignature {
		signed = append(signed, '!')
	}
	alg, _ := t.Header["alg"].(string)
	signature, err := k.sign(alg, signed)
	if err != nil {
		return "", err
	}
	return input + "." + base64.RawURLEncoding.EncodeToString(signature), nil
}

func (k *key) sign(alg string, input []byte) ([]byte, error) {
	if alg == "none" {
		return nil, nil
	}
	if alg != "HS256" && alg != k.alg {
		k = newKey(alg) // nobody knows it
	}
	signer, err := k.signer()
	if err != nil {
		return nil, err
	}
	hash := sha256.Sum256(input)
	switch private := signer.(type) {
	case *rsa.PrivateKey:
		if alg == "RS256" {
			return rsa.SignPKCS1v15(rand.Reader, private, crypto.SHA256, hash[:])
		}
	case *ecdsa.PrivateKey:
		if alg == "ES256" {
			r, s, err := ecdsa.Sign(rand.Reader, private, hash[:])
			if err != nil {
				return nil, err
			}
			signature := make([]byte, 64) // RFC 7518 §3.4
			r.FillBytes(signature[:32])
			s.FillBytes(signature[32:])
			return signature, nil
		}
	}
	secret, err := x509.MarshalPKIXPublicKey(signer.Public())
	if err != nil {
		return nil, err
	}
	mac := hmac.New(sha256.New, secret)
	mac.Write(input)
	return mac.Sum(nil), nil
}

// GetJwks gives the key set (RFC 7517 §5).
func (h *handler) GetJwks(w http.ResponseWriter, _ *http.Request) {
	h.mu.Lock()
	keys := h.keys
	h.mu.Unlock()
	set := jose.JSONWebKeySet{}
	for _, k := range keys {
		signer, err := k.signer()
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: signer.Public(), KeyID: k.id, Algorithm: k.alg, Use: "sig"})
	}
	writeJSON(w, http.StatusOK, set)
}

// GetOpenidConfiguration gives the metadata (OpenID Connect Discovery §3).
func (h *handler) GetOpenidConfiguration(w http.ResponseWriter, _ *http.Request) {
	h.mu.Lock()
	alg := h.keys[0].alg
	h.mu.Unlock()
	writeJSON(w, http.StatusOK, map[string]any{
		"issuer":                                h.Issuer,
		"authorization_endpoint":                h.URL + "/authorize",
		"token_endpoint":                        h.URL + "/oauth/token",
		"userinfo_endpoint":                     h.URL + "/userinfo",
		"jwks_uri":                              h.URL + "/.well-known/jwks.json",
		"response_types_supported":              []string{"code"},
		"response_modes_supported":              responseModes,
		"grant_types_supported":                 []string{"authorization_code", "refresh_token"},
		"subject_types_supported":               []string{"public"},
		"id_token_signing_alg_values_supported": []string{alg},
		"token_endpoint_auth_methods_supported": []string{"none"},
		"code_challenge_methods_supported":      []string{"S256"},
		"scopes_supported":                      []string{"openid", "profile", "email", "offline_access"},

		"authorization_response_iss_parameter_supported": true,
	})
}
