package piecesauth

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What Pieces documents, and the tests below send.
const (
	theClient    = "9sW4Pa1LEjX67l6VO14u0207NLYeXnu1"
	theAudience  = "https://pieces.us.auth0.com/api/v2/"
	theRedirect  = "http://localhost:3000/pkce/response/code"
	theChallenge = "yxRssZxdfBpMigRmDxAety1QU72Bd5WnDUbtlsCZOnk"
	theState     = "4bd0b9a389b4b229602346c33913b4c3c199628a90011ab3a901302ab62b3832"
	theCode      = "SplxlOBeZQQYbYS6WxSbIA"
	theVerifier  = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
	theAccess    = "access-token-2YotnFZFEjr1zCsicMWpAA"
	theRefresh   = "refresh-token-tGzv3JOkF0XG5Qx2TlKWIA"
)

// secrets that no error may show, whatever a server repeats of them.
var secrets = []string{theState, theCode, theVerifier, theAccess, theRefresh}

// wire is a server that notes each request as it came.
type wire struct {
	*httptest.Server

	mu  sync.Mutex
	got []string
}

func newWire(t *testing.T, answer http.HandlerFunc) *wire {
	t.Helper()
	w := new(wire)
	w.Server = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		text := dump(t, r)
		w.mu.Lock()
		w.got = append(w.got, text)
		w.mu.Unlock()
		answer(rw, r)
	}))
	t.Cleanup(w.Close)
	return w
}

func (w *wire) requests() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.got)
}

// dump gives the bytes of a request, but for what is free: the order of the
// headers and of the parameters, the host, and how lines end.
func dump(t *testing.T, r *http.Request) string {
	b, err := httputil.DumpRequest(r, true)
	if !assert.NoError(t, err) {
		return ""
	}
	text := strings.ReplaceAll(strings.ReplaceAll(string(b), "\r\n", "\n"), r.Host, "HOST")
	head, body, _ := strings.Cut(text, "\n\n")
	line, headers, _ := strings.Cut(head, "\n")
	uri := strings.Fields(line)[1]
	if path, query, ok := strings.Cut(uri, "?"); ok {
		line = strings.Replace(line, uri, path+"?"+inOrder(query), 1)
	}
	return request(line, inOrder(body), strings.Split(headers, "\n"))
}

func request(line, body string, headers []string) string {
	slices.Sort(headers)
	return line + "\n" + strings.Join(headers, "\n") + "\n\n" + body
}

func inOrder(params string) string {
	parts := strings.Split(params, "&")
	slices.Sort(parts)
	return strings.Join(parts, "&")
}

