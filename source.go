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
	"github.com/piecesauth/piecesauth/internal/oidc"
	"github.com/piecesauth/piecesauth/internal/refreshing"
)

// TokenStore keeps one token, for as many goroutines and processes as share
// it. Package tokenfile is one, [MemoryStore] another; the function TestStore
// of package piecesauthtest is the test for any other.
//
// A store may have a third method, Replace(ctx, *Token) error, which stores the
// token, or deletes what is stored where it is nil, without reading what is
// there: [TokenSource.Save] and [TokenSource.Forget] use it, so that what can't
// be read is mended by signing in or out. A fourth, UpdateUnless(ctx, enough,
// fn), is Update for a store that has to wait long for others: it returns nil,
// without running fn, once it reads a token that is enough.
type TokenStore interface {
	// Load returns the token, which is the caller's to change, or an error that
	// is [ErrNoToken]. It does not wait for an Update.
	Load(ctx context.Context) (*Token, error)
	// Update runs fn with the stored token, nil where there is none, alone
	// among all who share the store, and stores its result before it returns;
	// nil deletes. An error of fn is returned as it is, and leaves the store as
	// it was. The context bounds the wait for others, not the storing.
	Update(ctx context.Context, fn func(context.Context, *Token) (*Token, error)) error
}

// updater is a TokenStore that asks enough about each token that it reads while
// it waits for others, and returns without running fn once one will do.
type updater interface {
	UpdateUnless(ctx context.Context, enough func(*Token) bool, fn func(context.Context, *Token) (*Token, error)) error
}

// replacer is a TokenStore that can write without reading.
type replacer interface {
	Replace(ctx context.Context, token *Token) error
}

const (
	refreshTimeout = 2 * exchange.Timeout // of the wait for other processes and the refresh itself
	mostWait       = 30 * time.Second     // left of a token whose callers wait for the next one
	warmTimeout    = 3 * time.Second
)

// TokenSource hands out a valid access token, refreshing the stored one when
// it is about to expire. It is safe for concurrent use: however many callers
// and, with a shared store, processes there are, one refresh serves them all.
// Make one with [Authenticator.TokenSource].
type TokenSource struct {
	auth  *Authenticator
	store TokenStore

	keeper  refreshing.Keeper[Token]
	unsaved *unsavedToken // of the refresh under way alone; nil where there is none
}

// unsavedToken is a token that could not be saved.
type unsavedToken struct {
	token *Token
	from  string // the refresh token that it was had for
}

// TokenSource returns a source of the token in the store, which is asked when a
// token is first needed. A nil store keeps the token in memory.
func (a *Authenticator) TokenSource(store TokenStore) *TokenSource {
	if store == nil {
		store = new(MemoryStore)
	}
	s := &TokenSource{auth: a, store: store}
	s.keeper.Renew, s.keeper.Names = s.renew, tokenNames
	return s
}

// Token returns a valid token, which several callers may share: don't change it.
//
// Within [Config.RefreshBefore] of its expiry a token is refreshed, and the new
// one saved before anybody gets it. Nobody waits for that while the token at
// hand is good for more than 30 seconds, or a tenth of its lifetime if that is
// less. After that callers wait; where the refresh fails or takes too long,
// they get the token at hand until it expires. A refresh goes on, for a minute
// at most, if the caller's context ends: others may wait for it, and what it
// spends must not get lost.
//
// A server may end a token early, as some do when it is refreshed; tell
// [TokenSource.Invalidate] when an API refuses one. A token that was refreshed
// but could not be saved is an error; it is kept, and saved first thing next
// time. [ErrSignInRequired]: nothing is stored, or what is stored is no longer
// good, which is remembered until something else is stored. So are a
// Retry-After and an answer that was refused, until it is time to try again.
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

// tokenNames returns what a token is rejected by, and what it is refreshed with.
func tokenNames(t *Token) (access, refresh string) { return t.AccessToken, t.RefreshToken }

// moments returns the token with the moments that matter, nil where it is none.
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

// margins are how long before its expiry the token is refreshed, and how long
// before it callers wait for that.
func (s *TokenSource) margins(t *Token) (before, wait time.Duration) {
	before = min(s.auth.config.RefreshBefore, t.lifetime()/4)
	return before, min(before, mostWait, t.lifetime()/10)
}

