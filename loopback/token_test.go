package loopback_test

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/piecesauth/piecesauth"
	"github.com/piecesauth/piecesauth/loopback"
)

// store holds a token as a TokenStore does, and fails where told to.
type store struct {
	token        *piecesauth.Token
	load, update error
}

func (s *store) Load(context.Context) (*piecesauth.Token, error) {
	if s.load == nil && s.token == nil {
		return nil, piecesauth.ErrNoToken
	}
	return s.token, s.load
}

func (s *store) Update(ctx context.Context, fn func(context.Context, *piecesauth.Token) (*piecesauth.Token, error)) error {
	if s.update != nil {
		return s.update
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if s.load != nil {
		return s.load
	}
	next, err := fn(ctx, s.token)
	if err == nil {
		s.token = next
	}
	return err
}

func TestToken(t *testing.T) {
	good := &piecesauth.Token{AccessToken: "planted-stored", Expiry: time.Now().Add(time.Hour)}
	expired := &piecesauth.Token{AccessToken: "planted-stored", Expiry: time.Now().Add(-time.Hour)}
	errDisk := errors.New("the disk is full")
	for _, tt := range []struct {
		name    string
		store   store
		signsIn bool
		denied  bool
		want    string
		is      error
		stored  string
	}{
		{name: "a good one is stored", store: store{token: good}, want: "planted-stored", stored: "planted-stored"},
		{name: "none", signsIn: true, want: "planted-access-token", stored: "planted-access-token"},
		{name: "one that expired, with nothing to refresh it", store: store{token: expired}, signsIn: true, want: "planted-access-token", stored: "planted-access-token"},
		{name: "the store can't be read", store: store{load: errDisk}, is: errDisk},
		{name: "the person refuses", signsIn: true, denied: true, is: &piecesauth.Error{Code: "invalid_grant"}},
		{name: "it can't be saved", store: store{update: errDisk}, is: errDisk},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newProvider(t)
			p.denies = tt.denied
			auth := p.authenticator(t, piecesauth.Config{})
			opened := false
			token, err := loopback.Token(t.Context(), auth.TokenSource(&tt.store), auth, loopback.Options{OpenBrowser: func(url string) error {
				opened = true
				return p.browser("POST", nil).open(url)
			}})
			require.Equal(t, tt.signsIn, opened)
			if tt.is != nil {
				require.ErrorIs(t, err, tt.is)
			} else {
				require.NoError(t, err)
			}
			if tt.want == "" {
				require.Nil(t, token)
				return
			}
			require.Equal(t, tt.want, token.AccessToken)
			require.Equal(t, tt.stored, tt.store.token.AccessToken)
		})
	}
}

// saving fails to store a new token.
type saving struct {
	store
	fails func() error
}

func (s *saving) Update(ctx context.Context, fn func(context.Context, *piecesauth.Token) (*piecesauth.Token, error)) error {
	return s.store.Update(ctx, func(ctx context.Context, current *piecesauth.Token) (*piecesauth.Token, error) {
		next, err := fn(ctx, current)
		if err == nil && next != nil && s.fails != nil {
			err = s.fails()
		}
		return next, err
	})
}

// A sign-in that has happened isn't lost with its token: not when it can't be
// saved, and not when the caller leaves just then.
func TestTokenIsNotLost(t *testing.T) {
	p := newProvider(t)
	auth := p.authenticator(t, piecesauth.Config{})
	errDisk := errors.New("the disk is full")
	full := &saving{fails: func() error { return errDisk }}
	token, err := loopback.Token(t.Context(), auth.TokenSource(full), auth, loopback.Options{OpenBrowser: p.browser("POST", nil).open})
	require.ErrorIs(t, err, errDisk)
	require.Equal(t, "planted-access-token", token.AccessToken)

	ctx, cancel := context.WithCancel(t.Context())
	kept := new(store)
	token, err = loopback.Token(ctx, auth.TokenSource(kept), auth, loopback.Options{
		OpenBrowser: p.browser("POST", nil).open,
		Page:        func(http.ResponseWriter, error) { cancel() },
	})
	require.NoError(t, err)
	require.Equal(t, "planted-access-token", token.AccessToken)
	require.Equal(t, "planted-access-token", kept.token.AccessToken)
}
