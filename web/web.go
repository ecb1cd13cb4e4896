package web

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/piecesauth/piecesauth"
	"github.com/piecesauth/piecesauth/internal/exchange"
	"github.com/piecesauth/piecesauth/seal"
)

// Config is the configuration of a [Handler]. Auth, URL and Sealer are
// required; everything else has a default.
type Config struct {
	// Auth signs people in. It must have an Issuer, unless its BaseURL is on
	// this machine, the scope openid, and a ResponseMode of form_post or query.
	// Its RedirectURL is not used.
	Auth *piecesauth.Authenticator
	// URL is where people find the application: scheme, host and, if the
	// application doesn't have the host for itself, a path. It must be https,
	// or http on this machine. The host and scheme that a request claims are
	// not trusted.
	URL string
	// Sealer encrypts the cookies. All replicas need the same keys.
	Sealer *seal.Sealer
	// Tokens returns the store for a session's token, like the method Store of
	// tokenkv's Tokens. Deleting its token ends a session everywhere. If Tokens
	// is nil, no tokens are kept: the application learns who is signed in, and
	// no more.
	Tokens func(session string) piecesauth.TokenStore
	// Lifetime is how long after signing in people have to sign in again; by
	// default 12 hours.
	Lifetime time.Duration
	// Idle is how long after their last request people have to sign in again;
	// by default 2 hours, and at most Lifetime. It may be up to a tenth
	// shorter, so that not every answer has to set a cookie.
	Idle time.Duration
	// Prefix is the path that the handler is mounted at, below that of URL; by
	// default "/auth/".
	Prefix string
	// OnError answers instead of the built-in error page; see [Handler.Error]
	// and [StatusCode].
	OnError func(http.ResponseWriter, *http.Request, error)
	// CheckStore is for how long the handler relies on the last check that the
	// session's token exists and that Revoked returns false. The default is 0:
	// both are checked in each request.
	CheckStore time.Duration
	// Revoked reports whether the session has ended although its cookie is
	// valid. With it an application can sign somebody out everywhere. If it is
	// nil, no session ends that way.
	Revoked func(context.Context, *Session) (bool, error)
}

// Handler serves the pages of a sign-in, and lets through requests of people
// who are signed in. It is safe for concurrent use. Make one with [New].
type Handler struct {
	config     Config
	origin     string // of URL: scheme and host
	home       string // path of URL, with a slash at the end
	path       string // of the handler: home and Prefix
	mode       piecesauth.ResponseMode
	guard      *http.CrossOriginProtection
	secure     bool   // whether URL is https
	cookie     string // the name of the session's cookie; the names of the others begin with it
	scope      string // what cookies are sealed for, besides their name
	asksIDOnly bool   // neither profile nor email is in the scopes
	live       live
}

// New checks the configuration and returns a Handler. Its error names the field
// that is wrong.
func New(c Config) (*Handler, error) {
	u, err := c.check()
	if err != nil {
		return nil, fmt.Errorf("web: %w", err)
	}
	u.Host = strings.ToLower(u.Host) // as browsers have it in Origin
	auth := c.Auth.Config()
	h := &Handler{
		config: c, origin: u.Scheme + "://" + u.Host, home: strings.TrimSuffix(u.EscapedPath(), "/") + "/",
		mode: auth.ResponseMode, guard: http.NewCrossOriginProtection(), secure: u.Scheme == "https",
		asksIDOnly: !auth.Scopes.Contains("profile") && !auth.Scopes.Contains("email"),
	}
	h.path = strings.TrimSuffix(h.home, "/") + c.Prefix
	if err := h.guard.AddTrustedOrigin(h.origin); err != nil { // a proxy may have changed Host
		return nil, errors.New("web: URL is not of the form https://host")
	}
	h.scope = strings.Join([]string{"web", auth.BaseURL, auth.Issuer, auth.ClientID, h.origin + h.path, ""}, "\n")
	sum := sha256.Sum256([]byte(h.origin + h.path + "\n" + auth.ClientID))
	h.cookie = "piecesauth-" + base64.RawURLEncoding.EncodeToString(sum[:6])
	if h.secure {
		// The prefix ensures that only this host can have set the cookie, over
		// TLS, and not a neighbour in the same domain.
		h.cookie = "__Host-" + h.cookie
	}
	return h, nil
}

