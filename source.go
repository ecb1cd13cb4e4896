package piecesauth

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/oauth2"

	"github.com/piecesauth/piecesauth/internal/exchange"
	"github.com/piecesauth/piecesauth/internal/oidc"
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
	firstHold      = 30 * time.Second     // before something that failed is tried again, doubled each time
	mostHold       = 15 * time.Minute
	warmTimeout    = 3 * time.Second
	besideHold     = 5 * time.Second // the same for a refresh that nobody waits for
)

// TokenSource hands out a valid access token, refreshing the stored one when
// it is about to expire. It is safe for concurrent use: however many callers
// and, with a shared store, processes there are, one refresh serves them all.
// Make one with [Authenticator.TokenSource].
type TokenSource struct {
	auth  *Authenticator
	store TokenStore

	current atomic.Pointer[currentToken] // the latest token known, nil before the first
	refresh atomic.Pointer[refreshRun]   // the refresh under way, nil where there is none
	mu      sync.Mutex                   // to start a refresh, end it, or change what follows
	changes int                          // by Save and Forget, which a refresh must not undo
	failed  *failedRefresh               // the last one, nil where it went well

	// Of the refresh under way alone:
	unsaved     *unsavedToken // nil where there is none
	lastRefresh time.Time
	rejections  int // refreshes that an API's refusal caused, one soon after the other
	rejectedAt  time.Time
}

// currentToken is a token with the moments that matter, in nanoseconds of the
// wall clock.
type currentToken struct {
	token     *Token
	refreshAt int64 // from when on it is refreshed, while callers still get it
	waitAt    int64 // from when on callers wait for the refresh
	expiry    int64
}

// unsavedToken is a token that could not be saved.
type unsavedToken struct {
	token *Token
	from  string // the refresh token that it was had for
}

func (c *currentToken) good(now int64, rejected string) bool {
	return c != nil && now < c.expiry && (rejected == "" || c.token.AccessToken != rejected)
}

// patience ends when it is time to take the token as it is.
func (c *currentToken) patience() <-chan time.Time {
	return time.After(time.Duration(c.expiry-time.Now().UnixNano()) / 2)
}

// refreshRun is one refresh, for all who wait for it.
type refreshRun struct {
	rejected string        // the access token that an API refused, if that is the reason
	done     chan struct{} // closed when the others are set
	token    *Token
	err      error
	again    bool // look once more: there is a token that is good meanwhile
}

// errNotReturned is of a refresh whose store never returned, as where a test of
// it ends.
var errNotReturned = &Error{Op: "token", Err: errors.New("the store did not return")}

// failedRefresh is what is remembered, lest it be sent again and again.
type failedRefresh struct {
	refreshToken string // another one is tried at once
	err          error
	until        time.Time // zero: until another one is stored
	pauses       int       // one after the other
	held         bool      // also where no token is at hand that would do
}

func (f *failedRefresh) holds(refreshToken string, now time.Time) bool {
	return f != nil && f.refreshToken == refreshToken && (f.until.IsZero() || now.Before(f.until))
}

// TokenSource returns a source of the token in the store, which is asked when a
// token is first needed. A nil store keeps the token in memory.
func (a *Authenticator) TokenSource(store TokenStore) *TokenSource {
	if store == nil {
		store = new(MemoryStore)
	}
	return &TokenSource{auth: a, store: store}
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
	if c := s.current.Load(); c != nil && time.Now().UnixNano() < c.refreshAt {
		return c.token, nil
	}
	return s.get(ctx, "")
}

// get returns a token other than the one whose access token was rejected.
func (s *TokenSource) get(ctx context.Context, rejected string) (*Token, error) {
	for {
		now := time.Now()
		c := s.current.Load()
		good := c.good(now.UnixNano(), rejected)
		if good && (now.UnixNano() < c.refreshAt || s.holdsOff(c.token, now)) {
			return c.token, nil
		}
		if err := ctx.Err(); err != nil {
			if good {
				return c.token, nil
			}
			return nil, &Error{Op: "token", Err: err}
		}
		run := s.join(ctx, rejected)
		if good && now.UnixNano() < c.waitAt {
			return c.token, nil
		}
		if !good {
			c = nil
		}
		if token, err := s.await(ctx, run, c, rejected); err != nil || token != nil {
			return token, err
		}
	}
}

