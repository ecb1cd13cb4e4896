package tokenkv_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
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

// BenchmarkSignedIn holds people in memory, a TokenSource and its token for
// each, and reports what one costs above the strings of the token.
func BenchmarkSignedIn(b *testing.B) {
	for b.Loop() {
		b.ReportMetric(signedIn(b, 2000), "bytes/person")
	}
}

// A signed-in person whose token a process has in memory costs few bytes.
func TestMemory(t *testing.T) {
	if tokenkv.RaceDetector {
		t.Skip("the race detector takes memory of its own: only without it")
	}
	costs := signedIn(t, 2000)
	t.Logf("%.0f bytes", costs)
	assert.LessOrEqual(t, costs, 600.0)
}

// signedIn returns the bytes for each of so many people, above the strings of
// the token. The database's memory is not counted.
func signedIn(t testing.TB, people int) float64 {
	t.Helper()
	db, text := new(tokenkv.MemoryDB), 0
	tokens := openSealed(t, db, newSealer(t, 1))
	auth := newAuthenticator(t, nil)
	for i := range people {
		token := &piecesauth.Token{
			AccessToken: strings.Repeat("a", 1000), TokenType: "Bearer", RefreshToken: strings.Repeat("r", 64), IDToken: idToken(i),
			Scopes: piecesauth.Scopes{"openid", "profile", "email", "offline_access"}, Expiry: time.Now().Add(time.Hour), Obtained: time.Now(),
		}
		text = len(token.AccessToken) + len(token.TokenType) + len(token.RefreshToken) + len(token.IDToken) + len(strings.Join(token.Scopes, ""))
		require.NoError(t, storeOf(t, tokens, fmt.Sprintf("%032x", i)).Replace(t.Context(), token))
	}
	sources := make([]*piecesauth.TokenSource, people)
	before := heap()
	for i := range sources {
		sources[i] = auth.TokenSource(tokens.Store(fmt.Sprintf("%032x", i)))
		token, err := sources[i].Token(t.Context())
		require.NoError(t, err)
		require.NotEmpty(t, token.IDToken)
	}
	held := float64(heap()-before) / float64(people)
	runtime.KeepAlive(sources)
	runtime.KeepAlive(db)
	return held - float64(text)
}

// heap returns the bytes that are in use.
func heap() uint64 {
	runtime.GC()
	runtime.GC() // what the first has found unused, and pools have kept
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// idToken returns one that nobody has signed.
func idToken(n int) string {
	encode := base64.RawURLEncoding.EncodeToString
	return encode([]byte(`{"alg":"RS256"}`)) + "." + encode(fmt.Appendf(nil, `{"iss":"https://auth.example/","sub":"%032d","pad":"%0300d"}`, n, 0)) + "." + strings.Repeat("A", 342)
}
