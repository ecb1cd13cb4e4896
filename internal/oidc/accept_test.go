package oidc

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// TestCheckRefreshed tells what is wrong for good from what may pass.
func TestCheckRefreshed(t *testing.T) {
	k := makeKeys()
	for _, tt := range []struct {
		name    string
		times   map[string]time.Duration // how long ago
		claims  map[string]any
		signer  keyPair
		keys    func(context.Context, string) (Response, error)
		settled bool
		kind    Kind // Malformed: nothing is wrong
	}{
		{name: "right", signer: k.first, settled: true},
		{name: "a clock an hour late", times: map[string]time.Duration{"iat": -time.Hour}, signer: k.first, kind: Clock},
		{name: "expired an hour ago", times: map[string]time.Duration{"exp": time.Hour}, signer: k.first, kind: Clock},
		{name: "expired two days ago", times: map[string]time.Duration{"exp": 48 * time.Hour}, signer: k.first, settled: true, kind: Clock},
		{name: "expired, and of another person", claims: map[string]any{"exp": 1, "sub": "auth0|2"}, signer: k.first, settled: true, kind: Subject},
		{name: "no keys", signer: k.first, keys: func(context.Context, string) (Response, error) { return status(500) }, kind: Keys},
		{name: "keys that hang", signer: k.first, kind: Keys, keys: func(ctx context.Context, _ string) (Response, error) {
			<-ctx.Done()
			return Response{}, ctx.Err()
		}},
		{name: "no keys, and of another person", claims: map[string]any{"sub": "auth0|2"}, signer: k.first, keys: func(context.Context, string) (Response, error) { return status(500) }, settled: true, kind: Subject},
		{name: "another's key", signer: k.second.named("first"), settled: true, kind: Signature},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				changes := map[string]any{}
				for name, ago := range tt.times {
					changes[name] = time.Now().Add(-ago).Unix()
				}
				raw := tt.signer.sign(t, claims(tt.claims, changes))
				i := newIssuer(t, k.first)
				if tt.keys != nil {
					i.keys = tt.keys
				}
				begun := time.Now()
				settled, err := CheckRefreshed(t.Context(), raw, Expected{
					Issuer: theIssuer, ClientID: theClient, Leeway: time.Minute, Previous: &Claims{Issuer: theIssuer, Subject: "auth0|1", Audience: Strings{theClient}, Nonce: "n0nce"},
				}, i.provider())
				require.LessOrEqual(t, time.Since(begun), keyPatience)
				require.Equal(t, tt.settled, settled)
				if tt.kind == Malformed {
					require.NoError(t, err)
					return
				}
				requireKind(t, err, tt.kind)
			})
		})
	}
	settled, err := CheckRefreshed(t.Context(), "x.y", Expected{}, nil)
	require.True(t, settled)
	requireKind(t, err, Malformed)
}

func TestCheckNamesNoSecret(t *testing.T) {
	raw := makeKeys().first.sign(t, claims(map[string]any{"iss": "https://s3cr3t-of-a-token.example/"}))
	_, err := Check(t.Context(), raw, Expected{Issuer: theIssuer, ClientID: theClient, Secrets: []string{"s3cr3t-of-a-token"}}, nil)
	requireKind(t, err, Issuer, "[redacted]")
	require.NotContains(t, err.Error(), "s3cr3t")

	issuer, subject := Person(raw)
	require.Equal(t, []string{"https://s3cr3t-of-a-token.example/", "auth0|1"}, []string{issuer, subject})
	issuer, subject = Person("x.y.z")
	require.Empty(t, issuer+subject)
}
