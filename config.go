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
	"github.com/piecesauth/piecesauth/internal/refreshing"
	"github.com/piecesauth/piecesauth/internal/valid"
)

// The servers that the contract lists; [Config.BaseURL] takes these or any
// other.
const (
	LocalBaseURL = "http://localhost:1000"        // a Pieces OS on this machine; the contract's default
	LiveBaseURL  = "https://auth.pieces.services" // the live sign-in domain
)

// Version is the version of this package, as sent in User-Agent.
const Version = "0.1.0"

// Config describes the application that signs people in, and the server that it
// uses. ClientID is required, and Audience for signing in; everything else has
// a default.
type Config struct {
	// BaseURL is the authorization server, by default [LocalBaseURL]. Like
	// every URL here it must be https, or http on this machine.
	BaseURL string
	// ClientID identifies the application, as registered. There is no client
	// secret: an application on a person's machine could not keep one (RFC 8252
	// §8.5).
	ClientID string
	// RedirectURL is where the server sends the result of a sign-in. It must be
	// registered, and be https, http on this machine, or a custom scheme of the
	// application. [BeginOptions.RedirectURL] can replace it for one attempt.
	RedirectURL string
	// Audience identifies the API that access tokens are for.
	Audience string
	// Scopes lists the scopes to ask for, by default openid, profile, email and
	// offline_access.
	Scopes Scopes
	// ResponseMode is how the result reaches RedirectURL, by default
	// [ResponseModeFormPost].
	ResponseMode ResponseMode
	// Issuer turns on the full verification of ID tokens: each must name this
	// issuer, and be signed with one of its keys, which are found through
	// {Issuer}/.well-known/openid-configuration (OpenID Connect Discovery §4).
	// Issuers are compared as strings; those of Auth0 end in a slash. Without
	// an Issuer, see [Authenticator.Complete] for what is still checked.
	Issuer string
	// IDTokenAlgorithms lists the signature algorithms that ID tokens may use,
	// by default those in the issuer's metadata, or else RS256. Only algorithms
	// with a public key are allowed.
	IDTokenAlgorithms []string
	// Leeway is how far this machine's clock and the issuer's may differ, by
	// default 5 minutes. It applies to exp, nbf and iat of ID tokens.
	Leeway time.Duration
	// ApplicationID is sent as X-Application-ID with every call except
	// UserInfo, if it is set.
	ApplicationID string
	// RefreshBefore is how long before its expiry a [TokenSource] refreshes a
	// token: by default 2 minutes, and never more than a quarter of the token's
	// lifetime. [TokenSource.Token] describes which callers wait for it.
	RefreshBefore time.Duration
	// HTTPClient sends the requests. It is copied, and the copy follows no
	// redirects. Whichever client is used, a call ends within 30 seconds, an
	// answer of over 1 MiB fails with [ErrTooLarge], and a request to the token
	// endpoint that the server may have acted on is never sent again, unless
	// the Transport does so by itself. Limits on headers and handshakes are up
	// to the Transport; the default one is made from [http.DefaultTransport].
	HTTPClient *http.Client
	// UserAgent is sent with every request, by default piecesauth-go/ followed
	// by the version.
	UserAgent string
	// Logger records, at level Debug, when a token is refreshed, a request is
	// repeated, keys are fetched, or a caller waits for a store. No secret is
	// logged. If it is nil, nothing is logged.
	Logger *slog.Logger
}

// Authenticator carries out the operations. It is safe for concurrent use and
// holds no tokens.
type Authenticator struct {
	config    Config
	base      *url.URL // with a slash at the end, which the generated requests need
	client    *exchange.Client
	logger    *slog.Logger
	userInfo  *http.Request // built once, with everything that calls have in common
	token     *http.Request
	attempts  attemptTemplate // made from the default options
	grants    *form.Encoder
	issuer    *oidc.Provider // nil without Config.Issuer
	refreshes *refreshing.Group[Token]
}

// New checks the configuration and returns an Authenticator. Its error names
// the field that is wrong.
func New(config Config) (*Authenticator, error) {
	config.setDefaults()
	base, err := config.check()
	if err != nil {
		return nil, &Error{Op: "new", Err: err}
	}
	a := &Authenticator{config: config, base: base.JoinPath("/"), grants: form.NewEncoder(TokenizedPKCE{}), logger: config.Logger, refreshes: refreshing.NewGroup(tokenNames)}
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

// Config returns a copy of the configuration with the defaults filled in.
func (a *Authenticator) Config() Config {
	config := a.config
	config.Scopes, config.IDTokenAlgorithms = slices.Clone(config.Scopes), slices.Clone(config.IDTokenAlgorithms)
	return config
}

// Close ends refreshing. Call it before a program exits, because a refresh that is
// cut off loses the new refresh token: Close waits until each token that was
// requested is saved, and cancels refreshes that have sent nothing yet. Afterwards
// a [TokenSource] returns its current token until that expires.
func (a *Authenticator) Close() { a.refreshes.Close() }

// Format prints the server and the client, for every verb.
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
