package oidc

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/piecesauth/piecesauth/internal/strictjson"
)

const (
	leastAge    = time.Minute      // of keys, before they are fetched again
	defaultAge  = time.Hour        // if the issuer doesn't say
	mostAge     = 24 * time.Hour   // after which neither keys nor metadata are used any more
	againAfter  = 30 * time.Second // if the old keys can still be used
	tries       = 3                // of a request that is needed to check a token
	firstPause  = time.Second      // between tries, doubled each time
	mostMissed  = 5                // requests a minute for keys that aren't known
	missedEvery = time.Minute
)

// Response is an answer from the issuer.
type Response struct {
	StatusCode int
	Header     http.Header
	Body       []byte
}

// Fetch sends a request to the issuer; op is "discovery" or "jwks". It limits
// time and size, and returns an error for any status but 200, and 404 for
// discovery. With the error it returns the StatusCode of an answer that was
// refused.
type Fetch func(ctx context.Context, op, url, accept string) (Response, error)

// ProviderConfig describes the issuer whose tokens are verified.
type ProviderConfig struct {
	URL        string               // the issuer
	Algorithms []string             // nil for those of the metadata, else RS256
	CheckURL   func(*url.URL) error // refuses a jwks_uri
	Fetch      Fetch
}

// Metadata is the metadata of an issuer (OpenID Connect Discovery §3, RFC 9207
// §3).
type Metadata struct {
	Issuer          string   `json:"issuer"`
	KeysURL         string   `json:"jwks_uri"`
	AnnouncesIssuer bool     `json:"authorization_response_iss_parameter_supported"`
	Algorithms      []string `json:"id_token_signing_alg_values_supported"` // nil if the issuer doesn't say
}

// Provider verifies the signatures of one issuer's tokens. It fetches metadata
// and keys when they are first needed.
type Provider struct {
	config         ProviderConfig
	askingMetadata shared[*Metadata]
	askingKeys     shared[*keySet]

	mu       sync.Mutex
	metadata *Metadata // nil if none was found
	read     time.Time // the metadata
	keys     *keySet   // nil before the first
	requests int       // for keys, so far
	failure  error     // of the last request for keys
	failed   time.Time // when that was
	missed   []time.Time
}

// NewProvider returns a Provider that has fetched nothing yet.
func NewProvider(config ProviderConfig) *Provider { return &Provider{config: config} }

// Metadata returns the issuer's metadata. If the issuer has none just now, the
// keys are assumed to be where Auth0 has them.
func (p *Provider) Metadata(ctx context.Context) (*Metadata, error) {
	p.mu.Lock()
	m, age := p.metadata, since(p.read)
	p.mu.Unlock()
	if m != nil && age < mostAge {
		return m, nil
	}
	newer, err := p.askingMetadata.do(ctx, always, p.fetchMetadata)
	var e *Error
	if m != nil && ctx.Err() == nil && errors.As(err, &e) && e.passing {
		return m, nil
	}
	return newer, err
}

func (p *Provider) fetchMetadata(ctx context.Context) (*Metadata, error) {
	const op = "discovery"
	at := strings.TrimSuffix(p.config.URL, "/") + "/.well-known/"
	fail := func(kind Kind, status int, err error) (*Metadata, error) {
		return nil, &Error{Kind: kind, Op: op, StatusCode: status, Err: err, passing: isPassing(status)}
	}
	ans, err := p.config.Fetch(ctx, op, at+"openid-configuration", "application/json")
	switch {
	case err != nil:
		return fail(Keys, ans.StatusCode, err)
	case ans.StatusCode == http.StatusNotFound: // perhaps only for a moment, so it isn't kept
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.metadata != nil {
			return p.metadata, nil
		}
		return &Metadata{Issuer: p.config.URL, KeysURL: at + "jwks.json"}, nil
	}
	m := new(Metadata)
	if err := strictjson.UnmarshalLenient(ans.Body, m, "issuer", "jwks_uri"); err != nil {
		return fail(Keys, ans.StatusCode, err)
	}
	if m.Issuer != p.config.URL {
		return fail(Issuer, ans.StatusCode, errors.New("the issuer of the metadata is "+Differs(m.Issuer, p.config.URL)))
	}
	if m.KeysURL == "" {
		m.KeysURL = at + "jwks.json"
	}
	u, err := url.Parse(m.KeysURL)
	if err != nil || p.config.CheckURL(u) != nil || strings.HasPrefix(p.config.URL, "https:") && u.Scheme != "https" {
		return fail(Keys, ans.StatusCode, errors.New("jwks_uri is not an https URL"))
	}
	p.mu.Lock()
	p.metadata, p.read = m, now()
	p.mu.Unlock()
	return m, nil
}

