package tokenfile_test

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/piecesauth/piecesauth"
	"github.com/piecesauth/piecesauth/tokenfile"
)

// FuzzTokenFile: whatever the file holds, Load gives a token or an error, and
// leaves it as it is; a token is what a plain reading of the file gives, and the
// same when it was read, written and read again.
func FuzzTokenFile(f *testing.F) {
	f.Add([]byte(`{"version":1,"token":{"access_token":"a","token_type":"Bearer","refresh_token":"r","id_token":"i","scope":"openid profile","expiry":"2030-01-02T03:04:05.000000006+02:00"}}` + "\n"))
	f.Add([]byte(`{"version":1,"token":{"refresh_token":"\u0000\u2028<&>\ud800"}}`))
	f.Add([]byte(`{"version":1,"token":{"access_token":"a","scope":""}}`))
	f.Add([]byte(`{"version":2,"token":{}}`))
	f.Add([]byte(`{"version":1,"token":{"access_token":"a"`))
	f.Add([]byte("{\"version\":1,\"token\":{\"access_token\":\"\xff\"}}"))
	f.Add([]byte("null"))
	f.Add([]byte{})

	folder := f.TempDir() // one a fuzzing process
	f.Fuzz(func(t *testing.T, content []byte) {
		path := filepath.Join(folder, "fuzz", "token.json")
		store, err := tokenfile.New(path)
		require.NoError(t, err)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		require.NoError(t, os.WriteFile(path, content, 0o600))

		first, err := store.Load(t.Context())
		left, readErr := os.ReadFile(path)
		require.NoError(t, readErr)
		require.Equal(t, content, left)
		if err != nil {
			require.Nil(t, first)
			require.NotErrorIs(t, err, piecesauth.ErrNoToken)
			return
		}
		require.NotNil(t, first)
		require.True(t, first.AccessToken != "" || first.RefreshToken != "")
		require.True(t, utf8.Valid(content))
		var plain struct {
			Version int
			Token   struct {
				Access  string `json:"access_token"`
				Type    string `json:"token_type"`
				Refresh string `json:"refresh_token"`
				ID      string `json:"id_token"`
				Scope   string
			}
		}
		require.NoError(t, json.Unmarshal(content, &plain))
		require.Equal(t, 1, plain.Version)
		require.Equal(t, []string{plain.Token.Access, plain.Token.Type, plain.Token.Refresh, plain.Token.ID}, []string{first.AccessToken, first.TokenType, first.RefreshToken, first.IDToken})
		require.Equal(t, strings.Join(strings.Fields(plain.Token.Scope), " "), first.Scopes.String())

		require.NoError(t, os.Remove(path))
		require.NoError(t, store.Update(t.Context(), func(context.Context, *piecesauth.Token) (*piecesauth.Token, error) { return first, nil }))
		second, err := store.Load(t.Context())
		require.NoError(t, err)
		require.True(t, first.Expiry.Equal(second.Expiry))
		first.Expiry = second.Expiry
		if len(first.Scopes) == 0 {
			first.Scopes = nil // "" is left out
		}
		require.Equal(t, first, second)
	})
}
