package piecesauth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/oauth2"
)

// TokenStore keeps one token, for as many goroutines and processes as share
// it. Package tokenfile is one, [MemoryStore] another; the function TestStore
// of package piecesauthtest is the test for any other.
type TokenStore interface {
	// Load gives the token, which is the caller's to change, or an error that
	// is [ErrNoToken]. It does not wait for an Update.
	Load(ctx context.Context) (*Token, error)
	// Update runs fn with the stored token, nil where there is none, alone
	// among all who share the store, and stores its result before it returns;
	// nil deletes. An error of fn is returned as it is, and leaves the store as
	// it was. The context bounds the wait for others, not the storing.
	Update(ctx context.Context, fn func(context.Context, *Token) (*Token, error)) error
}

// Refresh redeems the refresh token of the previous token for a new one. Only
// RefreshToken has to be set. What the answer omits (refresh token, ID token,
// scopes) is carried over. A new ID token is checked as [Authenticator.Complete]
// does, and has to be of the same issuer, person and audience as the previous
// one (OpenID Connect Core §12.2).
//
// Servers rotate refresh tokens, and using an old one can revoke the whole
// sign-in: store the result before using it, or leave both to a [TokenSource].
// [ErrSignInRequired]: the refresh token is no longer good.
// [ErrUnknownOutcome]: it may be spent.
func (a *Authenticator) Refresh(ctx context.Context, previous *Token) (*Token, error) {
	const op = "refresh"
	if previous == nil || previous.RefreshToken == "" {
		return nil, &Error{Op: op, Err: fmt.Errorf("RefreshToken %w", errEmpty)}
	}
	fits := func(*claims) error { return nil }
	if previous.IDToken != "" {
		before, err := parseIDToken(previous.IDToken)
		if err != nil {
			return nil, &Error{Op: op, Err: fmt.Errorf("the previous token: %w", err)}
		}
		fits = func(c *claims) error { return c.continues(&before.claims) }
	}
	if err := a.loadKeys(ctx); err != nil {
		return nil, err // before the refresh token is spent
	}
	token, err := a.exchange(ctx, op, TokenizedPKCE{GrantType: GrantTypeRefreshToken, RefreshToken: previous.RefreshToken},
		previous.AccessToken, previous.IDToken)
	if err != nil {
		return nil, err
	}
	fill(&token.RefreshToken, previous.RefreshToken)
	if len(token.Scopes) == 0 {
		token.Scopes = slices.Clone(previous.Scopes)
	}
	if token.IDToken == "" {
		token.IDToken, token.claims = previous.IDToken, previous.claims
	} else if err := a.checkIDToken(ctx, op, token, fits); err != nil {
		return nil, err
	}
	return token, nil
}

// TokenSource hands out a valid access token, refreshing the stored one when
// it is about to expire. It is safe for concurrent use: however many callers
// and, with a shared store, processes there are, one refresh serves them all.
// Make one with [Authenticator.TokenSource].
type TokenSource struct {
	auth  *Authenticator
	store TokenStore

	current atomic.Pointer[held] // the latest token known, nil before the first

	flight  atomic.Pointer[flight] // the refresh under way, nil when there is none
	mu      sync.Mutex             // to start a flight, end it, or change the token
	changes int                    // by Save and Forget, which a flight must not undo

	// Of the flight alone: a rotated token that could not be saved, and the
	// refresh token that it was got for.
	unsaved     *Token
	unsavedFrom string
}

type held struct {
	token *Token
	stale int64 // when it is, in nanoseconds of the wall clock
}

type flight struct {
	done  chan struct{} // closed when token and err are there
	token *Token
	err   error
}

// flightTimeout bounds the wait for other processes and the refresh itself.
const flightTimeout = 2 * callTimeout

// TokenSource gives a source of the token in the store, which is asked when a
// token is first needed. A nil store keeps the token in memory.
func (a *Authenticator) TokenSource(store TokenStore) *TokenSource {
	if store == nil {
		store = new(MemoryStore)
	}
	return &TokenSource{auth: a, store: store}
}

// Token gives a valid token, which several callers may share: don't change it.
// When the token is within [Config.RefreshBefore] of its expiry, it is
// refreshed, saved, and only then handed out. The refresh goes on, for a minute
// at most, if the caller's context ends: others may wait for it, and what it
// spends must not get lost.
//
// A token that was refreshed but could not be saved is an error; it is kept,
// and saved first thing next time. [ErrSignInRequired]: nothing is stored, or
// what is stored is no longer good. No failure is remembered: the next call
// tries again, even after [ErrUnknownOutcome], for there is no other way on.
func (s *TokenSource) Token(ctx context.Context) (*Token, error) {
	if h := s.current.Load(); h != nil && time.Now().UnixNano() < h.stale {
		return h.token, nil
	}
	return s.join(ctx, "")
}

