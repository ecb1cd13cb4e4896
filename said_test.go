package piecesauth

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unicode"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"
)

// TestIssuerMismatchText names both issuers wherever two are compared, and the
// slash where that is all they differ in.
func TestIssuerMismatchText(t *testing.T) {
	for name, call := range map[string]func(t *testing.T, p *provider, iss string) error{
		"the callback's": func(t *testing.T, p *provider, iss string) error {
			_, err := newAuth(t, p.URL, p.verifying).Complete(t.Context(),
				&Attempt{State: theState, Nonce: "n0nce", Verifier: theVerifier, RedirectURL: theRedirect},
				url.Values{"state": {theState}, "code": {theCode}, "iss": {iss}})
			return err
		},
		"the metadata's": func(t *testing.T, p *provider, iss string) error {
			p.metadata = func() string { return `{"issuer":"` + iss + `","jwks_uri":"` + p.URL + `/keys"}` }
			_, err := complete(t.Context(), newAuth(t, p.URL, p.verifying))
			return err
		},
		"the ID token's": func(t *testing.T, p *provider, iss string) error {
			p.idToken = func() string { return makeKeys().first.sign(t, p.claims(map[string]any{"iss": iss})) }
			_, err := complete(t.Context(), newAuth(t, p.URL, p.verifying))
			return err
		},
		"the refreshed ID token's": func(t *testing.T, p *provider, iss string) error {
			p.idToken = func() string { return makeKeys().first.sign(t, p.claims(map[string]any{"iss": iss})) }
			before := makeKeys().first.sign(t, p.claims())
			_, err := newAuth(t, p.URL).Refresh(t.Context(), &Token{RefreshToken: theRefresh, IDToken: before})
			return err
		},
		"the stored ID token's": func(t *testing.T, p *provider, iss string) error {
			stored := makeKeys().first.sign(t, p.claims(map[string]any{"iss": iss}))
			_, err := newAuth(t, p.URL, p.verifying).Refresh(t.Context(), &Token{RefreshToken: theRefresh, IDToken: stored})
			return err
		},
		"the verified ID token's": func(t *testing.T, p *provider, iss string) error {
			stored := makeKeys().first.sign(t, p.claims(map[string]any{"iss": iss}))
			_, err := newAuth(t, p.URL, p.verifying).Verify(t.Context(), &Token{AccessToken: theAccess, IDToken: stored})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			for _, slash := range []bool{false, true} {
				p := newProvider(t)
				iss := "https://other.example.com"
				if slash {
					iss = p.URL + "/"
				}
				err := call(t, p, iss)
				require.ErrorIs(t, err, ErrIssuerMismatch)
				require.ErrorContains(t, err, `"`+iss+`"`)
				require.ErrorContains(t, err, `"`+p.URL+`"`)
				require.Equal(t, slash, strings.Contains(err.Error(), "slash"), err.Error())
			}
		})
	}
}

// TestWrongServerText names host and path where a server doesn't say what is
// wrong, as it does where BaseURL is the wrong one.
func TestWrongServerText(t *testing.T) {
	for op, tt := range map[string]struct {
		call func(context.Context, *Authenticator) error
		path string
	}{
		"authorize": {authorize, "/authorize"},
		"exchange":  {exchangeCode, "/oauth/token"},
		"refresh":   {refresh, "/oauth/token"},
		"userinfo":  {userInfo, "/userinfo"},
		"logout":    {logout, "/v2/logout"},
	} {
		for _, status := range []int{400, 404} {
			for _, base := range []string{"", "/base"} {
				t.Run(fmt.Sprint(op, status, base), func(t *testing.T) {
					w := newWire(t, reply(status, "<html>not here "+theState, asHTML))
					err := tt.call(t.Context(), newAuth(t, w.URL+base))
					requireError(t, err, &Error{Op: op, StatusCode: status})
					require.ErrorContains(t, err, strings.TrimPrefix(w.URL, "http://")+base+tt.path)
					require.NotContains(t, err.Error(), "?client_id")
				})
			}
		}
		t.Run(op+" that says what is wrong", func(t *testing.T) {
			w := newWire(t, reply(404, `{"error":"unauthorized_client","error_description":"Who?"}`, asJSON))
			err := tt.call(t.Context(), newAuth(t, w.URL))
			require.EqualError(t, err, "piecesauth: "+op+": HTTP status 404: unauthorized_client: Who?")
		})
	}
}

