package tokenkv_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/piecesauth/piecesauth"
	"github.com/piecesauth/piecesauth/internal/beforesend"
	"github.com/piecesauth/piecesauth/piecesauthtest"
	"github.com/piecesauth/piecesauth/seal"
	"github.com/piecesauth/piecesauth/tokenkv"
)

func TestStore(t *testing.T) {
	piecesauthtest.TestStore(t, func(t *testing.T) piecesauth.TokenStore {
		return open(t, new(tokenkv.MemoryDB)).Store("person")
	})
}

func TestSharedStore(t *testing.T) {
	piecesauthtest.TestSharedStore(t, func(t *testing.T) func() piecesauth.TokenStore {
		db := new(tokenkv.MemoryDB)
		return func() piecesauth.TokenStore { return openSealed(t, db, newSealer(t, 1)).Store("person") }
	})
}

func open(t testing.TB, db tokenkv.DB) *tokenkv.Tokens {
	t.Helper()
	return openSealed(t, db, nil)
}

func openSealed(t testing.TB, db tokenkv.DB, sealer *seal.Sealer) *tokenkv.Tokens {
	t.Helper()
	tokens, err := tokenkv.New(db, tokenkv.Options{Sealer: sealer})
	require.NoError(t, err)
	return tokens
}

// newSealer returns a Sealer of keys that are made of these bytes.
func newSealer(t testing.TB, keys ...byte) *seal.Sealer {
	t.Helper()
	var all [][]byte
	for _, b := range keys {
		all = append(all, bytes.Repeat([]byte{b}, 32))
	}
	sealer, err := seal.New(all...)
	require.NoError(t, err)
	return sealer
}

// optional is what a Store has besides TokenStore.
type optional interface {
	piecesauth.TokenStore
	UpdateUnless(ctx context.Context, enough func(*piecesauth.Token) bool, fn func(context.Context, *piecesauth.Token) (*piecesauth.Token, error)) error
	Replace(ctx context.Context, token *piecesauth.Token) error
}

func storeOf(t testing.TB, tokens *tokenkv.Tokens, id string) optional {
	t.Helper()
	s, ok := tokens.Store(id).(optional)
	require.True(t, ok)
	return s
}

// bentDB lets a test come between a store and its database.
type bentDB struct {
	tokenkv.DB

	get  func(do func() (tokenkv.Row, error)) (tokenkv.Row, error)
	swap func(value []byte, do func() (string, bool, error)) (string, bool, error)
}

func (b *bentDB) Get(ctx context.Context, key string) (tokenkv.Row, error) {
	do := func() (tokenkv.Row, error) { return b.DB.Get(ctx, key) }
	if b.get == nil {
		return do()
	}
	return b.get(do)
}

func (b *bentDB) Swap(ctx context.Context, key, version string, value []byte) (string, bool, error) {
	do := func() (string, bool, error) { return b.DB.Swap(ctx, key, version, value) }
	if b.swap == nil {
		return do()
	}
	return b.swap(value, do)
}

var (
	errDown    = errors.New("the database is down")
	errRefused = &piecesauth.Error{Op: "refresh", StatusCode: 400, Code: "invalid_grant"}
)

func expired(refresh string) *piecesauth.Token {
	return &piecesauth.Token{AccessToken: "access of " + refresh, RefreshToken: refresh, Expiry: time.Now().Add(-time.Second)}
}

func good(refresh string) *piecesauth.Token {
	return &piecesauth.Token{AccessToken: "access of " + refresh, RefreshToken: refresh, Expiry: time.Now().Add(time.Hour)}
}

// to returns an fn that replaces any token.
func to(token *piecesauth.Token) func(context.Context, *piecesauth.Token) (*piecesauth.Token, error) {
	return func(context.Context, *piecesauth.Token) (*piecesauth.Token, error) { return token, nil }
}

func expectStored(t testing.TB, s piecesauth.TokenStore, refresh string) {
	t.Helper()
	token, err := s.Load(context.Background())
	if refresh == "" {
		assert.ErrorIs(t, err, piecesauth.ErrNoToken)
		return
	}
	if assert.NoError(t, err) {
		assert.Equal(t, refresh, token.RefreshToken)
	}
}

