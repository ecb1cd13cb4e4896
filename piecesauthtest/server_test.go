package piecesauthtest_test

import (
	"context"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/piecesauth/piecesauth/piecesauthtest"
)

const (
	redirectURI = "http://127.0.0.1:4321/callback"
	// RFC 7636 appendix B.
	verifier  = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
	challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
)

type values map[string]string

// with overrides; an empty value drops the field.
func (v values) with(changes values) url.Values {
	all := maps.Clone(v)
	maps.Copy(all, changes)
	q := url.Values{}
	for name, value := range all {
		if value != "" {
			q.Set(name, value)
		}
	}
	return q
}

var authorizeQuery = values{
	"audience":              "https://pieces.us.auth0.com/api/v2/",
	"scope":                 "openid profile email offline_access",
	"response_type":         "code",
	"client_id":             "piecesauthtest",
	"state":                 "the state",
	"redirect_uri":          redirectURI,
	"code_challenge_method": "S256",
	"code_challenge":        challenge,
	"response_mode":         "query",
	"nonce":                 "the nonce",
}

func newServer(t *testing.T, options piecesauthtest.Options) *piecesauthtest.Server {
	t.Helper()
	server := piecesauthtest.NewServer(options)
	t.Cleanup(server.Close)
	return server
}

func authorizeURL(server *piecesauthtest.Server, changes values) string {
	return server.URL + "/authorize?" + authorizeQuery.with(changes).Encode()
}

type answer struct {
	*http.Response
	body string
}

func (a answer) json(t *testing.T) map[string]any {
	t.Helper()
	object := map[string]any{}
	require.NoError(t, json.Unmarshal([]byte(a.body), &object), a.body)
	return object
}

func do(t *testing.T, server *piecesauthtest.Server, r *http.Request) answer {
	t.Helper()
	client := *server.Client()
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	response, err := client.Do(r)
	require.NoError(t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return answer{response, string(body)}
}

func get(t *testing.T, server *piecesauthtest.Server, url string, header ...string) answer {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	require.NoError(t, err)
	for pair := range slices.Chunk(header, 2) {
		r.Header.Add(pair[0], pair[1])
	}
	return do(t, server, r)
}

func post(t *testing.T, server *piecesauthtest.Server, path, body string, header ...string) answer {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+path, strings.NewReader(body))
	require.NoError(t, err)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for pair := range slices.Chunk(header, 2) {
		r.Header.Set(pair[0], pair[1])
	}
	return do(t, server, r)
}

var tokenForm = values{
	"grant_type":    "authorization_code",
	"client_id":     "piecesauthtest",
	"redirect_uri":  redirectURI,
	"code_verifier": verifier,
}

func signIn(t *testing.T, server *piecesauthtest.Server, changes values) (code string) {
	t.Helper()
	callback, err := server.Browser().SignIn(t.Context(), authorizeURL(server, changes))
	require.NoError(t, err)
	require.NotEmpty(t, callback.Get("code"), callback)
	return callback.Get("code")
}

func redeem(t *testing.T, server *piecesauthtest.Server, code string, changes values) answer {
	t.Helper()
	form := tokenForm.with(changes)
	form.Set("code", code)
	return post(t, server, "/oauth/token", form.Encode())
}

func tokens(t *testing.T, server *piecesauthtest.Server, changes values) map[string]any {
	t.Helper()
	a := redeem(t, server, signIn(t, server, changes), nil)
	require.Equal(t, 200, a.StatusCode, a.body)
	return a.json(t)
}

func refresh(t *testing.T, server *piecesauthtest.Server, token any) answer {
	t.Helper()
	return post(t, server, "/oauth/token", url.Values{
		"grant_type": {"refresh_token"}, "client_id": {"piecesauthtest"}, "refresh_token": {token.(string)},
	}.Encode())
}

func userinfo(t *testing.T, server *piecesauthtest.Server, token any) answer {
	t.Helper()
	return get(t, server, server.URL+"/userinfo", "Authorization", "Bearer "+token.(string))
}

func keySet(t *testing.T, server *piecesauthtest.Server) (set jose.JSONWebKeySet) {
	t.Helper()
	a := get(t, server, server.URL+"/.well-known/jwks.json")
	require.Equal(t, 200, a.StatusCode)
	require.NoError(t, json.Unmarshal([]byte(a.body), &set))
	return set
}

// verify checks the signature, with a library, and gives the claims.
func verify(t *testing.T, server *piecesauthtest.Server, idToken any) (map[string]any, error) {
	t.Helper()
	jws, err := jose.ParseSignedCompact(idToken.(string), []jose.SignatureAlgorithm{jose.RS256, jose.ES256})
	require.NoError(t, err)
	payload, err := jws.Verify(keySet(t, server))
	claims := map[string]any{}
	require.NoError(t, json.Unmarshal(jws.UnsafePayloadWithoutVerification(), &claims))
	if err == nil {
		require.JSONEq(t, string(payload), string(jws.UnsafePayloadWithoutVerification()))
	}
	return claims, err
}

func TestTLS(t *testing.T) {
	server := newServer(t, piecesauthtest.Options{TLS: true})
	assert.True(t, strings.HasPrefix(server.URL, "https://127.0.0.1:"))
	answer := tokens(t, server, nil)
	assert.Equal(t, 200, userinfo(t, server, answer["access_token"]).StatusCode)
	assert.NotNil(t, server.Config().HTTPClient)
}

func TestCloseEndsWhatHangs(t *testing.T) {
	server := piecesauthtest.NewServer(piecesauthtest.Options{})
	defer server.Close()
	server.Fail(piecesauthtest.UserInfo, piecesauthtest.Fault{Hang: true}, piecesauthtest.Fault{Delay: time.Hour})
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			r, err := http.NewRequestWithContext(context.Background(), http.MethodGet, server.URL+"/userinfo", nil)
			if assert.NoError(t, err) {
				response, err := server.Client().Do(r)
				if !assert.Error(t, err) {
					_ = response.Body.Close()
				}
			}
		})
	}
	require.Eventually(t, func() bool { return server.Count(piecesauthtest.UserInfo) == 2 }, 30*time.Second, time.Millisecond)
	server.Close()
	wg.Wait()
	server.Close()
}
