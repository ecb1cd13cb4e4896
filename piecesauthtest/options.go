package piecesauthtest

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"
)

// The documented values, which the strict options require if nothing else is
// registered.
const (
	documentedAudience    = "https://pieces.us.auth0.com/api/v2/"
	documentedRedirectURL = "http://localhost:3000/pkce/response/code"
)

// Options are the options of a [Server]. All except Now are plain data, which
// can come from flags or a file. [Server.Change] changes them while the server
// runs.
type Options struct {
	// Addr is where to listen, by default a free port of 127.0.0.1. Its host is
	// also the host of the URL; if it has none, or 0.0.0.0, that is localhost.
	Addr string
	// TLS serves https, with a certificate that [Server.Client] trusts.
	TLS bool
	// ClientID is the only application that the server knows, by default
	// "piecesauthtest".
	ClientID string

	// RedirectURLs are allowed besides URLs on 127.0.0.1, [::1] and localhost,
	// which are allowed with any port and path (RFC 8252 §7.3). They are
	// compared as strings. The first is used if a request names none.
	RedirectURLs []string
	// StrictRedirects allows only RedirectURLs, on loopback too. If there are
	// none, it allows the documented http://localhost:3000/pkce/response/code.
	StrictRedirects bool
	// ReturnToURLs are the addresses that logout may redirect to. They are
	// compared as strings, except that those on loopback without a port allow
	// any port.
	ReturnToURLs []string
	// Audience is the API that access tokens are for, by default the documented
	// https://pieces.us.auth0.com/api/v2/.
	Audience string
	// StrictAudience refuses a sign-in for any other audience, as Auth0 does.
	StrictAudience bool

	// User holds the claims of the person who signs in, by default Ada Lovelace
	// unless there are People. If it lacks sub, the default's is added.
	User map[string]any
	// People can sign in as well. If nobody chooses, the first of all signs in.
	People []Person

	// TokenLifetime is how long an access token is valid, in whole seconds; by
	// default 24 h.
	TokenLifetime time.Duration
	// IDTokenLifetime is how long an ID token is valid, by default 10 h.
	IDTokenLifetime time.Duration
	// RefreshTokenLifetime is how long a refresh token is valid, by default for
	// ever.
	RefreshTokenLifetime time.Duration
	// CodeLifetime is how long a code is valid, by default one minute.
	CodeLifetime time.Duration
	// RefreshLeeway is how long after its first use a refresh token can still
	// be used. Using it again later, or at all by default, revokes everything
	// that came of its sign-in (RFC 9700 §4.14.2).
	RefreshLeeway time.Duration
	// NoRotation keeps the refresh token of a sign-in valid: a refresh is
	// answered without a new one.
	NoRotation bool
	// RefreshEndsAccessTokens makes a refresh end all earlier access tokens of
	// the sign-in, as Hydra does.
	RefreshEndsAccessTokens bool

	// KeysStatus is the status that the key set is answered with, by default
	// 200. Any other comes without keys.
	KeysStatus int
	// KeyLag is how long a key made by [Server.RotateKey] signs before the key
	// set includes it.
	KeyLag time.Duration
	// KeysMaxAge is how long the key set and the metadata may be cached, as
	// their Cache-Control says; by default they may not be stored.
	KeysMaxAge time.Duration

	// IDTokenClaims, TokenAnswer and Metadata are members to put into each ID
	// token, each answer that holds tokens, and the metadata, in place of those
	// of the same name. A member that is nil is removed.
	IDTokenClaims, TokenAnswer, Metadata map[string]any

	// FormPostErrorStatus is the status of a form_post page that holds an error;
	// default 200. Some servers send 400.
	FormPostErrorStatus int
	// RequestsKept is how many of the newest requests [Server.Requests]
	// returns; by default all.
	RequestsKept int

	// ClockOffset is how far the server's clock is ahead of Now. The server
	// uses that clock for all times that it sends or checks, including its Date
	// headers.
	ClockOffset time.Duration
	// Now is the clock of this machine, by default [time.Now].
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

// now returns the time by the server's clock.
func (o *Options) now() time.Time { return o.Now().Add(o.ClockOffset) }

// Change changes the options of a running server. They apply to all later
// requests; tokens that were issued keep their expiry. Addr, TLS and ClientID
// can't be changed. edit may replace the maps and slices in the options, but
// must not change their contents.
func (s *Server) Change(edit func(*Options)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	edit(&s.options)
	s.options.complete()
}

// settings returns the current options.
func (s *Server) settings() *Options {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.options
	return &o
}

// override puts changes into object, and removes the members that are nil
// there.
func override(object, changes map[string]any) {
	for name, value := range changes {
		if value == nil {
			delete(object, name)
			continue
		}
		object[name] = value
	}
}
