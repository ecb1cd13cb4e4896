package piecesauth

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/piecesauth/piecesauth/internal/logging"
	"github.com/piecesauth/piecesauth/internal/refreshing"
)

// What one refresh of a [TokenSource] does, from the store and back to it.

var errRejectedLately = errors.New("an API refused a token that was obtained moments ago, so it is not refreshed again yet")

// renew returns a token that will last for a while: the stored one, or a new
// one. It passes found the token that is valid meanwhile.
func (s *TokenSource) renew(ctx context.Context, rejected string, found func(*refreshing.Current[Token])) (*refreshing.Current[Token], error) {
	ctx, cancel := context.WithTimeout(logging.With(ctx, s.auth.logger), refreshTimeout)
	defer cancel()
	if err := s.saveUnsaved(ctx); err != nil {
		return nil, err
	}
	if stored, err := s.store.Load(ctx); err == nil {
		switch stored = readable(stored); {
		case s.willDo(stored, rejected):
			return s.moments(stored), nil
		case s.auth.checkOrigin("the stored token", stored.BaseURL, stored.ClientID) == nil && stored.Valid() && stored.AccessToken != rejected:
			found(s.moments(stored))
		}
	}
	s.warmKeys(ctx)
	u := &update{source: s, rejected: rejected}
	err := u.run(ctx)
	if errors.Is(err, &Error{Code: "invalid_grant"}) {
		err = s.afterInvalidGrant(ctx, u, err)
	}
	if err == nil && u.refused == nil {
		s.remember(u, nil)
		return s.moments(u.token), nil
	}
	if err != nil && u.got != nil {
		s.unsaved = &unsavedToken{u.got, u.used}
	}
	if err == nil {
		err = u.refused
		if u.got == nil {
			s.keeper.Drop(u.token.AccessToken)
		}
	}
	s.remember(u, err)
	return nil, ofStore(err)
}

// willDo reports whether the token needs no refresh.
func (s *TokenSource) willDo(t *Token, rejected string) bool {
	if t.AccessToken == "" || t.AccessToken == rejected || s.auth.checkOrigin("", t.BaseURL, t.ClientID) != nil {
		return false
	}
	before, _ := s.margins(t)
	return t.left(time.Now()) > before
}

// update is one transaction with the store.
type update struct {
	source   *TokenSource
	rejected string

	token   *Token // to return
	got     *Token // from a refresh, to be stored
	used    string // the refresh token that was redeemed for it
	refused error  // why nothing is returned although got is stored
	sent    bool
}

// run calls the store with fn. It turns a panic into an error, so that what was
// obtained before it is kept.
func (u *update) run(ctx context.Context) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &Error{Op: "token", Err: refreshing.PanicCause(p)}
		}
	}()
	store, ok := u.source.store.(updater)
	if !ok {
		return u.source.store.Update(ctx, u.fn)
	}
	return store.UpdateUnless(ctx, func(t *Token) bool {
		if t = readable(t); t == nil || !u.source.willDo(t, u.rejected) {
			return false
		}
		u.token = t
		return true
	}, u.fn)
}

// warmKeys fetches keys that the refresh will need, before others have to wait
// for it. If that fails, the refresh goes ahead regardless.
func (s *TokenSource) warmKeys(ctx context.Context) {
	if s.auth.issuer == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, warmTimeout)
	defer cancel()
	_ = s.auth.issuer.Prepare(ctx)
}

