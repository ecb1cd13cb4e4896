package tokenredis_test

import (
	"log"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/piecesauth/piecesauth/tokenkv"
	"github.com/piecesauth/piecesauth/tokenredis"
)

func ExampleNew() {
	client := redis.NewUniversalClient(&redis.UniversalOptions{
		Addrs:                 []string{"redis.example.com:6379"},
		ContextTimeoutEnabled: true,
	})
	db := tokenredis.New(client, tokenredis.Options{
		Idle: 90 * 24 * time.Hour, // refresh tokens live for 60 days at most
	})
	tokens, err := tokenkv.New(db, tokenkv.Options{}) // with a Sealer, in real life
	if err != nil {
		log.Fatal(err)
	}
	_ = tokens.Store("an-opaque-session-id")
}