// reply answers with headers of the form "Name: value".
func reply(status int, body string, headers ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for _, h := range headers {
			name, value, _ := strings.Cut(h, ": ")
			w.Header().Add(name, value)
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

const (
	asForm = "Content-Type: application/x-www-form-urlencoded"
	asJSON = "Content-Type: application/json"
	asHTML = "Content-Type: text/html; charset=utf-8"
	asText = "Content-Type: text/plain; charset=utf-8"
)

// newAuth gives an authenticator for the server, whose configuration may be
// changed first.
func newAuth(t *testing.T, server string, change ...func(*Config)) *Authenticator {
	t.Helper()
	c := Config{BaseURL: server, ClientID: theClient, RedirectURL: theRedirect, Audience: theAudience}
	for _, f := range change {
		f(&c)
	}
	a, err := New(c)
	require.NoError(t, err)
	t.Cleanup(a.client.CloseIdleConnections)
	return a
}

// requireError checks that err is an *Error with the set fields of want, that
// it is each of the causes, and that it can be shown to anybody.
func requireError(t *testing.T, err error, want *Error, causes ...error) {
	t.Helper()
	require.Error(t, err)
	var e *Error
	require.ErrorAs(t, err, &e)
	require.ErrorIs(t, err, want, "%#v", err)
	for _, cause := range causes {
		require.ErrorIs(t, err, cause)
	}
	for _, sentinel := range []error{
		ErrStateMismatch, ErrIssuerMismatch, ErrSubjectMismatch, ErrNonceMismatch, ErrNoToken, ErrNotVerified,
		ErrSignInRequired, ErrBrowserRequired, ErrUnknownOutcome, ErrTooLarge,
	} {
		if !slices.Contains(causes, sentinel) {
			require.NotErrorIs(t, err, sentinel)
		}
	}
	require.True(t, strings.HasPrefix(err.Error(), "piecesauth: "+e.Op), err.Error())
	for _, text := range []string{err.Error(), fmt.Sprintf("%+v", err), fmt.Sprintf("%#v", err)} {
		require.NotContains(t, text, "\n")
		require.NotContains(t, text, "<html")
		for _, s := range secrets {
			require.NotContains(t, text, s)
			require.NotContains(t, text, url.QueryEscape(s))
		}
	}
}

func ptr[T any](v T) *T { return &v }

func send(t *testing.T, client *http.Client, method, to string, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(t.Context(), method, to, body)
	if !assert.NoError(t, err) {
		return nil, err
	}
	return client.Do(req)
}

// The operations, as several tables carry them out.

func sorted(rawURL string) string {
	before, query, _ := strings.Cut(rawURL, "?")
	return before + "?" + inOrder(query)
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func query(t *testing.T, rawURL string) url.Values {
	t.Helper()
	u, err := url.Parse(rawURL)
	require.NoError(t, err)
	v, err := url.ParseQuery(u.RawQuery)
	require.NoError(t, err)
	return v
}

func authorize(ctx context.Context, a *Authenticator) error {
	_, err := a.Authorize(ctx, AuthorizeAuth0Params{CodeChallenge: theChallenge, State: ptr(theState)})
	return err
}

func exchangeCode(ctx context.Context, a *Authenticator) error {
	_, err := a.Exchange(ctx, TokenizedPKCE{Code: theCode, CodeVerifier: theVerifier})
	return err
}

func refresh(ctx context.Context, a *Authenticator) error {
	_, err := a.Refresh(ctx, &Token{RefreshToken: theRefresh})
	return err
}

func userInfo(ctx context.Context, a *Authenticator) error {
	_, err := a.UserInfo(ctx, &Token{AccessToken: theAccess})
	return err
}

func logout(ctx context.Context, a *Authenticator) error {
	_, err := a.Logout(ctx, "https://example.com/bye")
	return err
}

const (
	tokenBody   = `{"access_token":"` + theAccess + `","token_type":"Bearer","expires_in":86400}`
	theSchema   = `{"migration":0,"semantic":"MAJOR_0_MINOR_0_PATCH_1"}`
	acceptGzip  = "Accept-Encoding: gzip" // net/http's own
	userAgent   = "User-Agent: piecesauth-go/" + Version
	sentReturn  = "&returnTo=https%3A%2F%2Fexample.com%2Fbye"
	sentDefault = "audience=https%3A%2F%2Fpieces.us.auth0.com%2Fapi%2Fv2%2F&client_id=" + theClient +
		"&code_challenge=" + theChallenge + "&code_challenge_method=S256" +
		"&redirect_uri=http%3A%2F%2Flocalhost%3A3000%2Fpkce%2Fresponse%2Fcode&response_mode=form_post&response_type=code" +
		"&scope=openid+profile+email+offline_access"
	sentCode = "client_id=" + theClient + "&code=" + theCode + "&code_verifier=" + theVerifier +
		"&grant_type=authorization_code&redirect_uri=http%3A%2F%2Flocalhost%3A3000%2Fpkce%2Fresponse%2Fcode"
	sentRefresh = "client_id=" + theClient + "&grant_type=refresh_token&refresh_token=" + theRefresh
)

// get and post give a request as dump does.
func get(uri, accept string, headers ...string) string {
	return request("GET "+uri+" HTTP/1.1", "", append(headers, "Host: HOST", "Accept: "+accept, acceptGzip, userAgent))
}

func post(form string, headers ...string) string {
	return request("POST /oauth/token HTTP/1.1", form, append(headers, "Host: HOST", "Accept: application/json", acceptGzip, userAgent,
		asForm, fmt.Sprint("Content-Length: ", len(form))))
}