// fn is the function that the store runs under its lock, possibly once more if
// its first attempt to save failed.
func (u *update) fn(ctx context.Context, stored *Token) (*Token, error) {
	s := u.source
	if stored = readable(stored); stored == nil {
		return nil, ErrNoToken
	}
	if err := s.auth.checkOrigin("the stored token", stored.BaseURL, stored.ClientID); err != nil {
		return nil, &Error{Op: "token", Err: err, signIn: true}
	}
	u.token = stored
	switch {
	case s.willDo(stored, u.rejected): // by another process, while this one waited
		return stored, nil
	case stored.RefreshToken == "" && stored.Valid() && stored.AccessToken != u.rejected: // as good as it gets
		return stored, nil
	case stored.RefreshToken == "":
		return nil, ErrSignInRequired
	case u.got != nil && stored.RefreshToken == u.used:
		u.token = u.got
		return u.got, nil
	}
	if err := s.mayRefresh(stored, u.rejected); err != nil {
		return nil, err
	}
	if err := s.keeper.Commit(); err != nil {
		return nil, err
	}
	u.used, u.sent = stored.RefreshToken, true
	token, err := s.auth.Refresh(ctx, stored)
	if err == nil {
		u.token, u.got = token, token
		return token, nil
	}
	var e *Error
	switch {
	case !errors.As(err, &e):
		return nil, err
	case e.Token != nil && e.Token.RefreshToken != "": // not to be handed out, but the old one is spent
		kept, refused := stored.clone(), *e
		kept.RefreshToken, refused.Token = e.Token.RefreshToken, nil
		u.got, u.refused = kept, &refused
		return kept, nil
	case e.signIn && e.unknownOutcome: // answered for another person
		u.refused = err
		return nil, nil
	}
	return nil, err
}

// mayRefresh returns why the stored token may not be refreshed just now, or
// nil.
func (s *TokenSource) mayRefresh(stored *Token, rejected string) error {
	if err := s.keeper.Failure(stored.RefreshToken); err != nil {
		return err
	}
	if rejected == "" || stored.AccessToken != rejected {
		return nil
	}
	if wait := s.keeper.Rejected(); wait > 0 {
		return &Error{Op: "token", RetryAfter: wait, Err: errRejectedLately}
	}
	return nil
}

// afterInvalidGrant checks whether a process that takes no lock has refreshed
// the token meanwhile. If not, and an API refused the access token too, the
// sign-in is over and it deletes the stored token.
func (s *TokenSource) afterInvalidGrant(ctx context.Context, u *update, refusal error) error {
	stored, err := s.store.Load(ctx)
	switch {
	case err != nil:
		return refusal
	case u.used != "" && stored.RefreshToken != u.used:
		return u.run(ctx)
	case u.rejected == "" || stored.AccessToken != u.rejected:
		return refusal
	}
	err = s.store.Update(ctx, func(_ context.Context, now *Token) (*Token, error) {
		if now != nil && now.RefreshToken == stored.RefreshToken && now.AccessToken == u.rejected {
			return nil, nil
		}
		return now, nil
	})
	if err != nil {
		return errors.Join(refusal, fmt.Errorf("the token could not be deleted: %w", err))
	}
	s.keeper.Drop(u.rejected)
	return refusal
}

// remember records the result of a refresh, and for how long the next one is
// not tried.
func (s *TokenSource) remember(u *update, err error) {
	if err == nil {
		if u.sent {
			s.auth.logger.Debug("piecesauth: refreshed the token", "expiry", u.token.Expiry)
		}
		s.keeper.Succeeded(u.sent)
		return
	}
	if !u.sent {
		return
	}
	f := refreshing.Failure{Used: u.used, Next: u.used, Err: err}
	if u.got != nil {
		f.Next = u.got.RefreshToken
	}
	var e *Error
	_ = errors.As(err, &e)
	switch {
	case u.refused != nil && u.got != nil:
		f.Lasts = refreshing.Doubling
	case errors.Is(err, ErrSignInRequired):
		f.Lasts = refreshing.Forever
	case e != nil && e.RetryAfter > 0:
		f.Lasts, f.After = refreshing.AsAsked, e.RetryAfter
	}
	until := s.keeper.Failed(f)
	s.auth.logger.Debug("piecesauth: a refresh failed", "reason", err, "until", until)
}

// saveUnsaved saves what could not be saved before, unless the stored token is
// no longer the one that it replaces.
func (s *TokenSource) saveUnsaved(ctx context.Context) error {
	if s.unsaved == nil {
		return nil
	}
	err := s.store.Update(ctx, func(_ context.Context, stored *Token) (*Token, error) {
		if stored != nil && stored.RefreshToken == s.unsaved.from {
			return s.unsaved.token, nil
		}
		return stored, nil
	})
	if err != nil {
		return ofStore(err)
	}
	s.unsaved = nil
	return nil
}