// TestStateText has a text for each way in which a state can be wrong.
func TestStateText(t *testing.T) {
	texts := map[string]bool{}
	for name, states := range map[string][]string{
		"no state":    nil,
		"empty":       {""},
		"more than":   {theState, theState},
		"is another":  {"x"},
		"more than 2": {"x", "y", theState},
	} {
		_, err := newAuth(t, LiveBaseURL).Complete(t.Context(), &Attempt{State: theState, Verifier: theVerifier, RedirectURL: theRedirect},
			url.Values{"state": states, "code": {theCode}})
		requireError(t, err, &Error{Op: "complete"}, ErrStateMismatch)
		texts[err.Error()] = true
		if name != "empty" && name != "more than 2" {
			require.ErrorContains(t, err, name)
		}
	}
	require.Len(t, texts, 3)
}

// TestProxyText says that it is the proxy who wants something, over TLS, where
// it is asked to connect, and in the clear, where it answers itself.
func TestProxyText(t *testing.T) {
	for _, tt := range []struct {
		name, base string
		status     int
		says       []string
	}{
		{"to connect, 407", LiveBaseURL, 407, []string{"proxy", "407"}},
		{"in the clear, 407", "http://localhost:9", 407, []string{"proxy", "407"}},
	} {
		for op, call := range map[string]func(context.Context, *Authenticator) error{"authorize": authorize, "refresh": refresh, "userinfo": userInfo, "logout": logout} {
			t.Run(tt.name+" "+op, func(t *testing.T) {
				proxy := httptest.NewServer(reply(tt.status, "<html>"+theRefresh, asHTML, `Proxy-Authenticate: Basic realm="corp"`))
				t.Cleanup(proxy.Close)
				to, err := url.Parse(proxy.URL)
				require.NoError(t, err)
				transport := &http.Transport{Proxy: func(*http.Request) (*url.URL, error) { return to, nil }}
				t.Cleanup(transport.CloseIdleConnections)
				err = call(t.Context(), newAuth(t, tt.base, func(c *Config) { c.HTTPClient = &http.Client{Transport: transport} }))
				requireError(t, err, &Error{Op: op})
				require.NotErrorIs(t, err, ErrUnknownOutcome, "the server has seen nothing")
				for _, text := range tt.says {
					require.ErrorContains(t, err, text)
				}
			})
		}
	}
	t.Run("no proxy there", func(t *testing.T) {
		listener, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // of a test
		require.NoError(t, err)
		require.NoError(t, listener.Close())
		to := &url.URL{Scheme: "http", Host: listener.Addr().String(), User: url.UserPassword("me", theVerifier)}
		transport := &http.Transport{Proxy: func(*http.Request) (*url.URL, error) { return to, nil }}
		err = refresh(t.Context(), newAuth(t, LiveBaseURL, func(c *Config) { c.HTTPClient = &http.Client{Transport: transport} }))
		requireError(t, err, &Error{Op: "refresh"})
		require.ErrorContains(t, err, "proxy")
	})
}

// TestClaimsText tells whoever reads claims of a stored token what to do.
func TestClaimsText(t *testing.T) {
	p := newProvider(t)
	stored, err := json.Marshal(&Token{AccessToken: theAccess, IDToken: p.idToken()})
	require.NoError(t, err)
	var token Token
	require.NoError(t, json.Unmarshal(stored, &token))
	err = token.Claims(new(any))
	requireError(t, err, &Error{Op: "verify"}, ErrNotVerified)
	require.ErrorContains(t, err, "Verify")
}

