package piecesauth

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/piecesauth/piecesauth/internal/exchange"
	"github.com/piecesauth/piecesauth/internal/form"
	"github.com/piecesauth/piecesauth/internal/oidc"
	"github.com/piecesauth/piecesauth/internal/valid"
)

// The servers of the contract; [Config.BaseURL] takes these or any other.
const (
	LocalBaseURL = "http://localhost:1000"        // a Pieces OS on this machine, the contract's default
	LiveBaseURL  = "https://auth.pieces.services" // the live sign-in domain
)

// Version is the version of this package, as its User-Agent names it.
const Version = "0.1.0"

// Config says which application signs people in, and where. ClientID is
// required, Audience for signing in; all else has a default.
type Config struct {
	// BaseURL is the authorization server, by default [LocalBaseURL]. Like
	// every URL here it is https, or http on this machine.
	BaseURL string
	// ClientID is the application, as registered. There is no secret: an
	// application on a person's machine could not keep one (RFC 8252 §8.5).
	ClientID string
	// RedirectURL is where the answer of a sign-in goes, one of those
	// registered: https, http on this machine, or a scheme of the
	// application's own. It may come with each attempt instead.
	RedirectURL string
	// Audience identifies the API that access tokens are for.
	Audience string
	// Scopes is what to ask for, by default openid, profile, email and
	// offline_access.
	Scopes Scopes
	// ResponseMode is how the answer reaches RedirectURL, by default
	// [ResponseModeFormPost].
	ResponseMode ResponseMode
	// Issuer, where set, has ID tokens verified in full: that they are of this
	// issuer, and signed with its keys, which are found through
	// {Issuer}/.well-known/openid-configuration (OpenID Connect Discovery §4).
	// An issuer is compared as a string; Auth0's end in a slash. Where it is
	// not set, see [Authenticator.Complete] for what is proved nonetheless.
	Issuer string
	// IDTokenAlgorithms lists the signature algorithms ID tokens may have, by
	// default those that the issuer's metadata names, else RS256. Only
	// signatures with a public key can be listed.
	IDTokenAlgorithms []string
	// Leeway is how far this machine's clock and the issuer's may differ, by
	// default 5 minutes; it counts for exp, nbf and iat of ID tokens.
	Leeway time.Duration
	// ApplicationID is sent as X-Application-ID, on every call but UserInfo,
	// where set.
	ApplicationID string
	// RefreshBefore is how long before its expiry a [TokenSource] refreshes a
	// token, by default 2 minutes, and at most a quarter of the token's
	// lifetime. See [TokenSource.Token] for who waits.
	RefreshBefore time.Duration
	// HTTPClient sends the requests. It is copied, and the copy follows no
	// redirects. Whatever it is, a call ends within 30 seconds, an answer of
	// over 1 MiB fails with [ErrTooLarge], and no request to the token endpoint
	// that the server may have acted on is sent again, unless its Transport
	// does that by itself. Limits on headers and handshakes are the Transport's;
	// the default is a transport of our own, made from [http.DefaultTransport].
	HTTPClient *http.Client
	// UserAgent is sent with every request, by default piecesauth-go/ and the
	// version.
	UserAgent string
	// Logger hears, at level Debug, when a token was refreshed, a request
	// repeated, keys were fetched or a store made a caller wait. It hears no
	// secret. Nil is silent.
	Logger *slog.Logger
}

// Authenticator carries out the operations. It is safe for concurrent use, and
// holds no tokens.
type Authenticator struct {
	config   Config
	base     *url.URL // with a slash at the end, as the generated requests need
	client   *exchange.Client
	logger   *slog.Logger
	userInfo *http.Request // built once, with all that calls have in common
	token    *http.Request
	attempts attemptTemplate // of the default options
	grants   *form.Encoder
	issuer   *oidc.Provider // nil without Config.Issuer
}

// New checks the configuration. Its error names the field that can't work.
func New(config Config) (*Authenticator, error) {
	config.setDefaults()
	base, err := config.check()
	if err != nil {
		return nil, &Error{Op: "new", Err: err}
	}
	a := &Authenticator{config: config, base: base.JoinPath("/"), grants: form.NewEncoder(TokenizedPKCE{}), logger: config.Logger}
	if a.logger == nil {
		a.logger = slog.New(slog.DiscardHandler)
	}
	a.client = exchange.New(config.HTTPClient, a.logger)
	if config.Issuer != "" {
		a.issuer = oidc.NewProvider(oidc.ProviderConfig{
			URL: config.Issuer, Algorithms: config.IDTokenAlgorithms, CheckURL: exchange.CheckURL, Fetch: a.fetch,
		})
	}
	if err := a.buildRequests(); err != nil {
		return nil, &Error{Op: "new", Err: err}
	}
	return a, nil
}

