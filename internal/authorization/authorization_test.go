package authorization_test

import (
	"encoding/base64"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/piecesauth/piecesauth/internal/authorization"
)

func TestRequest(t *testing.T) {
	u, err := url.Parse("https://auth.example/authorize?client_id=c&code_challenge=~&scope=a+b")
	require.NoError(t, err)
	for _, nonce := range []bool{true, false} {
		r := authorization.NewRequest(u, url.Values{"x": {"1 2"}}, nonce)
		seen := map[string]bool{}
		for i := range byte(3) {
			fresh := r.Fill(&[authorization.Entropy]byte{i, 32: i, 64: i})
			got, err := url.Parse(fresh.URL)
			require.NoError(t, err)
			challenge := got.Query().Get("code_challenge")
			require.Len(t, challenge, 43)
			want := url.Values{"client_id": {"c"}, "scope": {"a b"}, "x": {"1 2"}, "code_challenge": {challenge}, "state": {fresh.State}}
			if nonce {
				want.Set("nonce", fresh.Nonce)
			}
			require.Equal(t, want, got.Query())
			require.Equal(t, nonce, fresh.Nonce != "")
			require.Len(t, fresh.Verifier, 43)
			require.Len(t, fresh.State, 43)
			require.False(t, seen[fresh.State] || seen[fresh.Verifier] || seen[challenge])
			seen[fresh.State], seen[fresh.Verifier], seen[challenge] = true, true, true
		}
	}
}

func TestRequestWithoutMore(t *testing.T) {
	u, err := url.Parse("https://auth.example/authorize?code_challenge=~")
	require.NoError(t, err)
	got := authorization.NewRequest(u, nil, true).Fill(&[authorization.Entropy]byte{0: 1, 32: 2, 64: 3})
	require.Equal(t, "https://auth.example/authorize?code_challenge=HihhtVOdty4Wfa3hgrDSXgu-wQWnJMViMETp9GUprwk&state="+got.State+"&nonce="+got.Nonce, got.URL)
	for want, value := range map[byte]string{1: got.Verifier, 2: got.State, 3: got.Nonce} {
		random, err := base64.RawURLEncoding.DecodeString(value)
		require.NoError(t, err)
		require.Equal(t, append([]byte{want}, make([]byte, 31)...), random)
	}
}

func TestExtra(t *testing.T) {
	sent := url.Values{"client_id": {"c"}}
	got, err := authorization.Extra(url.Values{"organization": {"o"}, "empty": {""}, "none": nil, "resource": {"a", "b"}, "max_age": {"0"}}, sent, "state", "prompt")
	require.NoError(t, err)
	require.Equal(t, url.Values{"organization": {"o"}, "resource": {"a", "b"}, "max_age": {"0"}}, got)
	for name, values := range map[string][]string{
		"client_id": {"x"}, "": {"x"}, "state": nil, "prompt": {"none"}, "x": {"a", "b"}, "max_age": {"soon"},
	} {
		_, err := authorization.Extra(url.Values{name: values}, sent, "state", "prompt")
		require.ErrorContains(t, err, "Extra has \""+name+"\"")
	}
}
