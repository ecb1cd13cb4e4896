package tokenkv

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"time"

	"github.com/piecesauth/piecesauth"
	"github.com/piecesauth/piecesauth/internal/logging"
	"github.com/piecesauth/piecesauth/seal"
)

// maxID is the maximum length of an id in bytes, which every database supports.
const maxID = 512

// Options are the options of [New].
type Options struct {
	// Sealer encrypts what is stored, separately for each id. If it is nil,
	// tokens are stored in the clear. Rows that were stored without a Sealer
	// can't be read with one.
	Sealer *seal.Sealer
	// Lease is how long a refresh that has died keeps others waiting: by
	// default 10 seconds, and at least one. A running refresh renews it.
	Lease time.Duration
}

// Tokens keeps the tokens of many people in a [DB]. Make one with [New]. It is
// safe for concurrent use.
type Tokens struct {
	db     DB
	sealer *seal.Sealer
	lease  time.Duration
	env    environment
}

// environment is what the algorithm needs from the machine.
type environment struct {
	mono   func(time.Time) time.Duration // how long ago, by the monotonic clock, which stops while the machine sleeps
	wall   func(time.Time) time.Duration // how long ago, by the wall clock, which can be set
	after  func(time.Duration) <-chan time.Time
	random func() string                                 // 128 random bits
	jitter func(least, most time.Duration) time.Duration // a random time between the two
}

// New returns a Tokens that keeps its rows in db.
func New(db DB, o Options) (*Tokens, error) {
	switch {
	case db == nil:
		return nil, errors.New("tokenkv: the DB is nil")
	case o.Lease == 0:
		o.Lease = 10 * time.Second
	case o.Lease < time.Second:
		return nil, errors.New("tokenkv: Lease is shorter than a second")
	}
	return &Tokens{db: db, sealer: o.Sealer, lease: o.Lease, env: environment{
		mono:   time.Since,
		wall:   func(t time.Time) time.Duration { return time.Now().Round(0).Sub(t.Round(0)) },
		after:  time.After,
		random: rand.Text,
		jitter: func(least, most time.Duration) time.Duration {
			return least + mathrand.N(most-least+1) //nolint:gosec // G404: when to ask again is no secret
		},
	}}, nil
}

// Store returns the store for one person's token, or for one session's. The id
// is the key of the row and is stored as it is: 1 to 512 bytes, preferably
// opaque, such as a session's id. A Store is cheap, so you can make one for each
// request.
//
// Besides the methods of [piecesauth.TokenStore], it has Replace, which writes
// without reading, and UpdateUnless, which returns without an update as soon as
// the stored token is enough. A [piecesauth.TokenSource] uses both.
func (t *Tokens) Store(id string) piecesauth.TokenStore {
	s := &store{Tokens: t, id: id}
	switch {
	case id == "":
		s.err = errors.New("tokenkv: the id is empty")
	case len(id) > maxID:
		s.err = fmt.Errorf("tokenkv: the id has %d bytes; at most %d may be", len(id), maxID)
	}
	return s
}

type store struct {
	*Tokens

	id  string
	err error // of the id
}

// update is what changes a token: see [piecesauth.TokenStore].
type update = func(context.Context, *piecesauth.Token) (*piecesauth.Token, error)

// Load returns the stored token, or [piecesauth.ErrNoToken]. It asks the
// database once, and does not wait for an Update.
func (s *store) Load(ctx context.Context) (*piecesauth.Token, error) {
	_, doc, err := s.get(ctx)
	if err != nil {
		return nil, err
	}
	if doc.Token == nil {
		return nil, piecesauth.ErrNoToken
	}
	return doc.Token, nil
}

// Update runs fn with the stored token, or nil if there is none, and stores its
// result. No other Update of the same id runs meanwhile, on any machine that
// shares the database. If somebody stores another token meanwhile, or deletes
// it, Update drops fn's result and runs fn again with what is stored then.
//
// The context of fn ends with ctx, and also when fn may no longer be the only
// one, unless it has sent a refresh token by then.
func (s *store) Update(ctx context.Context, fn func(context.Context, *piecesauth.Token) (*piecesauth.Token, error)) error {
	return s.UpdateUnless(ctx, func(*piecesauth.Token) bool { return false }, fn)
}