// join waits for the refresh that is under way, or a new one. A token whose
// access token was rejected by an API will not do, whatever its expiry.
func (s *TokenSource) join(ctx context.Context, rejected string) (*Token, error) {
	if err := ctx.Err(); err != nil {
		return nil, &Error{Op: "token", Err: err}
	}
	f := s.flight.Load()
	if f == nil {
		s.mu.Lock()
		if h := s.current.Load(); h != nil && time.Now().UnixNano() < h.stale && h.token.AccessToken != rejected {
			s.mu.Unlock()
			return h.token, nil
		}
		if f = s.flight.Load(); f == nil {
			f = &flight{done: make(chan struct{})}
			s.flight.Store(f)
			go s.fly(context.WithoutCancel(ctx), f, s.changes, rejected)
		}
		s.mu.Unlock()
	}
	select {
	case <-f.done:
		return f.token, f.err
	case <-ctx.Done():
		return nil, &Error{Op: "token", Err: ctx.Err()}
	}
}

// fly gets a token and tells those who wait.
func (s *TokenSource) fly(ctx context.Context, f *flight, changes int, rejected string) {
	ctx, cancel := context.WithTimeout(ctx, flightTimeout)
	defer cancel()
	f.err = &Error{Op: "token", Err: errors.New("the store did not return")} // as where a test of it ends
	defer func() {
		s.mu.Lock()
		if f.err == nil && s.changes == changes {
			s.hold(f.token)
		}
		s.flight.Store(nil)
		s.mu.Unlock()
		close(f.done)
	}()
	f.token, f.err = s.fresh(ctx, rejected)
}

// hold remembers the token; the caller has s.mu.
func (s *TokenSource) hold(t *Token) {
	if t == nil || t.AccessToken == "" {
		s.current.Store(nil)
		return
	}
	h := &held{token: t, stale: 1<<63 - 1}
	if !t.Expiry.IsZero() {
		h.stale = t.Expiry.Add(-s.auth.config.RefreshBefore).UnixNano()
	}
	s.current.Store(h)
}

// fresh gives a token that will do for a while: the store's, or a new one.
func (s *TokenSource) fresh(ctx context.Context, rejected string) (*Token, error) {
	if err := s.saveUnsaved(ctx); err != nil {
		return nil, err
	}
	usable := func(t *Token) bool {
		return t.validFor(s.auth.config.RefreshBefore) && t.AccessToken != rejected
	}
	if t, err := s.store.Load(ctx); err == nil && usable(t) {
		return t, nil
	}
	var (
		token *Token // to hand out
		got   *Token // by a refresh, for the refresh token used
		used  string
	)
	update := func(ctx context.Context, stored *Token) (_ *Token, err error) {
		token = stored
		switch {
		case stored == nil:
			return nil, ErrNoToken
		case usable(stored): // by another process, while this one waited
			return stored, nil
		case stored.RefreshToken == "" && stored.Valid() && stored.AccessToken != rejected: // as good as it gets
			return stored, nil
		case stored.RefreshToken == "":
			return nil, ErrSignInRequired
		case got == nil || stored.RefreshToken != used: // else the store runs this again, its first save having failed
			used = stored.RefreshToken
			if got, err = s.auth.Refresh(ctx, stored); err != nil {
				return nil, err
			}
		}
		token = got
		return got, nil
	}
	err := s.store.Update(ctx, update)
	if errors.Is(err, &Error{Code: "invalid_grant"}) {
		// Somebody who keeps no lock may have refreshed it meanwhile.
		if t, lerr := s.store.Load(ctx); lerr == nil && t.RefreshToken != used {
			err = s.store.Update(ctx, update)
		}
	}
	if err == nil {
		return token, nil
	}
	if got != nil {
		s.unsaved, s.unsavedFrom = got, used
	}
	var e *Error
	if !errors.As(err, &e) {
		err = &Error{Op: "token", Err: err}
	}
	return nil, err
}

// saveUnsaved saves what could not be saved before, unless the stored token is
// no longer the one that it follows.
func (s *TokenSource) saveUnsaved(ctx context.Context) error {
	if s.unsaved == nil {
		return nil
	}
	err := s.store.Update(ctx, func(_ context.Context, stored *Token) (*Token, error) {
		if stored != nil && stored.RefreshToken == s.unsavedFrom {
			return s.unsaved, nil
		}
		return stored, nil
	})
	if err != nil {
		return &Error{Op: "token", Err: err}
	}
	s.unsaved = nil
	return nil
}

