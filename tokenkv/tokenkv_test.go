package tokenkv_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/piecesauth/piecesauth"
	"github.com/piecesauth/piecesauth/piecesauthtest"
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
		return func() piecesauth.TokenStore { return open(t, db).Store("person") }
	})
}

func open(t testing.TB, db tokenkv.DB) *tokenkv.Tokens {
	t.Helper()
	tokens, err := tokenkv.New(db, tokenkv.Options{})
	require.NoError(t, err)
	return tokens
}
