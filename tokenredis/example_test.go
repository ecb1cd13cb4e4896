package tokenredis_test

import (
	"context"
	"fmt"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/piecesauth/piecesauth"
	"github.com/piecesauth/piecesauth/piecesauthtest"
	"github.com/piecesauth/piecesauth/seal"
	"github.com/piecesauth/piecesauth/tokenkv"
	"github.com/piecesauth/piecesauth/tokenredis"
)

// Two machines share a person's token in Redis. Here a Redis and an
// authorization server in memory take the place of the real ones.
func Example() {
	ctx := context.Background()
	memory := miniredis.NewMiniRedis()
	if err := memory.Start(); err != nil {
		fmt.Println(err)
		return
	}
	defer memory.Close()
	server := piecesauthtest.NewServer(piecesauthtest.Options{})
	defer server.Close()
	auth, err := piecesauth.New(server.Config())
	if err != nil {
		fmt.Println(err)
		return
	}

	machine := func(client *redis.Client) (*piecesauth.TokenSource, error) {
		db := tokenredis.New(client, tokenredis.Options{
			Idle: 90 * 24 * time.Hour, // longer than an unused refresh token lives
		})
		sealer, err := seal.New(make([]byte, 32)) // a real key is random, and the same on all machines
		if err != nil {
			return nil, err
		}
		tokens, err := tokenkv.New(db, tokenkv.Options{Sealer: sealer})
		if err != nil {
			return nil, err
		}
		return auth.TokenSource(tokens.Store("an-opaque-session-id")), nil
	}
	client := redis.NewClient(&redis.Options{Addr: memory.Addr(), ContextTimeoutEnabled: true})
	defer func() { _ = client.Close() }()

	first, err := machine(client)
	if err != nil {
		fmt.Println(err)
		return
	}
	signedIn, err := server.NewToken() // stands for a sign-in
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := first.Save(ctx, signedIn); err != nil {
		fmt.Println(err)
		return
	}
	second, err := machine(client)
	if err != nil {
		fmt.Println(err)
		return
	}
	user, err := second.UserInfo(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(user.Name)
	// Output: Ada Lovelace
}
