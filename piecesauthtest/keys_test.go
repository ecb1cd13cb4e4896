package piecesauthtest_test

import (
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/piecesauth/piecesauth/piecesauthtest"
)

func TestBendIDToken(t *testing.T) {
	server := newServer(t, piecesauthtest.Options{})
	bent := func(bend func(*piecesauthtest.IDToken)) string {
		server.BendIDToken(bend)
		token, err := server.NewToken()
		require.NoError(t, err)
		return token.IDToken
	}
	header := func(idToken string) string {
		first, _, _ := strings.Cut(idToken, ".")
		decoded, err := base64.RawURLEncoding.DecodeString(first)
		require.NoError(t, err)
		return string(decoded)
	}

	claims, err := verify(t, server, bent(func(t *piecesauthtest.IDToken) {
		t.Claims["iss"] = "https://other/"
		t.Claims["aud"] = []string{"piecesauthtest", "other"}
		delete(t.Claims, "sub")
	}))
	require.NoError(t, err, "bent, and signed all the same")
	assert.Equal(t, "https://other/", claims["iss"])
	assert.Equal(t, []any{"piecesauthtest", "other"}, claims["aud"])
	assert.NotContains(t, claims, "sub")

	none := bent(func(t *piecesauthtest.IDToken) { t.Header["alg"] = "none" })
	assert.True(t, strings.HasSuffix(none, "."))
	assert.Contains(t, header(none), `"alg":"none"`)

	_, err = verify(t, server, bent(func(t *piecesauthtest.IDToken) { t.BadSignature = true }))
	require.Error(t, err)

	es256 := bent(func(t *piecesauthtest.IDToken) { t.Header["alg"] = "ES256" })
	assert.Contains(t, header(es256), `"alg":"ES256"`)
	_, err = verify(t, server, es256)
	require.Error(t, err)

	hs256 := bent(func(t *piecesauthtest.IDToken) { t.Header["alg"] = "HS256" })
	assert.Contains(t, header(hs256), `"alg":"HS256"`)

	assert.NotContains(t, header(bent(func(t *piecesauthtest.IDToken) { delete(t.Header, "kid") })), "kid")

	server.BendIDToken(func(t *piecesauthtest.IDToken) { t.Claims["iat"] = func() {} })
	_, err = server.NewToken()
	require.Error(t, err, "what has no JSON")
	server.BendIDToken(func(t *piecesauthtest.IDToken) { t.Header["alg"] = "XY1" })
	_, err = server.NewToken()
	require.ErrorContains(t, err, "XY1")

	_, err = verify(t, server, bent(func(*piecesauthtest.IDToken) {}))
	require.NoError(t, err, "straight again")
}

func TestRotateKey(t *testing.T) {
	server := newServer(t, piecesauthtest.Options{})
	before := tokens(t, server, nil)["id_token"]
	for i, alg := range []string{"RS256", "ES256"} {
		server.RotateKey(alg)
		keys := keySet(t, server).Keys
		require.Len(t, keys, i+2)
		assert.Equal(t, alg, keys[0].Algorithm)
		assert.NotEqual(t, keys[0].KeyID, keys[1].KeyID)
		after := tokens(t, server, nil)["id_token"]
		_, err := verify(t, server, after)
		require.NoError(t, err)
		server.BendJSON(piecesauthtest.JWKS, func(m map[string]any) { m["keys"] = m["keys"].([]any)[1:] })
		_, err = verify(t, server, after)
		require.Error(t, err, "made by the new key")
		_, err = verify(t, server, before)
		require.NoError(t, err, "old keys stay")
	}
	assert.Len(t, keySet(t, newServer(t, piecesauthtest.Options{})).Keys, 1, "other servers are not concerned")
}

func TestMetadata(t *testing.T) {
	server := newServer(t, piecesauthtest.Options{})
	metadata := get(t, server, server.URL+"/.well-known/openid-configuration").json(t)
	assert.Equal(t, server.Issuer, metadata["issuer"])
	assert.Equal(t, server.URL+"/oauth/token", metadata["token_endpoint"])
	assert.Equal(t, server.URL+"/.well-known/jwks.json", metadata["jwks_uri"])
	assert.Equal(t, true, metadata["authorization_response_iss_parameter_supported"])
	assert.Len(t, keySet(t, server).Keys, 1)
	for _, key := range keySet(t, server).Keys {
		assert.True(t, key.IsPublic())
	}
}

func TestKeysStatus(t *testing.T) {
	server := newServer(t, piecesauthtest.Options{KeysStatus: 503})
	there := server.URL + "/.well-known/jwks.json"
	for range 2 {
		a := get(t, server, there)
		assert.Equal(t, 503, a.StatusCode)
		assert.NotContains(t, a.body, "keys\"")
	}
	server.Change(func(o *piecesauthtest.Options) { o.KeysStatus = 0 })
	assert.Len(t, keySet(t, server).Keys, 1)
	assert.Equal(t, 3, server.Count(piecesauthtest.JWKS))
}

func TestKeyLag(t *testing.T) {
	now := time.Now()
	server := newServer(t, piecesauthtest.Options{KeyLag: time.Minute, Now: func() time.Time { return now }})
	assert.Len(t, keySet(t, server).Keys, 1, "the first key is there at once")
	server.RotateKey("ES256")
	idToken := tokens(t, server, nil)["id_token"]
	_, err := verify(t, server, idToken)
	require.Error(t, err, "signed by a key that is not published yet")
	now = now.Add(time.Minute)
	_, err = verify(t, server, idToken)
	require.NoError(t, err)

	server.RotateKey("RS256")
	assert.Len(t, keySet(t, server).Keys, 2)
	server.Change(func(o *piecesauthtest.Options) { o.KeyLag = 0 })
	assert.Len(t, keySet(t, server).Keys, 3)
}

func TestWithdrawKeys(t *testing.T) {
	server := newServer(t, piecesauthtest.Options{})
	before := tokens(t, server, nil)["id_token"]
	server.RotateKey("ES256")
	server.WithdrawKeys()
	require.Len(t, keySet(t, server).Keys, 1)
	_, err := verify(t, server, before)
	require.Error(t, err)
	_, err = verify(t, server, tokens(t, server, nil)["id_token"])
	require.NoError(t, err)
}

func TestKeysMaxAge(t *testing.T) {
	server := newServer(t, piecesauthtest.Options{})
	for _, want := range []string{"no-store", "max-age=3600"} {
		for _, path := range []string{"/.well-known/jwks.json", "/.well-known/openid-configuration"} {
			assert.Equal(t, want, get(t, server, server.URL+path).Header.Get("Cache-Control"), path)
		}
		server.Change(func(o *piecesauthtest.Options) { o.KeysMaxAge = time.Hour })
	}
}