// Config returns a copy of the configuration, with its defaults filled in.
func (a *Authenticator) Config() Config {
	config := a.config
	config.Scopes, config.IDTokenAlgorithms = slices.Clone(config.Scopes), slices.Clone(config.IDTokenAlgorithms)
	return config
}

// Format prints the server and the client, whatever the verb.
func (a *Authenticator) Format(s fmt.State, _ rune) {
	if a == nil {
		_, _ = fmt.Fprint(s, "<nil>")
		return
	}
	_, _ = fmt.Fprintf(s, "Authenticator{BaseURL:%s ClientID:%s}", a.config.BaseURL, a.config.ClientID)
}

func (c *Config) setDefaults() {
	fill(&c.BaseURL, LocalBaseURL)
	fill(&c.ResponseMode, ResponseModeFormPost)
	fill(&c.UserAgent, "piecesauth-go/"+Version)
	if len(c.Scopes) == 0 { // as of a Config that went through JSON, too
		c.Scopes = Scopes{"openid", "profile", "email", "offline_access"}
	}
	if c.RefreshBefore == 0 {
		c.RefreshBefore = 2 * time.Minute
	}
	if c.Leeway == 0 {
		c.Leeway = 5 * time.Minute
	}
	c.Scopes, c.IDTokenAlgorithms = slices.Clone(c.Scopes), slices.Clone(c.IDTokenAlgorithms)
	if len(c.IDTokenAlgorithms) == 0 {
		c.IDTokenAlgorithms = nil
	}
}

// check returns the base URL, or an error that names the field that is wrong.
func (c *Config) check() (*url.URL, error) {
	base, err := valid.Server(c.BaseURL)
	if err != nil {
		return nil, fmt.Errorf("BaseURL %w", err)
	}
	if c.RedirectURL != "" {
		if err := valid.Redirect(c.RedirectURL); err != nil {
			return nil, fmt.Errorf("RedirectURL %w", err)
		}
	}
	if err := valid.Algorithms(c.IDTokenAlgorithms); err != nil {
		return nil, fmt.Errorf("IDTokenAlgorithms %w", err)
	}
	if c.Issuer != "" {
		if _, err := valid.Server(c.Issuer); err != nil {
			return nil, fmt.Errorf("Issuer %w", err)
		}
	}
	if c.ClientID == "" {
		return nil, fmt.Errorf("ClientID %w", errEmpty)
	}
	for _, text := range [][2]string{{"ClientID", c.ClientID}, {"Audience", c.Audience}, {"ApplicationID", c.ApplicationID}, {"UserAgent", c.UserAgent}} {
		if err := valid.Text(text[1]); err != nil {
			return nil, fmt.Errorf("%s %w", text[0], err)
		}
	}
	switch {
	case !slices.Contains(responseModes(), c.ResponseMode):
		return nil, fmt.Errorf("ResponseMode %w", errResponseMode)
	case c.RefreshBefore < 0:
		return nil, errors.New("RefreshBefore is negative")
	case c.Leeway < 0:
		return nil, errors.New("Leeway is negative")
	}
	if err := valid.Scopes(c.Scopes); err != nil {
		return nil, fmt.Errorf("Scopes %w", err)
	}
	return base, nil
}

// buildRequests builds what all calls of an operation have in common.
func (a *Authenticator) buildRequests() (err error) {
	server := a.base.String()
	if a.userInfo, err = NewGetAuth0UserInfoRequest(server); err != nil {
		return fmt.Errorf("BaseURL %w", err)
	}
	if a.token, err = NewExchangeForAuth0TokenRequestWithBody(server, formType, nil); err != nil {
		return fmt.Errorf("BaseURL %w", err)
	}
	a.userInfo.Header.Set("Accept", jsonType)
	a.token.Header.Set("Accept", jsonType)
	for _, req := range []*http.Request{a.userInfo, a.token} {
		a.identify(req)
	}
	if a.config.RedirectURL != "" && a.config.Audience != "" {
		a.attempts, err = a.newAttemptTemplate(&BeginOptions{RedirectURL: a.config.RedirectURL})
	}
	return err
}

// identify names the program to the server and, everywhere but at the profile,
// the application to Pieces.
func (a *Authenticator) identify(r *http.Request) {
	if r.Header.Get("User-Agent") == "" {
		r.Header.Set("User-Agent", a.config.UserAgent)
	}
	if a.config.ApplicationID != "" && r.URL.Path != a.userInfo.URL.Path {
		r.Header.Set("X-Application-ID", a.config.ApplicationID)
	}
}

var (
	errEmpty        = errors.New("is empty")
	errResponseMode = errors.New("is none of form_post, query, fragment and web_message")
)

func responseModes() []ResponseMode {
	return []ResponseMode{ResponseModeFormPost, ResponseModeQuery, ResponseModeFragment, ResponseModeWebMessage}
}