// Save stores the token that a sign-in gave, in place of any other.
func (s *TokenSource) Save(ctx context.Context, token *Token) error {
	if token == nil || token.AccessToken == "" && token.RefreshToken == "" {
		return &Error{Op: "token", Err: fmt.Errorf("AccessToken %w", errEmpty)}
	}
	return s.change(ctx, token.clone())
}

// Forget deletes the stored token. The server still takes it until it expires.
func (s *TokenSource) Forget(ctx context.Context) error { return s.change(ctx, nil) }

func (s *TokenSource) change(ctx context.Context, token *Token) error {
	err := s.store.Update(ctx, func(context.Context, *Token) (*Token, error) { return token, nil })
	if err != nil {
		return &Error{Op: "token", Err: err}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.changes++
	s.hold(token)
	return nil
}

// OAuth2 adapts s to libraries that take an [oauth2.TokenSource], for as long
// as ctx lasts. The tokens it gives have no refresh token, which only s may use.
func (s *TokenSource) OAuth2(ctx context.Context) oauth2.TokenSource { return oauth2Source{ctx, s} }

type oauth2Source struct {
	ctx    context.Context //nolint:containedctx // the interface has no other place for it
	source *TokenSource
}

func (o oauth2Source) Token() (*oauth2.Token, error) {
	t, err := o.source.Token(o.ctx)
	if err != nil {
		return nil, err
	}
	return &oauth2.Token{AccessToken: t.AccessToken, TokenType: t.TokenType, Expiry: t.Expiry}, nil
}

// Client gives an HTTP client for calling APIs: a copy of base, or of
// [http.DefaultClient] where base is nil, that sends the access token as bearer.
// On a 401 it refreshes the token once and repeats the request, if the body can
// be had again. It sends no token over http, but to this machine, nor to
// another host that a redirect leads to.
func (s *TokenSource) Client(base *http.Client) *http.Client {
	var c http.Client
	if base != nil {
		c = *base
	}
	next := c.Transport
	if next == nil {
		next = http.DefaultTransport
	}
	c.Transport = &bearer{source: s, next: next}
	return &c
}

type bearer struct {
	source *TokenSource
	next   http.RoundTripper
}

func (b *bearer) RoundTrip(req *http.Request) (*http.Response, error) {
	first := req
	for first != nil && first.Response != nil {
		first = first.Response.Request // which was redirected to req; nil where a transport doesn't say
	}
	if first == nil || first.URL.Host != req.URL.Host || first.URL.Scheme != req.URL.Scheme {
		return b.next.RoundTrip(req)
	}
	token, err := (*Token)(nil), checkSecure(req.URL)
	if err != nil {
		err = &Error{Op: "token", Err: fmt.Errorf("the URL %w", err)}
	} else {
		token, err = b.source.Token(req.Context())
	}
	if err != nil {
		if req.Body != nil {
			_ = req.Body.Close()
		}
		return nil, err
	}
	resp, err := b.next.RoundTrip(withBearer(req, token))
	if err != nil || resp.StatusCode != http.StatusUnauthorized || req.Body != nil && req.Body != http.NoBody && req.GetBody == nil {
		return resp, err
	}
	renewed, err := b.source.join(req.Context(), token.AccessToken)
	if err != nil || renewed.AccessToken == token.AccessToken {
		if errors.Is(err, ErrSignInRequired) {
			_ = resp.Body.Close()
			return nil, err
		}
		return resp, nil // which says what is wrong better
	}
	again := withBearer(req, renewed)
	if req.GetBody != nil {
		if again.Body, err = req.GetBody(); err != nil {
			return resp, nil //nolint:nilerr // likewise
		}
	}
	_ = resp.Body.Close()
	return b.next.RoundTrip(again)
}

func withBearer(req *http.Request, t *Token) *http.Request {
	req = req.Clone(req.Context())
	req.Header.Set("Authorization", "Bearer "+t.AccessToken)
	return req
}

// MemoryStore is a [TokenStore] in memory, for as long as the process lasts.
// The zero value is empty and ready for use; it must not be copied.
type MemoryStore struct {
	once  sync.Once
	turn  chan struct{} // holds one item while nobody updates
	token atomic.Pointer[Token]
}

// Load gives a copy of the token, or [ErrNoToken].
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
	m.once.Do(func() {
		m.turn = make(chan struct{}, 1)
		m.turn <- struct{}{}
	})
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case <-m.turn:
		defer func() { m.turn <- struct{}{} }()
	case <-ctx.Done():
		return ctx.Err()
	}
	t, err := fn(ctx, m.token.Load().clone())
	if err != nil {
		return err
	}
	m.token.Store(t.clone())
	return nil
}
