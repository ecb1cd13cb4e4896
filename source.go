package piecesauth

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync/atomic"
	"time"

	"golang.org/x/oauth2"

	"github.com/piecesauth/piecesauth/internal/exchange"
	"github.com/piecesauth/piecesauth/internal/logging"
	"github.com/piecesauth/piecesauth/internal/oidc"
	"github.com/piecesauth/piecesauth/internal/refreshing"
)

// TokenStore keeps one token for all the goroutines and processes that share
// it. Package tokenfile and [MemoryStore] implement it. To test another
// implementation, use TestStore of package piecesauthtest.
//
// A store may have a third method, Replace(ctx, *Token) error, which stores the
// token, or deletes the stored one if the argument is nil, without reading what
// is stored. [TokenSource.Save] and [TokenSource.Forget] use it, so that
// signing in or out repairs a store whose content can't be read. A fourth
// method, UpdateUnless(ctx, enough, fn), is Update for a store that may wait a
// long time for others: it returns nil without running fn as soon as it reads a
// token for which enough returns true.
type TokenStore interface {
	// Load returns the token, which the caller may change, or an error that is
	// [ErrNoToken]. It does not wait for an Update.
	Load(ctx context.Context) (*Token, error)
	// Update runs fn with the stored token, or nil if there is none. No other
	// Update of the same store runs meanwhile, in any process. It stores the
	// result of fn before it returns; a nil result deletes the token. An error
	// of fn is returned unchanged, and leaves the store unchanged. The context
	// limits the wait for others, not the storing.
	Update(ctx context.Context, fn func(context.Context, *Token) (*Token, error)) error
}

// updater is a TokenStore that calls enough for each token that it reads while
// it waits for others, and returns without running fn once one is good enough.
type updater interface {
	UpdateUnless(ctx context.Context, enough func(*Token) bool, fn func(context.Context, *Token) (*Token, error)) error
}

// replacer is a TokenStore that can write without reading.
type replacer interface {
	Replace(ctx context.Context, token *Token) error
}

const (
	refreshTimeout = 2 * exchange.Timeout // for the wait for other processes and the refresh itself
	mostWait       = 30 * time.Second     // left of a token whose callers wait for the next one
	warmTimeout    = 3 * time.Second
)

// TokenSource returns a valid access token, and refreshes the stored one when
// it is about to expire. It is safe for concurrent use: one refresh serves all
// callers and, with a shared store, all processes. Make one with
// [Authenticator.TokenSource].
type TokenSource struct {
	auth  *Authenticator
	store TokenStore

	keeper  refreshing.Keeper[Token]
	unsaved *unsavedToken // used by the refresh in progress only; nil if there is none
}

// unsavedToken is a token that could not be saved.
type unsavedToken struct {
	token *Token
	from  string // the refresh token that was redeemed for it
}

// TokenSource returns a source of the token in the store. It reads the store
// when a token is first needed. A nil store keeps the token in memory.
func (a *Authenticator) TokenSource(store TokenStore) *TokenSource {
	if store == nil {
		store = new(MemoryStore)
	}
	s := &TokenSource{auth: a, store: store}
	s.keeper.Renew, s.keeper.Group = s.renew, a.refreshes
	return s
}

// Token returns a valid token. Callers may share it and must not change it.
//
// Within [Config.RefreshBefore] of its expiry a token is refreshed, and the new
// one is saved before it is returned. Callers don't wait for that while the
// current token is valid for more than 30 seconds, or a tenth of its lifetime
// if that is less. After that they wait; if the refresh fails or takes too
// long, they get the current token until it expires. A refresh continues, for a
// minute at most, when the caller's context ends, because others may wait for
// it and its refresh token must not be lost; see [Authenticator.Close].
//
// A server may end a token early; call [TokenSource.Invalidate] when an API
// refuses one. If a refreshed token could not be saved, Token returns an error,
// keeps the token, and saves it before anything else next time.
// [ErrSignInRequired] means that nothing is stored, or that the stored token is
// no longer valid; it is returned until something else is stored. After a
// Retry-After, or an answer that was refused, the error is likewise returned
// until it is time to try again.
func (s *TokenSource) Token(ctx context.Context) (*Token, error) {
	if t := s.keeper.Good(); t != nil {
		return t, nil
	}
	return s.get(ctx, "")
}