func TestNew(t *testing.T) {
	_, err := tokenkv.New(nil, tokenkv.Options{})
	assert.EqualError(t, err, "tokenkv: the DB is nil")
	_, err = tokenkv.New(new(tokenkv.MemoryDB), tokenkv.Options{Lease: time.Second - 1})
	assert.EqualError(t, err, "tokenkv: Lease is shorter than a second")
	_, err = tokenkv.New(new(tokenkv.MemoryDB), tokenkv.Options{Lease: time.Second})
	assert.NoError(t, err)
}

func TestIDs(t *testing.T) {
	tokens := open(t, new(tokenkv.MemoryDB))
	for name, test := range map[string]struct{ id, want string }{
		"empty":     {"", "tokenkv: the id is empty"},
		"513 bytes": {strings.Repeat("x", 513), "tokenkv: the id has 513 bytes; at most 512 may be"},
		"512 bytes": {strings.Repeat("\xff", 512), ""},
		"NUL":       {"\x00", ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := storeOf(t, tokens, test.id)
			_, err := s.Load(t.Context())
			for _, err := range []error{err, s.Update(t.Context(), to(nil)), s.Replace(t.Context(), good("r"))} {
				if test.want != "" {
					assert.EqualError(t, err, test.want)
				}
			}
			if test.want == "" {
				expectStored(t, s, "r")
			}
		})
	}
}

func TestPeopleAreKeptApart(t *testing.T) {
	tokens := open(t, new(tokenkv.MemoryDB))
	one, two := storeOf(t, tokens, "one"), storeOf(t, tokens, "two")
	require.NoError(t, one.Replace(t.Context(), good("first")))
	expectStored(t, two, "")
	require.NoError(t, two.Replace(t.Context(), good("second")))
	require.NoError(t, one.Replace(t.Context(), nil))
	expectStored(t, one, "")
	expectStored(t, two, "second")
}

func TestSealed(t *testing.T) {
	var db tokenkv.MemoryDB
	one := storeOf(t, openSealed(t, &db, newSealer(t, 1)), "one")
	two := storeOf(t, openSealed(t, &db, newSealer(t, 1)), "two")
	require.NoError(t, one.Replace(t.Context(), good("secret")))
	require.NoError(t, two.Update(t.Context(), to(good("secret"))))
	row, err := db.Get(t.Context(), "one")
	require.NoError(t, err)
	for _, part := range []string{"secret", "access", "token", "generation"} {
		assert.NotContains(t, string(row.Value), part)
	}

	of2, err := db.Get(t.Context(), "two")
	require.NoError(t, err)
	_, ok, err := db.Swap(t.Context(), "two", of2.Version, row.Value)
	require.True(t, ok && err == nil)
	_, err = two.Load(t.Context())
	assert.ErrorIs(t, err, seal.ErrCannotOpen, "a row of somebody else")
	assert.ErrorContains(t, err, "signing in or out mends it")
	assert.ErrorIs(t, two.Update(t.Context(), to(good("other"))), seal.ErrCannotOpen)
	expectStored(t, one, "secret")
}

func TestKeysRotate(t *testing.T) {
	var db tokenkv.MemoryDB
	with := func(keys ...byte) optional { return storeOf(t, openSealed(t, &db, newSealer(t, keys...)), "person") }
	require.NoError(t, with(1).Replace(t.Context(), good("first")))
	expectStored(t, with(1, 2), "first")
	expectStored(t, with(2, 1), "first")
	require.NoError(t, with(2, 1).Update(t.Context(), to(good("second"))))
	expectStored(t, with(1, 2), "second")
	expectStored(t, with(2), "second")
	_, err := with(1).Load(t.Context())
	assert.ErrorIs(t, err, seal.ErrCannotOpen)
}