// Save stores the token of a sign-in in place of any other.
func (s *TokenSource) Save(ctx context.Context, token *Token) error {
	if token == nil || token.AccessToken == "" && token.RefreshToken == "" {
		return &Error{Op: "token", Err: fmt.Errorf("AccessToken %w", errEmpty)}
	}
	return s.change(ctx, token.clone())
}

// Forget deletes the stored token. The server still takes it until it expires.
func (s *TokenSource) Forget(ctx context.Context) error { return s.change(ctx, nil) }

func (s *TokenSource) change(ctx context.Context, token *Token) error {
	var err error
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

// ofStore makes an Error of what a store returned.
func ofStore(err error) error {
	var e *Error
	if errors.As(err, &e) {
		return err
	}
	return &Error{Op: "token", Err: err}
}

// Invalidate says that an API refused the token, for all that its expiry says.
// The next token is another: the one that somebody else has stored meanwhile,
// or a refreshed one. [ErrSignInRequired]: the server takes the refresh token no
// more either, and the stored token is deleted. A token that was refreshed
// moments ago is not refreshed again, which is an error with RetryAfter; where
// the stored token is another person's, that is [ErrSubjectMismatch].
func (s *TokenSource) Invalidate(ctx context.Context, rejected *Token) error {
	if rejected == nil || rejected.AccessToken == "" {
		return &Error{Op: "token", Err: fmt.Errorf("AccessToken %w", errEmpty)}
	}
	_, err := s.replacement(ctx, rejected)
	return err
}

// replacement returns a token of the same person in place of one that an API
// refused.
func (s *TokenSource) replacement(ctx context.Context, rejected *Token) (*Token, error) {
	token, err := s.get(ctx, rejected.AccessToken)
	if err != nil {
		return nil, err
	}
	issuer, subject := oidc.Person(rejected.IDToken)
	if newIssuer, newSubject := oidc.Person(token.IDToken); subject != "" && (newIssuer != issuer || newSubject != subject) {
		return nil, &Error{Op: "token", Err: fmt.Errorf("the token that is stored now is %w than the one before", ErrSubjectMismatch)}
	}
	return token, nil
}

// UserInfo returns the profile of the person whose token it is, as
// [Authenticator.UserInfo] does. Where the server refuses the token with 401,
// it is replaced, as by [TokenSource.Invalidate], and the profile asked for
// once more.
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
	return nil, err // which says what is wrong better
}

// Format prints nothing of the token, whatever the verb.
func (s *TokenSource) Format(f fmt.State, _ rune) { _, _ = fmt.Fprint(f, "TokenSource") }

// OAuth2 adapts s to libraries that take an [oauth2.TokenSource], for as long
// as ctx lasts. Its tokens have no refresh token, which only s may use.
func (s *TokenSource) OAuth2(ctx context.Context) oauth2.TokenSource { return oauth2Source{ctx, s} }

type oauth2Source struct {
	ctx    context.Context //nolint:containedctx // the interface has no other place for it
	source *TokenSource
}

// Format prints nothing of the token, whatever the verb.
func (o oauth2Source) Format(f fmt.State, verb rune) { o.source.Format(f, verb) }

func (o oauth2Source) Token() (*oauth2.Token, error) {
	t, err := o.source.Token(o.ctx)
	if err != nil {
		return nil, err
	}
	return &oauth2.Token{AccessToken: t.AccessToken, TokenType: t.TokenType, Expiry: t.Expiry}, nil
}

// readable returns the token without an ID token that can't be read, which
// would be in everybody's way for ever.
func readable(t *Token) *Token {
	if t != nil && t.IDToken != "" {
		if _, err := oidc.Parse(t.IDToken); err != nil {
			t.IDToken = ""
		}
	}
	return t
}

// MemoryStore is a [TokenStore] in memory, for as long as the process lasts.
// The zero value is empty and ready for use; it must not be copied.
type MemoryStore struct {
	turn  atomic.Pointer[chan struct{}] // of the update under way, which closes it; nil while there is none
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

// Update runs fn alone, with a copy of the token, and keeps a copy of its result.
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

// Format prints nothing of the token, whatever the verb.
func (m *MemoryStore) Format(f fmt.State, _ rune) { _, _ = fmt.Fprint(f, "MemoryStore") }
