package oidc

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/piecesauth/piecesauth/internal/strictjson"
)

const (
	mostKeys  = 100 // of a set that are read
	mostTried = 4   // for one token
)

// keySet holds the keys that an issuer published when it was asked.
type keySet struct {
	keys       []jose.JSONWebKey
	algorithms []string // that are allowed
	request    int      // in the order of Provider.requests
	asked      time.Time
	age        time.Duration // at which they are fetched again
}

// fetchKeys fetches the keys from where the metadata says they are, and again
// if newer metadata names another place.
func (p *Provider) fetchKeys(ctx context.Context) (*keySet, error) {
	began := now()
	m, err := p.Metadata(ctx)
	if err != nil {
		return p.keep(nil, err)
	}
	set, err := p.fetchKeysFrom(ctx, m)
	p.mu.Lock()
	old := p.metadata == m && p.read.Before(began)
	p.mu.Unlock()
	if err != nil && old {
		newer, newErr := p.askingMetadata.do(ctx, always, p.fetchMetadata)
		if newErr == nil && newer.KeysURL != m.KeysURL {
			set, err = p.fetchKeysFrom(ctx, newer)
		}
	}
	return p.keep(set, err)
}

// keep stores the result of a request for the keys.
func (p *Provider) keep(set *keySet, err error) (*keySet, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failed, p.failure = now(), err
	if err == nil {
		p.keys, p.failed = set, time.Time{}
	}
	return set, err
}

func (p *Provider) fetchKeysFrom(ctx context.Context, m *Metadata) (*keySet, error) {
	const op = "jwks"
	p.mu.Lock()
	p.requests++
	request, asked := p.requests, now()
	p.mu.Unlock()
	ans, err := p.config.Fetch(ctx, op, m.KeysURL, "application/jwk-set+json, application/json")
	if err != nil {
		return nil, &Error{Kind: Keys, Op: op, StatusCode: ans.StatusCode, Err: err, passing: isPassing(ans.StatusCode)}
	}
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := strictjson.Unmarshal(ans.Body, &set); err != nil {
		return nil, &Error{Kind: Keys, Op: op, StatusCode: ans.StatusCode, Err: err}
	}
	var keys []jose.JSONWebKey
	for _, raw := range set.Keys[:min(len(set.Keys), mostKeys)] {
		if k, ok := parseKey(raw); ok { // one that can't be read may be for other uses
			keys = append(keys, k)
		}
	}
	if len(keys) == 0 {
		return nil, &Error{Kind: Keys, Op: op, StatusCode: ans.StatusCode, Err: errors.New("the answer has no key to verify with")}
	}
	return &keySet{keys, p.allowed(m), request, asked, maxAge(ans.Header)}, nil
}

// maxAge returns how long an answer may be kept (RFC 9111 §5.2.2).
func maxAge(h http.Header) time.Duration {
	for directive := range strings.SplitSeq(strings.ToLower(strings.Join(h.Values("Cache-Control"), ",")), ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(directive), "=")
		switch name {
		case "no-store", "no-cache":
			return leastAge
		case "max-age":
			seconds, err := strconv.ParseInt(strings.Trim(value, `"`), 10, 64)
			if err == nil || errors.Is(err, strconv.ErrRange) { // seconds is the nearest
				return max(leastAge, time.Duration(min(seconds, int64(mostAge/time.Second)))*time.Second)
			}
		}
	}
	return defaultAge
}

// parseKey reads a public key for signatures from a set (RFC 7517 §4). go-jose
// receives only what was read here.
func parseKey(raw []byte) (k jose.JSONWebKey, ok bool) {
	var public struct {
		Kty string `json:"kty"`
		Kid string `json:"kid,omitempty"`
		Alg string `json:"alg,omitempty"`
		Crv string `json:"crv,omitempty"`
		N   string `json:"n,omitempty"`
		E   string `json:"e,omitempty"`
		X   string `json:"x,omitempty"`
		Y   string `json:"y,omitempty"`
	}
	var meant struct {
		Use string          `json:"use"`
		Ops []string        `json:"key_ops"`
		D   json.RawMessage `json:"d"` // of a private key, which is then no secret any more
	}
	switch {
	case strictjson.Unmarshal(raw, &public) != nil || strictjson.Unmarshal(raw, &meant) != nil,
		meant.Use != "" && meant.Use != "sig", meant.Ops != nil && !slices.Contains(meant.Ops, "verify"), meant.D != nil,
		!canonical(public.N) || !canonical(public.E) || !canonical(public.X) || !canonical(public.Y):
		return k, false
	}
	text, err := json.Marshal(public)
	if err != nil || k.UnmarshalJSON(text) != nil {
		return k, false
	}
	switch key := k.Key.(type) {
	case *rsa.PublicKey: // go-jose itself takes no more than 4,096 bits
		return k, key.N.BitLen() >= 2048 && key.N.BitLen() <= 8192 && key.E >= 3 && key.E <= math.MaxInt32 && key.E%2 == 1
	case *ecdsa.PublicKey, ed25519.PublicKey:
		return k, k.Valid()
	}
	return k, false
}

// isPublicKeyAlgorithm reports whether alg is a public-key signature that can
// be verified here (RFC 7518 §3.1, RFC 8037 §3.1).
func isPublicKeyAlgorithm(alg string) bool {
	return slices.Contains([]string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}, alg)
}

// fits reports whether alg uses keys of this kind.
func fits(k *jose.JSONWebKey, alg string) bool {
	if !isPublicKeyAlgorithm(alg) || k.Algorithm != "" && k.Algorithm != alg {
		return false
	}
	switch key := k.Key.(type) {
	case *rsa.PublicKey:
		return alg[:2] == "RS" || alg[:2] == "PS"
	case *ecdsa.PublicKey:
		return alg == map[string]string{"P-256": "ES256", "P-384": "ES384", "P-521": "ES512"}[key.Params().Name]
	}
	return alg == "EdDSA"
}

// verify uses the key that the token names. If the token names none, there must
// be only one key to choose from.
func (s *keySet) verify(ctx context.Context, t *Token) error {
	if !slices.Contains(s.algorithms, t.Algorithm) {
		return notAllowed(t.Algorithm, s.algorithms)
	}
	var fitting []*jose.JSONWebKey
	for i := range s.keys {
		if k := &s.keys[i]; (t.KeyID == "" || k.KeyID == t.KeyID) && fits(k, t.Algorithm) {
			fitting = append(fitting, k)
		}
	}
	switch {
	case len(fitting) == 0:
		return failed(Signature, "the ID token is signed with a key that its issuer doesn't have")
	case t.KeyID == "" && len(fitting) > 1:
		return failed(Signature, "the ID token doesn't say which of its issuer's keys it is signed with")
	}
	for _, k := range fitting[:min(len(fitting), mostTried)] {
		if ctx.Err() != nil {
			return &Error{Kind: Keys, Err: ctx.Err()}
		}
		if _, err := t.jws.Verify(k.Key); err == nil {
			return nil
		}
	}
	return failed(Signature, "the signature of the ID token is not its issuer's")
}

func notAllowed(alg string, allowed []string) error {
	return failed(Algorithm, "the ID token is signed with the algorithm %s, and allowed is only %s", quoted(alg), quoted(allowed...))
}