// What can't be read is an error that quotes nothing, and is mended by signing
// in or out.
func TestUnreadable(t *testing.T) {
	sealed := string(newSealer(t, 1).Seal([]byte(`{"version":1,"generation":"g"}`), "tokenkv person"))
	for name, test := range map[string]struct {
		value  string
		sealer *seal.Sealer
		want   string
	}{
		"garbage":              {"secret", nil, "not a token of this package"},
		"not UTF-8":            {`{"version":1,"generation":"` + "\xff" + `"}`, nil, "not a token of this package"},
		"no version":           {`{}`, nil, "not a token of this package"},
		"a later version":      {`{"version":2,"secret":1}`, nil, "has version 2, and this program reads version 1"},
		"sealed, no Sealer":    {sealed, nil, "or it is sealed and no Sealer is set"},
		"in the clear, Sealer": {`{"version":1,"generation":"secret"}`, newSealer(t, 1), "it was not sealed"},
		"another key":          {sealed, newSealer(t, 2), "with a key that is not among"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, mended := range []*piecesauth.Token{nil, good("new")} {
				var db tokenkv.MemoryDB
				_, ok, err := db.Swap(t.Context(), "person", "", []byte(test.value))
				require.True(t, ok && err == nil)
				s := storeOf(t, openSealed(t, &db, test.sealer), "person")
				_, err = s.Load(t.Context())
				assert.ErrorContains(t, err, test.want)
				assert.NotContains(t, err.Error(), "secret")
				assert.NotContains(t, err.Error(), "\n")
				assert.ErrorContains(t, s.Update(t.Context(), to(nil)), test.want)

				require.NoError(t, s.Replace(t.Context(), mended))
				if mended == nil {
					expectStored(t, s, "")
				} else {
					expectStored(t, s, "new")
				}
			}
		})
	}
}

func TestTokenOfNoUse(t *testing.T) {
	s := storeOf(t, open(t, new(tokenkv.MemoryDB)), "person")
	const want = "tokenkv: a token needs an access token or a refresh token"
	assert.EqualError(t, s.Replace(t.Context(), &piecesauth.Token{}), want)
	assert.EqualError(t, s.Update(t.Context(), to(&piecesauth.Token{})), want)
	large := good(strings.Repeat("x", 1<<20))
	assert.EqualError(t, s.Replace(t.Context(), large), "tokenkv: the token is larger than 1 MiB")
	assert.EqualError(t, s.Update(t.Context(), to(large)), "tokenkv: the token is larger than 1 MiB")
	require.NoError(t, s.Update(t.Context(), to(good("r"))), "nobody has the lease")
	expectStored(t, s, "r")
}

// A token that is there to stay costs one Get; a refresh two Swaps more.
func TestWhatItCosts(t *testing.T) {
	var gets, swaps int
	db := &bentDB{
		DB:   new(tokenkv.MemoryDB),
		get:  func(do func() (tokenkv.Row, error)) (tokenkv.Row, error) { gets++; return do() },
		swap: func(_ []byte, do func() (string, bool, error)) (string, bool, error) { swaps++; return do() },
	}
	s := storeOf(t, open(t, db), "person")
	for _, test := range []struct {
		name        string
		do          func() error
		gets, swaps int
	}{
		{"sign-in", func() error { return s.Replace(t.Context(), expired("one")) }, 2, 2},
		{"sign-in anew", func() error { return s.Replace(t.Context(), expired("one")) }, 1, 1},
		{"load", func() error { _, err := s.Load(t.Context()); return err }, 1, 0},
		{"refresh", func() error { return s.Update(t.Context(), to(good("two"))) }, 1, 2},
		{"nothing new", func() error { return s.Update(t.Context(), to(good("two"))) }, 1, 2},
		{"enough", func() error { return s.UpdateUnless(t.Context(), (*piecesauth.Token).Valid, nil) }, 1, 0},
		{"not enough", func() error {
			return s.UpdateUnless(t.Context(), func(token *piecesauth.Token) bool { return token.RefreshToken == "three" }, to(good("three")))
		}, 1, 2},
		{"sign-out", func() error { return s.Replace(t.Context(), nil) }, 1, 1},
		{"sign-out again", func() error { return s.Replace(t.Context(), nil) }, 1, 0},
	} {
		gets, swaps = 0, 0
		assert.NoError(t, test.do(), test.name)
		assert.Equal(t, [2]int{test.gets, test.swaps}, [2]int{gets, swaps}, "%s: gets and swaps", test.name)
	}
}

// refreshing runs f while an Update is under way whose fn got its result.
func refreshing(t *testing.T, s optional, result *piecesauth.Token, f func()) (seen []*piecesauth.Token, err error) {
	t.Helper()
	started, end, ended := make(chan struct{}), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		err = s.Update(context.Background(), func(ctx context.Context, stored *piecesauth.Token) (*piecesauth.Token, error) {
			if seen = append(seen, stored); len(seen) > 1 {
				if stored == nil {
					return nil, piecesauth.ErrNoToken
				}
				return stored, nil
			}
			if err := beforesend.Call(ctx); err != nil {
				return nil, err
			}
			close(started)
			<-end
			return result, nil
		})
	}()
	<-started
	f()
	close(end)
	<-ended
	return seen, err
}