// Prepare makes sure, before anything is spent, that metadata and keys are
// there and that the issuer signs with an allowed algorithm.
func (p *Provider) Prepare(ctx context.Context) error {
	m, err := p.Metadata(ctx)
	if err != nil {
		return err
	}
	if allowed := p.allowed(m); m.Algorithms != nil && !slices.ContainsFunc(allowed, func(alg string) bool { return slices.Contains(m.Algorithms, alg) }) {
		return &Error{Kind: Algorithm, Op: "discovery", Err: fmt.Errorf("the issuer signs ID tokens with %s, and allowed is only %s", quoted(m.Algorithms...), quoted(allowed...))}
	}
	_, err = p.current(ctx, 1)
	return err
}

// allowed returns the algorithms that an ID token may be signed with.
func (p *Provider) allowed(m *Metadata) []string {
	if p.config.Algorithms != nil {
		return p.config.Algorithms
	}
	known := slices.DeleteFunc(slices.Clone(m.Algorithms), func(alg string) bool { return !isPublicKeyAlgorithm(alg) })
	if len(known) == 0 {
		return []string{"RS256"}
	}
	return known
}

// Verify checks that the token is signed with one of the issuer's keys. Check
// its claims first. The Kind of the error is Keys if the keys could not be
// fetched, or ctx ended.
func (p *Provider) Verify(ctx context.Context, t *Token) error {
	if p.config.Algorithms != nil && !slices.Contains(p.config.Algorithms, t.Algorithm) {
		return notAllowed(t.Algorithm, p.config.Algorithms)
	}
	p.mu.Lock()
	before := p.requests
	p.mu.Unlock()
	set, err := p.current(ctx, tries)
	for err == nil {
		var e *Error
		if err = set.verify(ctx, t); !errors.As(err, &e) || e.Kind != Signature || set.request > before {
			return err
		}
		newer, newErr := p.newer(ctx, set)
		if newer == set {
			return err
		}
		set, err = newer, newErr
	}
	return err
}

// current returns the keys. If none are usable it fetches them, with as many
// attempts as tries allows.
func (p *Provider) current(ctx context.Context, tries int) (*keySet, error) {
	if ctx.Err() != nil {
		return nil, &Error{Kind: Keys, Err: ctx.Err()}
	}
	p.mu.Lock()
	set, failed := p.keys, p.failed
	p.mu.Unlock()
	switch {
	case set == nil || since(set.asked) >= mostAge:
		return p.patiently(ctx, tries, always)
	case since(set.asked) < set.age || since(failed) < againAfter:
		return set, nil
	}
	// The old keys will do, so nobody waits for long.
	short, cancel := context.WithTimeout(ctx, 3*firstPause)
	defer cancel()
	newer, err := p.askingKeys.do(short, always, p.fetchKeys)
	switch {
	case err == nil:
		return newer, nil
	case ctx.Err() != nil:
		return nil, &Error{Kind: Keys, Err: ctx.Err()}
	case short.Err() != nil:
		_, _ = p.keep(nil, err)
	}
	return set, nil
}

// newer returns keys other than set, because none in set signed the token, or
// returns set if they have been fetched often enough.
func (p *Provider) newer(ctx context.Context, set *keySet) (*keySet, error) {
	known := func() (*keySet, error) {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.keys, p.failure
	}
	if keys, _ := known(); keys != set {
		return keys, nil
	}
	newer, err := p.patiently(ctx, tries, p.mayAsk)
	if errors.Is(err, errNotNow) {
		keys, failure := known()
		if keys == set && failure != nil {
			return nil, failure
		}
		return keys, nil
	}
	return newer, err
}

// mayAsk reports whether another request for unknown keys is allowed yet.
func (p *Provider) mayAsk() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.missed = slices.DeleteFunc(p.missed, func(at time.Time) bool { return since(at) >= missedEvery })
	if len(p.missed) >= mostMissed {
		return false
	}
	p.missed = append(p.missed, now())
	return true
}

// patiently fetches the keys, if that is allowed, and again after a pause if
// that may help.
func (p *Provider) patiently(ctx context.Context, tries int, may func() bool) (*keySet, error) {
	for try := 1; ; try++ {
		set, err := p.askingKeys.do(ctx, may, p.fetchKeys)
		var e *Error
		if err == nil || ctx.Err() != nil || !errors.As(err, &e) || !e.passing || try == tries {
			return set, err
		}
		timer := time.NewTimer(firstPause << (try - 1))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, &Error{Kind: Keys, Err: ctx.Err()}
		}
	}
}

// now returns the time by the wall clock, because the monotonic clock stops in
// suspend.
func now() time.Time { return time.Now().Round(0) }

// since returns how long ago t was; if the clock was set back, a long time.
func since(t time.Time) time.Duration {
	if d := now().Sub(t); d >= 0 {
		return d
	}
	return mostAge
}

// isPassing reports whether a request that failed with this status may succeed
// soon; 0 means that there was no answer.
func isPassing(status int) bool {
	return status == 0 || status == http.StatusNotFound || status == http.StatusTooManyRequests || status >= 500
}