// TestCertificateText has certificates whose names hold line breaks and escapes
// for terminals.
func TestCertificateText(t *testing.T) {
	const evil = "evil.example.com\nlevel=ERROR msg=\"all is lost\"\r\x1b[2Jx\u2028y\u202ez"
	cert := &x509.Certificate{DNSNames: []string{evil}}
	for name, cause := range map[string]error{
		"another host":            x509.HostnameError{Certificate: cert, Host: "auth.example.com"},
		"another host, verified":  &tls.CertificateVerificationError{UnverifiedCertificates: []*x509.Certificate{cert}, Err: x509.HostnameError{Certificate: cert, Host: "auth.example.com"}},
		"unknown authority":       &tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{Cert: cert}},
		"a constraint that fails": &tls.CertificateVerificationError{Err: x509.CertificateInvalidError{Cert: cert, Reason: x509.CANotAuthorizedForThisName, Detail: evil}},
		"in words of its own":     errors.New(evil),
		"a name that isn't there": &net.DNSError{Err: "no such host", Name: evil, Server: evil, IsNotFound: true},
		"on the way out":          &net.OpError{Op: "dial", Net: "tcp", Err: &net.DNSError{Err: evil, Name: evil}},
		"an address":              &net.OpError{Op: "dial", Net: evil, Err: errors.New(evil)},
		"a network":               &net.OpError{Op: "dial", Net: evil, Err: net.UnknownNetworkError(evil)},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAuth(t, LiveBaseURL, func(c *Config) {
				c.HTTPClient = &http.Client{Transport: roundTrip(func(*http.Request) (*http.Response, error) { return nil, cause })}
			})
			for _, err := range []error{authorize(t.Context(), a), refresh(t.Context(), a), userInfo(t.Context(), a)} {
				for e := err; e != nil && e.Error() != cause.Error(); e = errors.Unwrap(e) {
					for _, text := range []string{e.Error(), fmt.Sprintf("%+v", e), fmt.Sprintf("%#v", err)} {
						require.NotContains(t, text, "level=ERROR msg=\"all is lost\"\r")
						require.Less(t, len(text), 500)
						for _, r := range text {
							require.True(t, unicode.IsPrint(r), "%q in %q", r, text)
						}
					}
				}
			}
		})
	}
}

// TestFormatOfHolders prints what holds tokens, in every way, while it is used.
func TestFormatOfHolders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.put(&Token{AccessToken: theAccess, RefreshToken: theRefresh, Expiry: time.Now()})
		b.good = theRefresh
		b.store.failures = []error{errDisk}
		memory := new(MemoryStore)
		require.NoError(t, memory.Update(t.Context(), func(context.Context, *Token) (*Token, error) { return &Token{AccessToken: theAccess}, nil }))
		_, err := b.source.Token(t.Context())
		require.ErrorIs(t, err, errDisk)
		var wg sync.WaitGroup
		wg.Go(func() { _, _ = b.source.Token(t.Context()) })
		for name, v := range map[string]any{
			"TokenSource": b.source, "MemoryStore": memory, "Authenticator": b.auth,
			"OAuth2": b.source.OAuth2(t.Context()), "Client": b.source.Client(nil), "nil TokenSource": (*TokenSource)(nil),
			"nil MemoryStore": (*MemoryStore)(nil), "nil Authenticator": (*Authenticator)(nil), "API": b.auth.API(),
		} {
			wg.Go(func() {
				var log bytes.Buffer
				slog.New(slog.NewTextHandler(&log, nil)).Info("x", "v", v)
				slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "v", v)
				for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
					fmt.Fprintf(&log, verb, v)
					fmt.Fprintf(&log, verb, []any{v})
				}
				for _, secret := range []string{theAccess, theRefresh, fmt.Sprintf("%x", theAccess)} {
					assert.NotContains(t, strings.ReplaceAll(log.String(), "0x", ""), secret, name)
				}
				assert.NotContains(t, log.String(), "PANIC", name)
			})
		}
		wg.Wait()

		// No method is asked where the field isn't exported. What is printed is of no use, but no secret.
		b.store.failures = []error{errDisk}
		time.Sleep(time.Hour)
		_, err = b.source.Token(t.Context())
		require.ErrorIs(t, err, errDisk)
		for _, v := range []any{struct{ source *TokenSource }{b.source}, oauth2.ReuseTokenSource(nil, b.source.OAuth2(t.Context()))} {
			text := fmt.Sprintf("%v %+v %#v %s %q", v, v, v, v, v)
			require.NotContains(t, text, theRefresh)
			require.NotContains(t, text, theAccess)
			require.NotContains(t, text, `r1`)
		}
	})
}

// TestNilInLogs logs and prints nil pointers, as after a call that went well.
func TestNilInLogs(t *testing.T) {
	for name, v := range map[string]any{
		"*Error": (*Error)(nil), "*Token": (*Token)(nil), "*Attempt": (*Attempt)(nil), "*User": (*User)(nil),
		"*TokenizedPKCE": (*TokenizedPKCE)(nil), "*OAuthToken": (*OAuthToken)(nil),
	} {
		t.Run(name, func(t *testing.T) {
			for _, handler := range []func(*bytes.Buffer) slog.Handler{
				func(b *bytes.Buffer) slog.Handler { return slog.NewTextHandler(b, nil) },
				func(b *bytes.Buffer) slog.Handler { return slog.NewJSONHandler(b, nil) },
			} {
				var log bytes.Buffer
				require.NotPanics(t, func() { slog.New(handler(&log)).Info("done", "v", v, "in", []any{v}) })
				require.Equal(t, 1, strings.Count(log.String(), "\n"), log.String())
				if name == "*Error" {
					require.Contains(t, log.String(), "<nil>")
					require.NotContains(t, log.String(), "panic")
				}
			}
			for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%d"} {
				require.NotContains(t, fmt.Sprintf(verb, v), "PANIC")
			}
		})
	}
	require.Equal(t, "<nil>", (*Error)(nil).Error())
}

