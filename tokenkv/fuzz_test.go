package tokenkv_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/piecesauth/piecesauth"
	"github.com/piecesauth/piecesauth/seal"
	"github.com/piecesauth/piecesauth/tokenkv"
)

// FuzzRow reads whatever somebody may have put into the table: a token, or an
// error of one line, which signing in mends.
func FuzzRow(f *testing.F) {
	for _, value := range []string{
		"x", "{}", "null", "[]", `{"version":1}`, `{"version":1,"generation":"g","token":{"access_token":"a"}}`,
		`{"version":1,"lease":{"holder":"h","length":-1}}`, `{"version":1,"takeovers":-1,"spent":true,"lease":{}}`, `{"version":99}`, "\x01\x00\xff",
	} {
		f.Add([]byte(value), false)
		f.Add([]byte(value), true)
	}
	f.Fuzz(func(t *testing.T, value []byte, sealed bool) {
		if len(value) == 0 {
			return // no DB has such a row
		}
		var sealer *seal.Sealer
		if sealed {
			sealer = newSealer(t, 1)
		}
		var db tokenkv.MemoryDB
		_, ok, err := db.Swap(t.Context(), "person", "", value)
		require.True(t, ok && err == nil)
		s := storeOf(t, openSealed(t, &db, sealer), "person")
		token, err := s.Load(t.Context())
		assert.Equal(t, err == nil, token != nil, "a token or an error")
		if err != nil {
			assert.NotContains(t, err.Error(), "\n")
		}
		assert.False(t, sealed && token != nil, "nobody has the key")
		require.NoError(t, s.Replace(t.Context(), &piecesauth.Token{RefreshToken: "new"}))
		expectStored(t, s, "new")
	})
}