// UpdateUnless is like Update, but returns without running fn as soon as it
// reads a token that is enough. Such a caller takes no lease and writes
// nothing.
func (s *store) UpdateUnless(ctx context.Context, enough func(*piecesauth.Token) bool,
	fn func(context.Context, *piecesauth.Token) (*piecesauth.Token, error),
) error {
	for {
		l, err := s.acquire(ctx, enough)
		if l == nil {
			return err
		}
		if settled, err := l.update(ctx, fn); settled {
			return err
		}
	}
}

// Replace stores token, or deletes the stored one if token is nil, whatever is
// there and whoever is about to update it: their results are dropped.
func (s *store) Replace(ctx context.Context, token *piecesauth.Token) error {
	next := document{Generation: s.env.random(), Token: token}
	failures := 0
	for {
		row, err := s.row(ctx)
		placeholder := token != nil && err == nil && row.Version == ""
		switch {
		case err != nil:
		case token == nil && row.Version == "":
			return nil
		case token != nil && failures > 0 && s.holds(row, next.Generation):
			s.debugLost(ctx, "a sign-in")
			return nil
		default:
			var ok bool
			if ok, err = s.replace(ctx, row.Version, &next, placeholder); ok && !placeholder {
				return nil
			}
		}
		if err != nil {
			if failures++; failures == maxFailures || !isTransient(ctx, err) {
				return err
			}
			if err := s.pause(ctx, 2*firstPoll); err != nil {
				return err
			}
		}
	}
}

// replace writes next over the row of the given version. If there is no row, it
// writes an empty one first: a token that is only ever written over a version
// can't reappear after a sign-out, through a swap that seemed lost.
func (s *store) replace(ctx context.Context, version string, next *document, placeholder bool) (bool, error) {
	switch {
	case placeholder:
		next = &document{Generation: s.env.random()}
	case next.Token == nil:
		next = nil
	}
	_, ok, err := s.swap(ctx, version, next)
	return ok, err
}

// holds reports whether the row is the result of a swap of the generation.
func (s *store) holds(row Row, generation string) bool {
	doc, err := s.decode(row.Value)
	return err == nil && doc.Generation == generation
}

// row returns the current row.
func (s *store) row(ctx context.Context) (Row, error) {
	if s.err != nil {
		return Row{}, s.err
	}
	if err := ctx.Err(); err != nil { // which not every database looks at
		return Row{}, &databaseError{"reading", err}
	}
	row, err := s.db.Get(ctx, s.id)
	if err != nil {
		return Row{}, &databaseError{"reading", err}
	}
	return row, nil
}

// get returns the row and its document.
func (s *store) get(ctx context.Context) (Row, document, error) {
	row, err := s.row(ctx)
	if err != nil || row.Version == "" {
		return row, document{}, err
	}
	doc, err := s.decode(row.Value)
	return row, doc, err
}

// swap writes doc, or deletes the row if doc is nil.
func (s *store) swap(ctx context.Context, version string, doc *document) (string, bool, error) {
	var value []byte
	if doc != nil {
		var err error
		if value, err = s.encode(doc); err != nil {
			return "", false, err
		}
	}
	newVersion, ok, err := s.db.Swap(ctx, s.id, version, value)
	if err != nil {
		return "", false, &databaseError{"storing", err}
	}
	return newVersion, ok, nil
}

// databaseError is an error that may be gone at the next attempt.
type databaseError struct {
	doing string
	err   error
}

func (e *databaseError) Error() string { return "tokenkv: " + e.doing + ": " + e.err.Error() }
func (e *databaseError) Unwrap() error { return e.err }

// isTransient reports whether another attempt may help.
func isTransient(ctx context.Context, err error) bool {
	var of *databaseError
	return ctx.Err() == nil && errors.As(err, &of)
}

// pause waits for a random time.
func (s *store) pause(ctx context.Context, most time.Duration) error {
	select {
	case <-s.env.after(s.env.jitter(firstPoll, most)):
		return nil
	case <-ctx.Done():
		return fmt.Errorf("tokenkv: waiting for a refresh elsewhere: %w", ctx.Err())
	}
}

// debug tells the logger of the TokenSource, if it is one that asks. The
// arguments hold no id and nothing of a token.
func (s *store) debug(ctx context.Context, what string, args ...any) {
	logging.From(ctx).DebugContext(ctx, "tokenkv: "+what, args...)
}

// debugLost says that the row has what a swap wrote whose answer did not come.
func (s *store) debugLost(ctx context.Context, what string) {
	s.debug(ctx, "found stored what the database had not confirmed", "what", what)
}
