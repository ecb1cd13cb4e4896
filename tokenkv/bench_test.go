package tokenkv_test

import (
	"encoding/json"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/piecesauth/piecesauth"
	"github.com/piecesauth/piecesauth/tokenkv"
)

// BenchmarkStored reads a stored token: bare is a Get of the same token's JSON
// and json.Unmarshal, plain is a Store without a Sealer, sealed one with it. The
// database takes next to nothing here, so this is what the layer costs.
func BenchmarkStored(b *testing.B) {
	token := &piecesauth.Token{
		AccessToken: strings.Repeat("a", 1000), TokenType: "Bearer", RefreshToken: strings.Repeat("r", 64), IDToken: strings.Repeat("i", 800),
		Scopes: piecesauth.Scopes{"openid", "profile", "email", "offline_access"}, Expiry: time.Now().Add(time.Hour),
	}
	b.Run("bare", func(b *testing.B) {
		var db tokenkv.MemoryDB
		value, err := json.Marshal(token)
		require.NoError(b, err)
		_, _, err = db.Swap(b.Context(), "person", "", value)
		require.NoError(b, err)
		b.ReportAllocs()
		for b.Loop() {
			row, err := db.Get(b.Context(), "person")
			var t piecesauth.Token
			if err != nil || json.Unmarshal(row.Value, &t) != nil || t.AccessToken == "" {
				b.Fatal("no token")
			}
		}
	})
	for name, keys := range map[string][]byte{"plain": nil, "sealed": {1}} {
		b.Run(name, func(b *testing.B) {
			db := new(tokenkv.MemoryDB)
			tokens := open(b, db)
			if keys != nil {
				tokens = openSealed(b, db, newSealer(b, keys...))
			}
			require.NoError(b, storeOf(b, tokens, "person").Replace(b.Context(), token))
			b.ReportAllocs()
			for b.Loop() {
				t, err := tokens.Store("person").Load(b.Context())
				if err != nil || t.AccessToken == "" {
					b.Fatal("no token")
				}
			}
		})
	}
}

// BenchmarkRefresh is an Update whose fn takes no time: what the lease costs.
func BenchmarkRefresh(b *testing.B) {
	s := storeOf(b, openSealed(b, new(tokenkv.MemoryDB), newSealer(b, 1)), "person")
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if err := s.Update(b.Context(), to(good(strconv.Itoa(i)))); err != nil {
			b.Fatal(err)
		}
	}
}