// get returns a token other than the one whose access token was rejected.
func (s *TokenSource) get(ctx context.Context, rejected string) (*Token, error) {
	t, err := s.keeper.Get(ctx, rejected)
	if err != nil {
		return nil, ofStore(err)
	}
	return t, nil
}

// tokenNames returns the access token and the refresh token.
func tokenNames(t *Token) (access, refresh string) { return t.AccessToken, t.RefreshToken }

// moments returns the token with the times that matter, or nil if it has no
// access token.
func (s *TokenSource) moments(t *Token) *refreshing.Current[Token] {
	if t == nil || t.AccessToken == "" {
		return nil
	}
	c := &refreshing.Current[Token]{Value: t, RefreshAt: math.MaxInt64, WaitAt: math.MaxInt64, Expiry: math.MaxInt64}
	if !t.Expiry.IsZero() {
		before, wait := s.margins(t)
		c.Expiry = t.Expiry.UnixNano()
		c.RefreshAt, c.WaitAt = c.Expiry-int64(before), c.Expiry-int64(wait)
	}
	return c
}

// margins returns how long before its expiry the token is refreshed, and how
// long before it callers wait for that.
func (s *TokenSource) margins(t *Token) (before, wait time.Duration) {
	before = min(s.auth.config.RefreshBefore, t.lifetime()/4)
	return before, min(before, mostWait, t.lifetime()/10)
}

// Save stores the token of a sign-in, in place of any other.
func (s *TokenSource) Save(ctx context.Context, token *Token) error {
	if token == nil || token.AccessToken == "" && token.RefreshToken == "" {
		return &Error{Op: "token", Err: fmt.Errorf("AccessToken %w", errEmpty)}
	}
	return s.change(ctx, token.clone())
}

// Forget deletes the stored token. The server still accepts the access token
// until it expires, and the refresh token until it is revoked.
func (s *TokenSource) Forget(ctx context.Context) error { return s.change(ctx, nil) }

func (s *TokenSource) change(ctx context.Context, token *Token) error {
	var err error
	ctx = logging.With(ctx, s.auth.logger)
	if store, ok := s.store.(replacer); ok {
		err = store.Replace(ctx, token)
	} else {
		err = s.store.Update(ctx, func(context.Context, *Token) (*Token, error) { return token, nil })
	}
	if err != nil {
		return ofStore(err)
	}
	s.keeper.Replace(s.moments(token))
	return nil
}

// ofStore returns an *Error for what a store returned.
func ofStore(err error) error {
	var e *Error
	if errors.As(err, &e) {
		return err
	}
	return &Error{Op: "token", Err: err}
}

// Invalidate tells the source that an API refused the token before its expiry.
// The next token is another one: one that was stored meanwhile, or a refreshed
// one. [ErrSignInRequired] means that the server refuses the refresh token too;
// the stored token is then deleted. A token that was refreshed only moments ago
// is not refreshed again; the error has a RetryAfter. If the stored token is
// another person's, the error is [ErrSubjectMismatch].
func (s *TokenSource) Invalidate(ctx context.Context, rejected *Token) error {
	if rejected == nil || rejected.AccessToken == "" {
		return &Error{Op: "token", Err: fmt.Errorf("AccessToken %w", errEmpty)}
	}
	_, err := s.replacement(ctx, rejected)
	return err
}