// holdsOff reports whether a refresh of the token failed so lately that it
// isn't worth another one yet.
func (s *TokenSource) holdsOff(t *Token, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failed.holds(t.RefreshToken, now)
}

// join returns the refresh that is under way, or starts one.
func (s *TokenSource) join(ctx context.Context, rejected string) *refreshRun {
	if run := s.refresh.Load(); run != nil {
		return run
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if run := s.refresh.Load(); run != nil {
		return run
	}
	run := &refreshRun{rejected: rejected, done: make(chan struct{})}
	if c := s.current.Load(); c.good(time.Now().UnixNano(), rejected) && time.Now().UnixNano() < c.refreshAt {
		run.token = c.token // of a refresh that ended just now
		close(run.done)
		return run
	}
	s.refresh.Store(run)
	go s.run(context.WithoutCancel(ctx), run, s.changes)
	return run
}

// await waits for the refresh, but no longer than the token at hand, if there
// is one, is good for. It returns nothing where there is to look once more.
func (s *TokenSource) await(ctx context.Context, run *refreshRun, atHand *currentToken, rejected string) (*Token, error) {
	var tooLong <-chan time.Time
	if atHand != nil {
		tooLong = atHand.patience()
	}
	if tooLong == nil && ctx.Done() == nil {
		<-run.done // which of many callers costs less than a select
	}
	select {
	case <-run.done:
	case <-tooLong:
		return atHand.token, nil
	case <-ctx.Done():
		if c := s.current.Load(); c.good(time.Now().UnixNano(), rejected) {
			return c.token, nil
		}
		return nil, &Error{Op: "token", Err: ctx.Err()}
	}
	if run.again {
		return nil, nil
	}
	switch c := s.current.Load(); {
	case run.err == nil && (rejected == "" || run.token.AccessToken != rejected):
		return run.token, nil
	case c.good(time.Now().UnixNano(), rejected):
		return c.token, nil
	case run.rejected != rejected:
		return nil, nil
	case run.err == nil: // can't be: a refresh doesn't return what it replaces
		return nil, &Error{Op: "token", Err: errRejectedLately}
	}
	return nil, run.err
}

// run gets a token and tells those who wait.
func (s *TokenSource) run(ctx context.Context, run *refreshRun, changes int) {
	ctx, cancel := context.WithTimeout(ctx, refreshTimeout)
	defer cancel()
	run.err = errNotReturned
	defer func() {
		if p := recover(); p != nil {
			run.token, run.err = nil, &Error{Op: "token", Err: panicCause(p)}
		}
		s.mu.Lock()
		if run.err == nil && s.changes == changes {
			s.setCurrent(run.token)
		}
		s.refresh.Store(nil)
		s.mu.Unlock()
		close(run.done)
	}()
	found := func(t *Token) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.changes == changes {
			s.setCurrent(t)
		}
		looked := run
		run = &refreshRun{rejected: looked.rejected, done: make(chan struct{}), err: errNotReturned}
		s.refresh.Store(run)
		looked.again = true
		close(looked.done)
	}
	token, err := s.renewed(ctx, run.rejected, found)
	run.token, run.err = token, err
}

// panicCause makes an error of a panic of a store or a transport, without what
// the panic may repeat.
func panicCause(p any) error {
	if err, ok := p.(runtime.Error); ok {
		return fmt.Errorf("the store or the transport panicked: %s", exchange.Printable(err.Error()))
	}
	return fmt.Errorf("the store or the transport panicked with a %T", p)
}

// setCurrent remembers the token; the caller has s.mu.
func (s *TokenSource) setCurrent(t *Token) {
	if t == nil || t.AccessToken == "" {
		s.current.Store(nil)
		return
	}
	c := &currentToken{token: t, refreshAt: 1<<63 - 1, waitAt: 1<<63 - 1, expiry: 1<<63 - 1}
	if !t.Expiry.IsZero() {
		before, wait := s.margins(t)
		c.expiry = t.Expiry.UnixNano()
		c.refreshAt, c.waitAt = c.expiry-int64(before), c.expiry-int64(wait)
	}
	s.current.Store(c)
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
	s.mu.Lock()
	defer s.mu.Unlock()
	s.changes++
	s.failed = nil
	s.setCurrent(token)
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
	issuer, subject := rejected.person()
	if newIssuer, newSubject := token.person(); subject != "" && (newIssuer != issuer || newSubject != subject) {
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