func (c *Config) check() (*url.URL, error) {
	c.Prefix = cmp.Or(c.Prefix, "/auth/")
	c.Lifetime = cmp.Or(c.Lifetime, 12*time.Hour)
	c.Idle = cmp.Or(c.Idle, min(2*time.Hour, c.Lifetime))
	u, err := url.Parse(c.URL)
	if err == nil {
		err = exchange.CheckURL(u)
	} else {
		err = errors.New("is not a URL") // the reason would repeat it
	}
	switch {
	case c.Auth == nil:
		return nil, errors.New("Auth is nil: make one with piecesauth.New")
	case c.Sealer == nil:
		return nil, errors.New("Sealer is nil: make one with seal.New")
	case err != nil:
		return nil, fmt.Errorf("URL %w", err)
	case u.RawQuery != "" || u.Fragment != "" || u.Path != "" && localPath(u.EscapedPath()) != u.EscapedPath():
		return nil, errors.New("URL has a query, a fragment, or a path that no page can have")
	case c.Prefix != localPath(c.Prefix) || !strings.HasSuffix(c.Prefix, "/") || strings.ContainsAny(c.Prefix, "?#%"):
		return nil, errors.New("Prefix is not a path that begins and ends with a slash")
	case c.Lifetime < 0 || c.Idle < 0 || c.CheckStore < 0:
		return nil, errors.New("Lifetime, Idle or CheckStore is negative")
	case c.Idle > c.Lifetime:
		return nil, errors.New("Idle is longer than Lifetime")
	}
	return u, checkAuth(c.Auth.Config())
}

func checkAuth(auth piecesauth.Config) error {
	base, err := url.Parse(auth.BaseURL)
	switch {
	case err != nil || auth.Issuer == "" && !exchange.IsLoopback(base.Hostname()):
		return errors.New("Auth has no Issuer: without it nobody vouches for who signs in")
	case !auth.Scopes.Contains("openid"):
		return errors.New("Auth has Scopes without openid, which says who signs in")
	case auth.Audience == "":
		return errors.New("Auth has no Audience, without which no sign-in can begin")
	case auth.ResponseMode != piecesauth.ResponseModeFormPost && auth.ResponseMode != piecesauth.ResponseModeQuery:
		return errors.New("Auth has a ResponseMode that never reaches a server: it has to be form_post or query")
	}
	return nil
}

// route is one page of the handler.
type route struct {
	name    string
	methods string
	serve   func(http.ResponseWriter, *http.Request)
}

// ServeHTTP serves the pages below Config.Prefix:
//
//   - GET signin begins a sign-in. Its parameter next is the page to go to
//     afterwards, a path of this application.
//   - POST or GET callback receives the authorization server's answer.
//   - POST signout ends the session, here and at the authorization server, and
//     returns to Config.URL.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	noStore(w)
	w.Header().Set("Referrer-Policy", "no-referrer") // the callback's address has the code
	routes := []route{
		{"signin", "GET", h.signIn},
		{"callback", "GET, POST", h.callback},
		{"signout", "POST", h.signOut},
	}
	// A router or a proxy may have removed the beginning of the path.
	i := slices.IndexFunc(routes, func(p route) bool {
		return strings.HasSuffix("/"+r.URL.Path, "/"+p.name) && strings.HasSuffix(h.path+p.name, r.URL.Path)
	})
	switch {
	case i < 0:
		http.NotFound(w, r)
	case !slices.Contains(strings.Split(routes[i].methods, ", "), r.Method):
		w.Header().Set("Allow", routes[i].methods)
		http.Error(w, "the method is not one that this page has", http.StatusMethodNotAllowed)
	default:
		routes[i].serve(w, r)
	}
}

// noStore keeps the answer out of all caches.
func noStore(w http.ResponseWriter) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Add("Vary", "Cookie")
}

// redirect sends the browser to an address by GET.
func redirect(w http.ResponseWriter, to string) {
	w.Header().Set("Location", to)
	w.WriteHeader(http.StatusSeeOther)
}