// replacement returns a token of the same person, in place of one that an API
// refused.
func (s *TokenSource) replacement(ctx context.Context, rejected *Token) (*Token, error) {
	token, err := s.get(ctx, rejected.AccessToken)
	if err != nil {
		return nil, err
	}
	issuer, subject := oidc.Person(rejected.IDToken)
	if newIssuer, newSubject := oidc.Person(token.IDToken); subject != "" && (newIssuer != issuer || newSubject != subject) {
		return nil, &Error{Op: "token", Err: fmt.Errorf("the token that is stored now %w than the one before", ErrSubjectMismatch)}
	}
	return token, nil
}

// UserInfo returns the profile of the person whose token it is, as
// [Authenticator.UserInfo] does. If the server refuses the token with 401,
// UserInfo replaces it, as [TokenSource.Invalidate] does, and asks once more.
func (s *TokenSource) UserInfo(ctx context.Context) (*User, error) {
	token, err := s.Token(ctx)
	if err != nil {
		return nil, err
	}
	user, err := s.auth.UserInfo(ctx, token)
	if !errors.Is(err, &Error{StatusCode: 401}) {
		return user, err
	}
	next, cause := s.replacement(ctx, token)
	switch {
	case cause == nil:
		return s.auth.UserInfo(ctx, next)
	case errors.Is(cause, ErrSignInRequired) || errors.Is(cause, ErrSubjectMismatch):
		return nil, cause
	}
	return nil, err // the first error explains the problem better
}

// Format prints nothing of the token, for every verb.
func (s *TokenSource) Format(f fmt.State, _ rune) { _, _ = fmt.Fprint(f, "TokenSource") }

// OAuth2 adapts s to libraries that need an [oauth2.TokenSource], until ctx
// ends. Its tokens have no refresh token, because only s may use that.
func (s *TokenSource) OAuth2(ctx context.Context) oauth2.TokenSource { return oauth2Source{ctx, s} }

type oauth2Source struct {
	ctx    context.Context //nolint:containedctx // the interface has no other place for it
	source *TokenSource
}

// Format prints nothing of the token, for every verb.
func (o oauth2Source) Format(f fmt.State, verb rune) { o.source.Format(f, verb) }

func (o oauth2Source) Token() (*oauth2.Token, error) {
	t, err := o.source.Token(o.ctx)
	if err != nil {
		return nil, err
	}
	return &oauth2.Token{AccessToken: t.AccessToken, TokenType: t.TokenType, Expiry: t.Expiry}, nil
}

// readable returns the token without its ID token if that can't be read,
// because it would make every later refresh fail.
func readable(t *Token) *Token {
	if t != nil && t.IDToken != "" {
		if _, err := oidc.Parse(t.IDToken); err != nil {
			t.IDToken = ""
		}
	}
	return t
}

// MemoryStore is a [TokenStore] in memory; its token is lost when the process
// ends. The zero value is empty and ready to use. It must not be copied.
type MemoryStore struct {
	turn  atomic.Pointer[chan struct{}] // the update in progress closes it; nil if there is none
	token atomic.Pointer[Token]
}

// Load returns a copy of the token, or [ErrNoToken].
func (m *MemoryStore) Load(ctx context.Context) (*Token, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	t := m.token.Load().clone()
	if t == nil {
		return nil, ErrNoToken
	}
	return t, nil
}

// Update runs fn with a copy of the token, one call at a time, and keeps a copy
// of its result.
func (m *MemoryStore) Update(ctx context.Context, fn func(context.Context, *Token) (*Token, error)) error {
	for done := make(chan struct{}); !m.turn.CompareAndSwap(nil, &done); {
		if err := ctx.Err(); err != nil {
			return err
		}
		if other := m.turn.Load(); other != nil {
			select {
			case <-*other:
			case <-ctx.Done():
			}
		}
	}
	defer func() { close(*m.turn.Swap(nil)) }()
	if err := ctx.Err(); err != nil {
		return err
	}
	t, err := fn(ctx, m.token.Load().clone())
	if err != nil {
		return err
	}
	m.token.Store(t.clone())
	return nil
}

// Format prints nothing of the token, for every verb.
func (m *MemoryStore) Format(f fmt.State, _ rune) { _, _ = fmt.Fprint(f, "MemoryStore") }