// TestEchoedSecrets cuts secrets out of what a server says, however it escapes
// them.
func TestEchoedSecrets(t *testing.T) {
	const secret = `s3cr3t/+a=b&c"d<e>'f`
	var jsonOfGo bytes.Buffer
	require.NoError(t, json.NewEncoder(&jsonOfGo).Encode(secret))
	entities := strings.NewReplacer("/", "&#x2F;", "+", "&#x2b;", "=", "&#x3D;", "&", "&amp;", `"`, "&quot;", "<", "&lt;", ">", "&gt;", "'", "&#039;")
	unicodes := func(format string) string {
		var b strings.Builder
		for _, r := range secret {
			if strings.ContainsRune(`/+=&"<>'`, r) {
				fmt.Fprintf(&b, format, r)
				continue
			}
			b.WriteRune(r)
		}
		return b.String()
	}
	query := url.QueryEscape(secret)
	for name, echo := range map[string]string{
		"as it is":                  secret,
		"in a query":                query,
		"in a query, %2f":           strings.ReplaceAll(strings.ReplaceAll(query, "%2F", "%2f"), "%3D", "%3d"),
		"in a path":                 url.PathEscape(secret),
		"in a URI of JavaScript":    strings.NewReplacer("/", "%2F", "+", "%2B", "=", "%3D", "&", "%26", `"`, "%22", "<", "%3C", ">", "%3E").Replace(secret), // which leaves '
		"in HTML of Go":             html.EscapeString(secret),
		"in HTML of others":         entities.Replace(secret),
		"in HTML, by number":        unicodes("&#%d;"),
		"in JSON of Go":             strings.Trim(jsonOfGo.String(), "\"\n"),
		"in JSON of PHP":            strings.NewReplacer("/", `\/`, `"`, `\"`).Replace(secret),
		"in JSON, by number":        unicodes(`\u%04x`),
		"in JSON, by number, in AB": unicodes(`\u%04X`),
		"in a backslash's":          strings.NewReplacer(`"`, `\"`, "'", `\'`).Replace(secret),
	} {
		for op, call := range map[string]func(context.Context, *Authenticator) error{
			"exchange": func(ctx context.Context, a *Authenticator) error {
				_, err := a.Exchange(ctx, TokenizedPKCE{Code: secret, CodeVerifier: theVerifier})
				return err
			},
			"refresh": func(ctx context.Context, a *Authenticator) error {
				_, err := a.Refresh(ctx, &Token{RefreshToken: secret})
				return err
			},
			"userinfo": func(ctx context.Context, a *Authenticator) error {
				_, err := a.UserInfo(ctx, &Token{AccessToken: secret})
				return err
			},
		} {
			t.Run(name+" "+op, func(t *testing.T) {
				body, err := json.Marshal(map[string]string{"error": "bad", "error_description": "You sent " + echo + ".", "error_uri": "https://e/?t=" + echo + "&x=1"})
				require.NoError(t, err)
				err = call(t.Context(), newAuth(t, LiveBaseURL, func(c *Config) { c.HTTPClient = direct(reply(400, string(body), asJSON)) }))
				var e *Error
				require.ErrorAs(t, err, &e)
				require.Equal(t, "You sent [redacted].", e.Description)
				require.Equal(t, "https://e/?t=[redacted]&x=1", e.URI)
			})
		}
	}
}

// TestEchoedCode cuts the secrets of an attempt out of the issuer that a
// callback names.
func TestEchoedCode(t *testing.T) {
	p := newProvider(t)
	_, err := newAuth(t, p.URL, p.verifying).Complete(t.Context(), &Attempt{State: theState, Nonce: "n0nce-n0nce", Verifier: theVerifier, RedirectURL: theRedirect},
		url.Values{"state": {theState}, "code": {theCode}, "iss": {"https://x/" + theState + theCode + theVerifier}})
	requireError(t, err, &Error{Op: "complete"}, ErrIssuerMismatch)
}
