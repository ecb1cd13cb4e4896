package main

import (
	"context"
	"sync"

	"github.com/piecesauth/piecesauth"
	"github.com/piecesauth/piecesauth/tokenfile"
)

// settledStore lets the program end only between updates. A process that ends
// during an update, because its current token is still valid or because it was
// interrupted, could lose the token that the server grants just then.
type settledStore struct {
	*tokenfile.Store

	mu      sync.Mutex
	ending  context.Context //nolint:containedctx // it is a flag that AfterFunc can wait for
	end     context.CancelFunc
	updates sync.WaitGroup
}

func newSettledStore(store *tokenfile.Store) *settledStore {
	s := &settledStore{Store: store}
	s.ending, s.end = context.WithCancel(context.Background())
	return s
}

// Update calls that of the file; it fails once the program is ending.
func (s *settledStore) Update(ctx context.Context, fn func(context.Context, *piecesauth.Token) (*piecesauth.Token, error)) error {
	s.mu.Lock()
	if err := s.ending.Err(); err != nil {
		s.mu.Unlock()
		return err
	}
	s.updates.Add(1)
	s.mu.Unlock()
	defer s.updates.Done()

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	begin := context.AfterFunc(s.ending, cancel) //nolint:contextcheck // it ends ctx: nothing is spent while Update waits for the lock
	return s.Store.Update(ctx, func(ctx context.Context, t *piecesauth.Token) (*piecesauth.Token, error) {
		if !begin() {
			return nil, context.Canceled
		}
		return fn(ctx, t)
	})
}

// settle waits for an update in progress, and lets no other begin.
func (s *settledStore) settle() {
	s.mu.Lock()
	s.end()
	s.mu.Unlock()
	s.updates.Wait()
}
