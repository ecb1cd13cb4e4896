package fleet_test

import (
	"context"
	"time"

	"github.com/piecesauth/piecesauth"
)

// updater is what a TokenSource asks a store of tokenkv for, besides the
// interface.
type updater interface {
	UpdateUnless(ctx context.Context, enough func(*piecesauth.Token) bool, fn func(context.Context, *piecesauth.Token) (*piecesauth.Token, error)) error
	Replace(ctx context.Context, token *piecesauth.Token) error
}

// shifted is a store as a machine sees it whose clock is ahead: what expires at
// noon by others' clocks does so earlier by its own, and what it stores expires
// later by theirs. No clock of a machine has to be set for it.
type shifted struct {
	piecesauth.TokenStore
	ahead time.Duration
}

func shift(store piecesauth.TokenStore, ahead time.Duration) piecesauth.TokenStore {
	if u, ok := store.(updater); ok {
		return shiftedUpdater{shifted{store, ahead}, u}
	}
	return shifted{store, ahead}
}

func (s shifted) by(token *piecesauth.Token, d time.Duration) *piecesauth.Token {
	if token != nil && !token.Expiry.IsZero() {
		token.Expiry = token.Expiry.Add(d)
	}
	return token
}

func (s shifted) Load(ctx context.Context) (*piecesauth.Token, error) {
	token, err := s.TokenStore.Load(ctx)
	return s.by(token, -s.ahead), err
}

func (s shifted) Update(ctx context.Context, fn func(context.Context, *piecesauth.Token) (*piecesauth.Token, error)) error {
	return s.TokenStore.Update(ctx, s.shift(fn))
}

func (s shifted) shift(fn func(context.Context, *piecesauth.Token) (*piecesauth.Token, error)) func(context.Context, *piecesauth.Token) (*piecesauth.Token, error) {
	return func(ctx context.Context, token *piecesauth.Token) (*piecesauth.Token, error) {
		token, err := fn(ctx, s.by(token, -s.ahead))
		if token != nil {
			stored := *token // the caller keeps its own
			token = s.by(&stored, s.ahead)
		}
		return token, err
	}
}

type shiftedUpdater struct {
	shifted
	updater updater
}

func (s shiftedUpdater) UpdateUnless(ctx context.Context, enough func(*piecesauth.Token) bool, fn func(context.Context, *piecesauth.Token) (*piecesauth.Token, error)) error {
	return s.updater.UpdateUnless(ctx, func(token *piecesauth.Token) bool {
		seen := *token
		return enough(s.by(&seen, -s.ahead))
	}, s.shift(fn))
}

func (s shiftedUpdater) Replace(ctx context.Context, token *piecesauth.Token) error {
	if token != nil {
		stored := *token
		token = s.by(&stored, s.ahead)
	}
	return s.updater.Replace(ctx, token)
}