// Signing out or in waits for no refresh, and a refresh that comes late undoes
// neither.
func TestReplaceDuringARefresh(t *testing.T) {
	t.Run("sign-out", func(t *testing.T) {
		s := storeOf(t, open(t, new(tokenkv.MemoryDB)), "person")
		require.NoError(t, s.Replace(t.Context(), expired("old")))
		seen, err := refreshing(t, s, good("late"), func() {
			require.NoError(t, s.Replace(t.Context(), nil))
			expectStored(t, s, "")
		})
		assert.ErrorIs(t, err, piecesauth.ErrNoToken)
		require.Len(t, seen, 2)
		assert.Nil(t, seen[1])
		expectStored(t, s, "")
	})
	t.Run("sign-out and in", func(t *testing.T) {
		s := storeOf(t, open(t, new(tokenkv.MemoryDB)), "person")
		require.NoError(t, s.Replace(t.Context(), expired("old")))
		seen, err := refreshing(t, s, good("late"), func() {
			require.NoError(t, s.Replace(t.Context(), nil))
			require.NoError(t, s.Replace(t.Context(), good("new")))
		})
		assert.NoError(t, err)
		require.Len(t, seen, 2)
		assert.Equal(t, "new", seen[1].RefreshToken)
		expectStored(t, s, "new")
	})
	t.Run("sign-in, the same token", func(t *testing.T) {
		s := storeOf(t, open(t, new(tokenkv.MemoryDB)), "person")
		require.NoError(t, s.Replace(t.Context(), expired("old")))
		_, err := refreshing(t, s, good("late"), func() { require.NoError(t, s.Replace(t.Context(), expired("old"))) })
		assert.NoError(t, err)
		expectStored(t, s, "old")
	})
}

// An insert that was thought lost, and comes after a sign-out, must not bring a
// token back: no token is ever written where there is no row.
func TestNoTokenIsInserted(t *testing.T) {
	var row bool
	db := &bentDB{DB: new(tokenkv.MemoryDB)}
	db.swap = func(value []byte, do func() (string, bool, error)) (string, bool, error) {
		assert.True(t, row || !bytes.Contains(value, []byte("access")), "a token is inserted")
		v, ok, err := do()
		row = v != ""
		return v, ok, err
	}
	s := storeOf(t, open(t, db), "person")
	require.NoError(t, s.Replace(t.Context(), good("one")))
	require.NoError(t, s.Replace(t.Context(), nil))
	require.NoError(t, s.Update(t.Context(), to(good("two"))))
	expectStored(t, s, "two")
}

func TestReplaceOutlastsFailures(t *testing.T) {
	for name, test := range map[string]struct {
		failures int // of each Swap
		happens  bool
		want     error
	}{
		"two failures":     {2, false, nil},
		"two lost answers": {2, true, nil},
		"three failures":   {3, false, errDown},
	} {
		for _, token := range []*piecesauth.Token{nil, good("new")} {
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var memory tokenkv.MemoryDB
					require.NoError(t, storeOf(t, open(t, &memory), "person").Replace(t.Context(), good("old")))
					left := test.failures
					s := storeOf(t, open(t, &bentDB{DB: &memory, swap: func(_ []byte, do func() (string, bool, error)) (string, bool, error) {
						if left--; left < 0 {
							return do()
						}
						if test.happens {
							_, _, _ = do()
						}
						return "", false, errDown
					}}), "person")
					err := s.Replace(t.Context(), token)
					if test.want != nil {
						assert.ErrorIs(t, err, test.want)
						return
					}
					assert.NoError(t, err)
					if test.happens {
						assert.Equal(t, 1, left, "it saw that the first had happened")
					}
					if token == nil {
						expectStored(t, s, "")
					} else {
						expectStored(t, s, "new")
					}
				})
			})
		}
	}
}

func TestMemoryDBHasNoNegativeAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var db tokenkv.MemoryDB
		_, _, err := db.Swap(t.Context(), "key", "", []byte("x"))
		require.NoError(t, err)
		time.Sleep(time.Minute)
		row, err := db.Get(t.Context(), "key")
		require.NoError(t, err)
		assert.Equal(t, time.Minute, row.Age)
	})
}
