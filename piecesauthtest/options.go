package piecesauthtest

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"
)

// The documented values, which the strict options hold a client to where
// nothing else is registered.
const (
	documentedAudience    = "https://pieces.us.auth0.com/api/v2/"
	documentedRedirectURL = "http://localhost:3000/pkce/response/code"
)

// Options says how a [Server] differs from the usual one. All but Now is plain
// data, which can come from flags or a file. [Server.Change] edits it while the
// server runs.
type Options struct {
	// Addr is where to listen; default a free port of 127.0.0.1. Its host is
	// also the URL's; where it has none, or 0.0.0.0, the URL says localhost.
	Addr string
	// TLS serves https, with a certificate that [Server.Client] trusts.
	TLS bool
	// ClientID is the one application that the server knows; default
	// "piecesauthtest".
	ClientID string

	// RedirectURLs may be redirected to besides URLs on 127.0.0.1, [::1] and
	// localhost, which are good with any port and path (RFC 8252 §7.3). They
	// are compared as strings. The first serves where a request names none.
	RedirectURLs []string
	// StrictRedirects accepts RedirectURLs alone, on loopback too. Where there
	// are none, it accepts the documented http://localhost:3000/pkce/response/code.
	StrictRedirects bool
	// ReturnToURLs are what logout may lead to. They are compared as strings,
	// but for the port of those on loopback that have none, which is any.
	ReturnToURLs []string
	// Audience is the API that access tokens are for; default the documented
	// https://pieces.us.auth0.com/api/v2/.
	Audience string
	// StrictAudience refuses a sign-in for any other audience, as Auth0 does.
	StrictAudience bool

	// User holds the claims of the person who signs in; default: Ada Lovelace,
	// unless there are People. Where it lacks sub, the default's is added.
	User map[string]any
	// People can sign in as well. The first of all signs in where nobody chooses.
	People []Person

	// TokenLifetime is how long an access token is good for, in whole seconds;
	// default 24 h.
	TokenLifetime time.Duration
	// IDTokenLifetime is how long an ID token is good for; default 10 h.
	IDTokenLifetime time.Duration
	// RefreshTokenLifetime is how long a refresh token is good for; default for
	// ever.
	RefreshTokenLifetime time.Duration
	// CodeLifetime is how long a code is good for; default one minute.
	CodeLifetime time.Duration
	// RefreshLeeway is how long after its first use a refresh token can still be
	// used. After it, or at once by default, using it again revokes all that
	// came of its sign-in (RFC 9700 §4.14.2).
	RefreshLeeway time.Duration
	// NoRotation keeps the refresh token of a sign-in good: a refresh then
	// answers without a new one.
	NoRotation bool
	// RefreshEndsAccessTokens has a refresh end the access tokens that the
	// sign-in led to before it, as Hydra does.
	RefreshEndsAccessTokens bool

	// KeysStatus is the status that the key set is answered with; default 200.
	// Any other comes without keys.
	KeysStatus int
	// KeyLag is how long a key made by [Server.RotateKey] signs before the key
	// set shows it.
	KeyLag time.Duration
	// KeysMaxAge is how long the key set and the metadata may be cached, as
	// their Cache-Control says; by default they may not be stored.
	KeysMaxAge time.Duration

	// IDTokenClaims, TokenAnswer and Metadata are members put into each ID
	// token, each answer that holds tokens, and the metadata, in place of those
	// of the same name. One that is nil is left out.
	IDTokenClaims, TokenAnswer, Metadata map[string]any

	// FormPostErrorStatus is the status of a form_post page that holds an error;
	// default 200. Some servers send 400.
	FormPostErrorStatus int
	// RequestsKept is how many requests [Server.Requests] remembers, the newest;
	// default all.
	RequestsKept int

	// ClockOffset is how far the server's clock is ahead of Now. All times that
	// it sends or judges are by that clock, its Date headers included.
	ClockOffset time.Duration
	// Now is the clock of this machine; default [time.Now].
	Now func() time.Time
}

// complete fills in the defaults.
func (o *Options) complete() {
	orString := func(s *string, value string) {
		if *s == "" {
			*s = value
		}
	}
	orDuration := func(d *time.Duration, value time.Duration) {
		if *d == 0 {
			*d = value
		}
	}
	orString(&o.Addr, "127.0.0.1:0")
	orString(&o.ClientID, "piecesauthtest")
	orString(&o.Audience, documentedAudience)
	orDuration(&o.TokenLifetime, 24*time.Hour)
	orDuration(&o.IDTokenLifetime, 10*time.Hour)
	orDuration(&o.CodeLifetime, time.Minute)
	if o.FormPostErrorStatus == 0 {
		o.FormPostErrorStatus = http.StatusOK
	}
	if o.KeysStatus == 0 {
		o.KeysStatus = http.StatusOK
	}
	if o.StrictRedirects && len(o.RedirectURLs) == 0 {
		o.RedirectURLs = []string{documentedRedirectURL}
	}
	if o.User == nil && len(o.People) == 0 {
		o.User = defaultUser()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
}

// check finds mistakes in what may have come from a file.
func (o *Options) check() error {
	subs := map[string]bool{}
	for i, person := range o.people() {
		switch {
		case person.Sub == "":
			return fmt.Errorf("piecesauthtest: person %d has no sub", i+1)
		case subs[person.Sub]:
			return fmt.Errorf("piecesauthtest: person %d has the sub of one before", i+1)
		}
		subs[person.Sub] = true
	}
	if slices.Contains(o.RedirectURLs, "") {
		return errors.New("piecesauthtest: a redirect URL is empty")
	}
	return nil
}

// now is the time by the server's clock.
func (o *Options) now() time.Time { return o.Now().Add(o.ClockOffset) }

// Change edits the options of a running server. What is asked from then on is
// answered by the new ones; tokens that are out keep the expiry they were made
// with. Addr, TLS and ClientID stay what they were. The maps and slices in the
// options may be replaced, and their contents not be changed.
func (s *Server) Change(edit func(*Options)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	edit(&s.options)
	s.options.complete()
}

// settings returns the options of the moment.
func (s *Server) settings() *Options {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.options
	return &o
}

// override puts changes into object, and takes out what is nil there.
func override(object, changes map[string]any) {
	for name, value := range changes {
		if value == nil {
			delete(object, name)
			continue
		}
		object[name] = value
	}
}
