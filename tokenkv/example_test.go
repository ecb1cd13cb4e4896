package tokenkv_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/piecesauth/piecesauth"
	"github.com/piecesauth/piecesauth/seal"
	"github.com/piecesauth/piecesauth/tokenkv"
)

func Example() {
	var db tokenkv.DB = new(tokenkv.MemoryDB) // on several machines: one of tokensql or tokenredis
	key := make([]byte, 32)                   // from where the program keeps its secrets
	sealer, err := seal.New(key)
	if err != nil {
		fmt.Println(err)
		return
	}
	tokens, err := tokenkv.New(db, tokenkv.Options{Sealer: sealer})
	if err != nil {
		fmt.Println(err)
		return
	}
	auth, err := piecesauth.New(piecesauth.Config{ClientID: "client"})
	if err != nil {
		fmt.Println(err)
		return
	}

	// Each request uses the store of the person that it comes from.
	source := auth.TokenSource(tokens.Store("8c1f0a52"))
	if _, err := source.Token(context.Background()); errors.Is(err, piecesauth.ErrSignInRequired) {
		fmt.Println("sign in first")
	}
	// Output: sign in first
}
