package piecesauth

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"path"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/piecesauth/piecesauth/internal/callback"
	"github.com/piecesauth/piecesauth/internal/exchange"
	"github.com/piecesauth/piecesauth/internal/oidc"
	"github.com/piecesauth/piecesauth/internal/tokenresponse"
)

// Each target states what has to hold of whatever is accepted, by other means
// than the code that accepts it. Nothing may panic, and what is refused is
// refused with an *Error that repeats no secret.

// fuzzTransport answers every request alike, and counts POSTs.
type fuzzTransport struct {
	status int
	header http.Header
	body   []byte
	posts  int
}

func (f *fuzzTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method == http.MethodPost {
		f.posts++
		_, _ = io.Copy(io.Discard, r.Body)
	}
	return &http.Response{
		StatusCode: f.status, Header: f.header, Request: r,
		ContentLength: int64(len(f.body)), Body: io.NopCloser(bytes.NewReader(f.body)),
	}, nil
}

func fuzzAuthenticator(tb testing.TB, f *fuzzTransport) *Authenticator {
	tb.Helper()
	a, err := New(Config{
		BaseURL: "https://auth.example", ClientID: "client", RedirectURL: faultRedirect, Audience: "audience",
		HTTPClient: &http.Client{Transport: f},
	})
	require.NoError(tb, err)
	return a
}

// requireClean checks an error: its type, and that it repeats no secret.
func requireClean(t *testing.T, err error) {
	t.Helper()
	require.ErrorAs(t, err, new(*Error))
	require.NotContains(t, fmt.Sprintf("%v %+v %#v", err, err, err), faultMark)
	require.NotContains(t, err.Error(), "\n")
}

// pairs returns what may stand in a callback, one beside the other, for mutation
// doesn't combine.
func pairs() (out []string) {
	one := []string{"code=c", "code=d", "code=", "state=s", "state=t", "state=", "error=x", "error=", "iss=https%3A%2F%2Fissuer.example%2F", "iss=x", "schema[migration]=1", "scope=a"}
	for i, a := range one {
		for _, b := range one[i:] {
			out = append(out, "code=c&state=s&"+a+"&"+b, a+"&"+b)
		}
	}
	return out
}

// FuzzCallback: an accepted callback has the right state, once, a code, no
// error and, where an issuer is announced, that issuer; a refused one never
// gets as far as the token endpoint.
func FuzzCallback(f *testing.F) {
	for _, raw := range []string{
		"", "state=s&code=c", "code=c", "state=s", "state=t&code=c", "state=s&state=s&code=c", "state=s&code=c&code=d",
		"state=t&error=access_denied", "state=s&error=access_denied&error_description=no", "state=s&code=&error=",
		"state=s&code=c&iss=https%3A%2F%2Fissuer.example%2F", "state=s&code=c&iss=https://issuer.example", "state=s&code=c&iss=", "%73tate=%73&code=c",
		"state=s%00&code=c", "STATE=s&code=c", "state[]=s&code=c", "state=s;code=c", "state=s&code=c&scope=openid&session_state=x&a=1&b=2&c=3",
		"state=s&code=c&iss=https%3A%2F%2Fissuer.example%2F&iss=x", "state=&code=c", "state=ss&code=c",
	} {
		f.Add(raw)
	}
	for _, raw := range pairs() {
		f.Add(raw)
		f.Add(raw + "&iss=https%3A%2F%2Fissuer.example%2F")
	}
	const issuer = "https://issuer.example/"
	tr := &fuzzTransport{status: 200, header: http.Header{}, body: []byte(`{"access_token":"a","token_type":"Bearer"}`)}
	a, withIssuer := fuzzAuthenticator(f, tr), fuzzAuthenticator(f, tr)
	withIssuer.config.Issuer = issuer
	withIssuer.issuer = fixedIssuer(issuer, `{"issuer":"`+issuer+`","authorization_response_iss_parameter_supported":true}`, "")
	f.Fuzz(func(t *testing.T, raw string) {
		callback, err := url.ParseQuery(raw)
		if err != nil {
			return
		}
		tr.posts = 0
		attempt := &Attempt{State: "s", Nonce: faultNonce, Verifier: faultVerifier, RedirectURL: faultRedirect}
		fits := len(callback["state"]) == 1 && callback["state"][0] == "s" && callback.Get("error") == "" &&
			len(callback["code"]) == 1 && callback.Get("code") != ""
		token, err := a.Complete(t.Context(), attempt, callback)
		if err == nil {
			require.True(t, fits, "accepted %q", raw)
			require.NotNil(t, token)
			require.Equal(t, 1, tr.posts)
		} else {
			requireClean(t, err)
			require.Zero(t, tr.posts, "refused %q, but sent the code", raw)
			if len(callback["state"]) != 1 || callback["state"][0] != "s" { // whatever else there is
				require.ErrorIs(t, err, ErrStateMismatch)
				var e *Error
				require.ErrorAs(t, err, &e)
				require.Empty(t, e.Code+e.Description+e.URI, "nothing of it is repeated")
			}
		}

		if err := withIssuer.checkCallback(t.Context(), "complete", callback, "s", faultNonce); err == nil {
			require.Equal(t, []string{issuer}, callback["iss"])
			require.Equal(t, []string{"s"}, callback["state"])
			require.Empty(t, callback.Get("error"))
		} else {
			requireClean(t, err)
		}
	})
}

// FuzzForm: the result of an answer with status 200 is what a plain reading of
// its body finds, and has the state that was sent, once.
func FuzzForm(f *testing.F) {
	for _, body := range []string{
		"code=c&state=s", "code=c", "state=s", "code=c&state=t", "code=c&code=d&state=s", "code=c&state=s&schema[migration]=0&schema[semantic]=MAJOR_0_MINOR_0_PATCH_1",
		`code=c&state=s&schema={"migration":1,"semantic":"MAJOR_0_MINOR_0_PATCH_1"}`, "code=c&state=s&schema[migration]=x", "code=c&state=s&schema=", "code=c&state=s&schema[]=1",
		"error=login_required&state=s", "error=x&error_description=y", `{"code":"c","state":"s"}`, `{"code":"c","state":"s","schema":{"migration":2}}`, `{"code":1,"state":"s"}`,
		`{"code":"c","code":"d","state":"s"}`, "<html>", " code=c&state=s\n", "code=c%&state=s", "null", "[]", "code=c&state=s&schema[migration][x]=1", "code[]=c&state=s",
		`{"code":"c","state":"s","schema":{"semantic":7}}`, "code=c&state=s&code", "\xef\xbb\xbfcode=c&state=s",
	} {
		f.Add(formType, []byte(body))
		f.Add("text/html", []byte(body))
	}
	for _, body := range pairs() {
		f.Add(formType, []byte(body))
	}
	tr := &fuzzTransport{status: 200}
	a := fuzzAuthenticator(f, tr)
	f.Fuzz(func(t *testing.T, mediaType string, body []byte) {
		tr.header, tr.body = http.Header{"Content-Type": {mediaType}}, body
		state, nonce := "s", faultNonce
		r, err := a.Authorize(t.Context(), AuthorizeAuth0Params{CodeChallenge: "c", State: &state, Nonce: &nonce})
		if err != nil {
			require.Nil(t, r)
			requireClean(t, err)
			return
		}
		require.NotEmpty(t, r.Code)
		require.Equal(t, "s", r.State)
		text := strings.TrimSpace(string(body))
		if strings.HasPrefix(text, "{") {
			var fields struct{ Code, State string }
			require.NoError(t, json.Unmarshal(body, &fields))
			require.True(t, utf8.Valid(body))
			var exact map[string]any
			require.NoError(t, json.Unmarshal(body, &exact))
			require.Equal(t, exact["code"], r.Code)
			require.Equal(t, exact["state"], r.State)
			return
		}
		values, err := url.ParseQuery(text)
		require.NoError(t, err)
		require.Equal(t, []string{r.Code}, values["code"])
		require.Equal(t, []string{"s"}, values["state"])
		require.Empty(t, values.Get("error"))
	})
}

// unambiguous returns the members of the object that the body begins with, but
// for those that come twice or whose text isn't UTF-8.
func unambiguous(t *testing.T, body []byte) map[string]any {
	dec := json.NewDecoder(bytes.NewReader(bytes.TrimPrefix(body, []byte("\ufeff"))))
	begin, err := dec.Token()
	require.NoError(t, err)
	require.Equal(t, json.Delim('{'), begin)
	members, times := map[string]any{}, map[string]int{}
	for dec.More() {
		name, err := dec.Token()
		require.NoError(t, err)
		var value any
		require.NoError(t, dec.Decode(&value))
		members[name.(string)] = value //nolint:forcetypeassert // names are
		times[name.(string)]++         //nolint:forcetypeassert // likewise
	}
	for name, value := range members {
		if text, _ := value.(string); times[name] > 1 || strings.ContainsRune(text, utf8.RuneError) {
			delete(members, name)
		}
	}
	return members
}

// FuzzTokenResponse: an accepted token is the one that was answered, can be
// sent, is a bearer's, and is the same when it was written and read again.
func FuzzTokenResponse(f *testing.F) {
	for _, body := range []string{
		`{"access_token":"a","token_type":"Bearer","expires_in":86400,"scope":"openid email","refresh_token":"r","id_token":"i"}`,
		`{"access_token":"a","token_type":"bearer"}`, `{"access_token":"","token_type":"Bearer"}`, `{"token_type":"Bearer"}`, `{"access_token":"a"}`,
		`{"access_token":"a","token_type":"DPoP"}`, `{"access_token":"a b","token_type":"BEARER","expires_in":"3600"}`, `{"access_token":"a\r\nX: y","token_type":"Bearer"}`,
		`{"access_token":"ä","token_type":"Bearer"}`, `{"access_token":"a","token_type":"Bearer","expires_in":3600.0}`, `{"access_token":"a","token_type":"Bearer","expires_in":1e300}`,
		`{"access_token":"a","token_type":"Bearer","expires_in":-1}`, `{"access_token":"a","token_type":"Bearer","expires_in":"x"}`, `{"access_token":"a","token_type":"Bearer","expires_in":null}`,
		`{"access_token":"a","token_type":"Bearer","scope":" a  b "}`, `{"access_token":"a","token_type":"Bearer","refresh_token":"\u0000"}`, `{"access_token":"a","token_type":"Bearer","id_token":"\ud800"}`,
		`{}`, `null`, `[]`, ``, `{"error":"invalid_grant"}`, `{"access_token":"a","access_token":null,"token_type":"Bearer"}`, `{"ACCESS_TOKEN":"a","Token_Type":"Bearer"}`,
		`{"access_token":"a","token_type":"Bearer","schema":{"migration":0}}`,
		`{"access_token":"a","scope":"x","scope":"y"}`, `{"access_token":"a","x":1,"x":2}`, `{"access_token":"a"}, `, `{"access_token":"a"}{"access_token":"b"}`,
		`{"access_token":"a","refresh_token":"r","refresh_token":"r"}`, "{\"access_token\":\"a\",\"scope\":\"\xff\"}", `{"access_token":"a","scope":{"a":1,"a":2}}`,
	} {
		f.Add([]byte(body), "a", "r")
	}
	tr := &fuzzTransport{status: 200, header: http.Header{}}
	a := fuzzAuthenticator(f, tr)
	check := func(t *testing.T, body []byte) {
		tr.body = body
		before := time.Now()
		token, err := a.Exchange(t.Context(), TokenizedPKCE{Code: faultCode, CodeVerifier: faultVerifier})
		if err != nil {
			require.Nil(t, token)
			requireClean(t, err)
			return
		}
		require.NotEmpty(t, token.AccessToken)
		for _, text := range []string{token.AccessToken, token.RefreshToken} {
			for i := range len(text) {
				require.True(t, text[i] >= 0x20 && text[i] <= 0x7e, "byte %#x in a token", text[i])
			}
		}
		require.Equal(t, "Bearer", token.TokenType)
		sent := unambiguous(t, body) // by their very names; what has the wrong type is left out, or read as text
		require.Equal(t, sent["access_token"], token.AccessToken)
		if kind, ok := sent["token_type"].(string); ok && kind != "" {
			require.Equal(t, "bearer", strings.ToLower(kind))
		}
		if text, ok := sent["refresh_token"].(string); ok && tokenresponse.IsToken(text) {
			require.Equal(t, text, token.RefreshToken)
		}
		if text, ok := sent["id_token"].(string); ok {
			require.Equal(t, text, token.IDToken)
		}
		if text, ok := sent["scope"].(string); ok {
			require.Equal(t, strings.Join(strings.Fields(text), " "), token.Scopes.String())
		}
		if seconds, _ := sent["expires_in"].(float64); math.Abs(seconds) >= 1 && math.Abs(seconds) < 1e9 {
			lasts := time.Duration(seconds) * time.Second
			require.WithinRange(t, token.Expiry, before.Add(lasts), time.Now().Add(lasts))
		}
		if !token.Expiry.IsZero() {
			century := 100 * 366 * 24 * time.Hour
			require.WithinRange(t, token.Expiry, before.Add(-century), before.Add(century))
		}

		written, err := json.Marshal(token)
		require.NoError(t, err)
		var read Token
		require.NoError(t, json.Unmarshal(written, &read))
		if len(token.Scopes) == 0 {
			token.Scopes, read.Scopes = nil, nil
		}
		require.Equal(t, *token, read)
	}
	f.Fuzz(func(t *testing.T, body []byte, access, refresh string) {
		check(t, body)
		body, err := json.Marshal(OAuthToken{AccessToken: access, RefreshToken: refresh, TokenType: TokenTypeBearer})
		require.NoError(t, err)
		check(t, body)
	})
}

// FuzzLocation: a redirect is only a result if it goes to the redirect URI, but
// for its parameters.
func FuzzLocation(f *testing.F) {
	for _, location := range []string{
		"http://127.0.0.1:3000/cb?code=c&state=s", "http://127.0.0.1:3000/cb#code=c&state=s", "http://127.0.0.1:3000/cb?error=login_required&state=s",
		"http://127.0.0.1:3000/cb/?code=c&state=s", "http://127.0.0.1:3000/CB?code=c&state=s", "http://127.0.0.1:3001/cb?code=c&state=s", "https://127.0.0.1:3000/cb?code=c&state=s",
		"http://127.0.0.1/cb?code=c&state=s", "http://u@127.0.0.1:3000/cb?code=c&state=s", "//127.0.0.1:3000/cb?code=c&state=s", "/login?code=c&state=s", "?code=c&state=s", "",
		"http://127.0.0.1:3000/%63b?code=c&state=s", "http://127.0.0.1:3000/x/../cb?code=c&state=s", "http://127.0.0.1:3000/cb;x?code=c&state=s", "http://127.0.0.1:3000\\cb?code=c&state=s",
		"HTTP://127.0.0.1:3000/cb?code=c&state=s", "http://127.0.0.1:3000/cb?state=s#code=c", "http://127.0.0.1:3000/cb?code=c&state=s&state=s", "http://127.0.0.1:3000?/cb&code=c&state=s",
		"http:127.0.0.1:3000/cb?code=c&state=s", "http://127.0.0.1:3000/cb?code=%zz&state=s", "http://127.0.0.1:3000/cb?code=c&state=t", "http://127.0.0.1:3000/cb?",
	} {
		f.Add(location, "http", "127.0.0.1:3000", "/cb")
	}
	for _, host := range []string{"127.0.0.1:30000", "127.0.0.1", "127.0.0.1:", "127.0.0.1:3000.x", "x127.0.0.1:3000", "127.0.0.1:03000", "127.0.0.01:3000", "localhost:3000", "[::1]:3000", "127.0.0.1:3000@x"} {
		f.Add("", "http", host, "/cb")
	}
	for _, where := range []string{"/cbx", "/c", "/cb/", "//cb", "/cb/x", "/%63b", "/cb%2f", "/x/../cb", "/../cb", "/cb;", "cb", "/cb%00", "/cb\\"} {
		f.Add("", "http", "127.0.0.1:3000", where)
	}
	tr := &fuzzTransport{status: 302}
	a := fuzzAuthenticator(f, tr)
	check := func(t *testing.T, location string) {
		tr.header = http.Header{"Location": {location}}
		state := "s"
		r, err := a.Authorize(t.Context(), AuthorizeAuth0Params{CodeChallenge: "c", State: &state})
		if err != nil {
			require.Nil(t, r)
			requireClean(t, err)
			var e *Error
			require.ErrorAs(t, err, &e)
			if e.Code == "" {
				return
			}
		} else {
			require.NotEmpty(t, r.Code)
			require.Equal(t, "s", r.State)
		}
		// A result or an error of the server's: it has to have gone to the
		// redirect URI, which the part before its parameters is, but for the case
		// of the scheme and for what needs no escape.
		where, _, _ := strings.Cut(location, "#")
		where, _, _ = strings.Cut(where, "?")
		scheme, rest, _ := strings.Cut(where, ":")
		if strings.Contains(rest, "/.") { // the same to whoever follows it
			host, rooted, _ := strings.Cut(strings.TrimPrefix(rest, "//"), "/")
			rest = "//" + host + path.Clean("/"+rooted)
		}
		rest, err = url.PathUnescape(rest)
		require.NoError(t, err)
		require.Equal(t, faultRedirect, strings.ToLower(scheme)+":"+rest, "accepted %q", location)
	}
	f.Fuzz(func(t *testing.T, location, scheme, host, where string) {
		check(t, location)
		check(t, scheme+"://"+host+where+"?code=c&state=s")
	})
}

// FuzzRetryAfter: a wait is positive, a day at most, and what the server says:
// a number of seconds, or the moment when its limit is reset.
func FuzzRetryAfter(f *testing.F) {
	for _, v := range []string{
		"", "0", "1", "-1", "120", "315360000", "9223372036854775807", "-9223372036854775808", "99999999999999999999", "1.5", "1e9", "soon", " 5", "+5", "0x10",
		"Fri, 31 Dec 1999 23:59:59 GMT", "Fri, 31 Dec 9999 23:59:59 GMT", "Friday, 31-Dec-99 23:59:59 GMT", "Fri Dec 31 23:59:59 2049", "Fri, 31 Dec 99999 23:59:59 GMT",
	} {
		f.Add(v, "", int64(60))
		f.Add("", v, int64(-60))
		f.Add(v, v, int64(1<<40))
	}
	const day = 24 * time.Hour
	f.Fuzz(func(t *testing.T, after, reset string, in int64) {
		h := http.Header{"Retry-After": {after}, "X-Ratelimit-Reset": {reset}}
		wait, ok := exchange.RetryAfter(h)
		require.LessOrEqual(t, wait, day)
		require.Equal(t, ok, wait > 0, "%v, %v", wait, ok)
		if n := strings.TrimLeft(after, "0123456789"); n == "" && strings.TrimLeft(after, "0") != "" {
			require.True(t, ok, "a number of seconds says nothing")
			if len(after) <= 4 {
				var seconds int
				_, err := fmt.Sscanf(after, "%d", &seconds)
				require.NoError(t, err)
				require.Equal(t, time.Duration(seconds)*time.Second, wait)
			}
		}
		e := refusal("userinfo", new(url.URL), &exchange.Answer{StatusCode: 429, Header: h})
		require.Equal(t, max(wait, 0) > 0, e.RetryAfter > 0)

		// The same moment, in each of the ways to say it.
		before := time.Now()
		at := before.Add(time.Duration(in%int64(2*day/time.Second)) * time.Second).Truncate(time.Second)
		for name, value := range map[string]string{"Retry-After": at.UTC().Format(http.TimeFormat), "X-Ratelimit-Reset": strconv.FormatInt(at.Unix(), 10)} {
			wait, ok := exchange.RetryAfter(http.Header{name: {value}})
			least, most := time.Until(at), at.Sub(before)
			require.Equal(t, ok, wait > 0)
			require.LessOrEqual(t, wait, max(0, min(most, day)), "%s: %s", name, value)
			require.GreaterOrEqual(t, wait, max(0, min(least, day)), "%s: %s", name, value)
		}
	})
}

// idTokenRules are those of OpenID Connect Core §3.1.3.7, written down a second
// time: it says which one the payload breaks.
func idTokenRules(payload []byte, alg, issuer, accessToken, nonce string, maxAge time.Duration, before, after time.Time) error {
	var c map[string]any
	if err := json.Unmarshal(payload, &c); err != nil {
		return errors.New("payload is no JSON object")
	}
	str := func(name string) string { s, _ := c[name].(string); return s }
	num := func(name string) (time.Time, bool) {
		n, ok := c[name].(float64)
		const far = 1 << 40
		return time.Unix(int64(max(-far, min(n, far))), 0), ok
	}
	if str("iss") == "" || issuer != "" && str("iss") != issuer {
		return errors.New("iss")
	}
	if str("sub") == "" {
		return errors.New("sub")
	}
	var auds []any
	switch aud := c["aud"].(type) {
	case string:
		auds = []any{aud}
	case []any:
		auds = aud
	}
	if len(auds) == 0 {
		return errors.New("aud")
	}
	for _, aud := range auds {
		if aud != "client" {
			return errors.New("aud")
		}
	}
	if azp, ok := c["azp"]; ok && azp != nil && azp != "" && azp != "client" {
		return errors.New("azp")
	}
	if exp, ok := num("exp"); !ok || !before.Before(exp.Add(5*time.Minute+time.Second)) {
		return errors.New("exp")
	}
	if iat, ok := num("iat"); !ok || after.Before(iat.Add(-5*time.Minute-time.Second)) {
		return errors.New("iat")
	}
	if nonce != "" && str("nonce") != nonce {
		return errors.New("nonce")
	}
	if at, ok := num("nbf"); ok && after.Before(at.Add(-5*time.Minute-time.Second)) {
		return errors.New("nbf")
	}
	iat, _ := num("iat")
	if at, ok := num("auth_time"); maxAge > 0 && (!ok || at.Before(iat.Add(-maxAge-31*time.Second))) {
		return errors.New("auth_time")
	}
	if got := str("at_hash"); got != "" {
		s256 := sha256.Sum256([]byte(accessToken))
		s384 := sha512.Sum384([]byte(accessToken))
		s512 := sha512.Sum512([]byte(accessToken))
		sum := s512[:]
		switch {
		case strings.HasSuffix(alg, "256"):
			sum = s256[:]
		case strings.HasSuffix(alg, "384"):
			sum = s384[:]
		}
		if base64.RawURLEncoding.EncodeToString(sum[:len(sum)/2]) != got {
			return errors.New("at_hash")
		}
	}
	return nil
}

// FuzzIDToken: no ID token is accepted that breaks a rule, of the three ways it
// may come: as any text, of any header and claims, and signed.
func FuzzIDToken(f *testing.F) {
	now := time.Now().Unix()
	claims := func(change string) string {
		c := fmt.Sprintf(`{"iss":"https://issuer.example/","sub":"u","aud":"client","exp":%d,"iat":%d,"auth_time":%d,"nonce":"n"`, now+1<<30, now, now)
		if change != "" {
			c += "," + change
		}
		return c + "}"
	}
	const edDSA = `{"alg":"EdDSA","kid":"k"}`
	for _, change := range []string{
		"", `"at_hash":"x"`, `"azp":"client"`, `"azp":"other"`, `"x":[{}]`,
		// Given twice, of which another reader might take the other.
		`"aud":"other"`, `"iss":"https://elsewhere.example/"`, `"sub":""`, `"exp":1`, `"NONCE":"m"`, `"Aud":"client"`,
	} {
		f.Add(edDSA, claims(change))
	}
	good := claims("")
	for _, bent := range [][2]string{
		{`"sub":"u"`, `"sub":""`},
		{`"sub":"u",`, ``},
		{`"sub":"u"`, `"sub":1`},
		{`"aud":"client"`, `"aud":["client"]`},
		{`"aud":"client"`, `"aud":["client","other"]`},
		{`"aud":"client"`, `"aud":["other"]`},
		{`"aud":"client"`, `"aud":[]`},
		{`"aud":"client"`, `"aud":["client",null]`},
		{`"aud":"client",`, ``},
		{`"nonce":"n"`, `"nonce":""`},
		{`"nonce":"n"`, `"nonce":"m"`},
		{`"iss":"https://issuer.example/"`, `"iss":"https://issuer.example"`},
		{`"iss":"https://issuer.example/"`, `"iss":null`},
		{`"exp":`, `"exp":-`},
		{`"exp":`, `"ex":`},
		{`"iat":`, `"iat":9`},
		{`"iat":`, `"ia":`},
		{`"auth_time":`, `"auth_tim":`},
		{`{`, ``},
		{`}`, ``},
	} {
		f.Add(edDSA, strings.Replace(good, bent[0], bent[1], 1))
	}
	for _, header := range []string{
		`{"alg":"none"}`, `{"alg":"None","kid":"k"}`, `{"alg":""}`, `{}`, `{"alg":"RS256","kid":"k"}`, `{"alg":"HS256","kid":"k"}`, `{"alg":"EdDSA"}`, `{"alg":"EdDSA","kid":"other"}`,
		`{"alg":"EdDSA","kid":"k","crit":["b64"],"b64":false}`, `{"alg":"EdDSA","alg":"none","kid":"k"}`, `null`, `[]`, ``, `{"ALG":"EdDSA"}`, `{"alg":"EdDSA","kid":"k","jwk":{}}`,
	} {
		f.Add(header, good)
	}
	f.Add(good, "")
	f.Add(rawJWT(edDSA, good), "")

	public, private, err := ed25519.GenerateKey(nil)
	require.NoError(f, err)
	const issuer = "https://issuer.example/"
	plain := fuzzAuthenticator(f, &fuzzTransport{status: 404})
	verifying := fuzzAuthenticator(f, &fuzzTransport{status: 404})
	verifying.config.Issuer = issuer
	keys, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: public, KeyID: "k", Algorithm: "EdDSA"}}})
	require.NoError(f, err)
	verifying.issuer = fixedIssuer(issuer, `{"issuer":"`+issuer+`","id_token_signing_alg_values_supported":["EdDSA"]}`, string(keys))

	attempt := &Attempt{Nonce: "n", MaxAge: time.Hour}
	f.Fuzz(func(t *testing.T, header, payload string) {
		enc := base64.RawURLEncoding.EncodeToString
		signed := enc([]byte(header)) + "." + enc([]byte(payload))
		signature := ed25519.Sign(private, []byte(signed))
		check := func(a *Authenticator, raw string) error {
			before := time.Now()
			token := &Token{AccessToken: "a", IDToken: raw}
			if err := a.checkAttemptToken(context.Background(), attempt, token); err != nil {
				requireClean(t, wrap("complete", err))
				require.Empty(t, token.checked)
				require.ErrorIs(t, token.Claims(new(any)), ErrNotVerified)
				return err
			}
			parts := strings.Split(raw, ".")
			require.Len(t, parts, 3)
			head, err := base64.RawURLEncoding.DecodeString(parts[0])
			require.NoError(t, err)
			var h map[string]any
			require.NoError(t, json.Unmarshal(head, &h))
			alg, _ := h["alg"].(string)
			require.NotEmpty(t, alg)
			require.NotEqual(t, "none", strings.ToLower(alg))
			body, err := base64.RawURLEncoding.DecodeString(parts[1])
			require.NoError(t, err)
			var sent, read map[string]any
			if json.Unmarshal(body, &sent) == nil { // a number may be beyond any
				require.NoError(t, token.Claims(&read))
				require.Equal(t, sent, read)
			}
			require.NoError(t, idTokenRules(body, alg, a.config.Issuer, "a", "n", attempt.MaxAge, before, time.Now()), "accepted %s", body)
			return nil
		}
		_ = check(plain, header) // as any text
		_ = check(verifying, header)
		_ = check(plain, signed+"."+enc([]byte("signature")))
		if err := check(verifying, signed+"."+enc(signature)); err == nil {
			var h map[string]any
			require.NoError(t, json.Unmarshal([]byte(header), &h))
			require.Equal(t, "EdDSA", h["alg"])
			require.Contains(t, []any{nil, "", "k"}, h["kid"])
		}
		signature[0] ^= 1
		require.Error(t, check(verifying, signed+"."+enc(signature)), "a signature that is none")
		require.Error(t, check(verifying, signed+"."), "no signature")
	})
}

// fixedIssuer has metadata and keys that are always there; "" is a failure.
func fixedIssuer(issuer, metadata, keys string) *oidc.Provider {
	return oidc.NewProvider(oidc.ProviderConfig{
		URL: issuer, CheckURL: exchange.CheckURL,
		Fetch: func(_ context.Context, op, _, _ string) (oidc.Response, error) {
			body := map[string]string{"discovery": metadata, "jwks": keys}[op]
			if body == "" {
				return oidc.Response{}, &Error{Op: op, Err: callback.ErrNone}
			}
			return oidc.Response{StatusCode: 200, Body: []byte(body)}, nil
		},
	})
}

// FuzzParseCallback: what is accepted is the query or the fragment of the URL,
// or all of what was pasted, with a code or an error in it, and is the same when put in a URL again.
func FuzzParseCallback(f *testing.F) {
	for _, raw := range []string{
		"http://127.0.0.1:3000/cb?code=c&state=s", " http://127.0.0.1:3000/cb#code=c&state=s\n", "http://a/?error=x", "code=c", "?code=c", "#error=x", "http://a/", "", "%", "http://a/?code=%zz",
		"code=c&state=s", "'code=c&state=s;x#y'", "<http://a/?code=c&hd=100%>", "http://a/?x=1#code=c", "http://a/?code=c#code=d", "http://a/?code=c;d", "http://a/#/cb?code=c", "myapp:/cb?code=c", "http://a/?code", "http://[::1/?code=c", "http://a/#code=%2523&state=%26", "0#code& %2B", "code=?&state",
	} {
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		v, err := ParseCallback(raw)
		if err != nil {
			require.Nil(t, v)
			require.ErrorAs(t, err, new(*Error))
			return
		}
		require.True(t, v.Has("code") || v.Has("error"))
		rest, fragment, _ := strings.Cut(strings.TrimFunc(raw, callback.Surrounds), "#")
		_, query, _ := strings.Cut(rest, "?")
		found := false
		for _, part := range []string{query, fragment, rest} { // a query alone may hold a "?"
			values, unreadable := callback.Parse(part) // itself held against net/url
			found = found || unreadable == "" && reflect.DeepEqual(v, values)
		}
		require.True(t, found, "%q gave %v", raw, v)
		for _, join := range []string{"?", "#"} {
			again, err := ParseCallback("https://app.example/cb" + join + v.Encode())
			require.NoError(t, err)
			require.Equal(t, v, again)
		}
	})
}

// FuzzScalars: a moment, a lifetime and a list of scopes are the same when
// written and read again.
func FuzzScalars(f *testing.F) {
	for _, data := range []string{
		`"2026-01-02T03:04:05Z"`, `"2026-01-02T03:04:05.123456789+02:00"`, `"2026-01-02"`, `"2026-01-02 03:04:05"`, `1767323045`, `"1767323045"`, `1767323045.5`, `0`, `-1`, `1e300`, `""`, `null`,
		`"0000-01-01T00:00:00Z"`, `"9999-12-31T23:59:59-23:59"`, `"2026-01-02T03:04:05+24:00"`, `253402300799`, `253402300800`, `86400`, `"86400"`, `86400.0`, `9223372036854775808`, `"NaN"`, `"Inf"`, `"0x10"`,
		`true`, `{}`, `"openid email"`, `" openid   email\t"`, `"\u00a0"`,
	} {
		f.Add([]byte(data), 1.5)
	}
	for exp := range 20 { // mutation adds and multiplies too little to get far
		f.Add([]byte("null"), math.Pow10(exp))
		f.Add([]byte("null"), -math.Pow10(exp))
	}
	check := func(t *testing.T, data []byte) {
		var at Timestamp
		if json.Unmarshal(data, &at) == nil {
			written, err := json.Marshal(at)
			require.NoError(t, err, "%s was read as %v, which can't be written", data, at)
			var again Timestamp
			require.NoError(t, json.Unmarshal(written, &again))
			require.True(t, at.Equal(again.Time), "%v became %v", at, again)
		}
		var lasts Seconds
		if json.Unmarshal(data, &lasts) == nil {
			written, err := json.Marshal(lasts)
			require.NoError(t, err)
			var again Seconds
			require.NoError(t, json.Unmarshal(written, &again))
			require.Equal(t, lasts, again)
			require.LessOrEqual(t, lasts.Duration().Abs(), 101*365*24*time.Hour)
			require.Equal(t, lasts > 0, lasts.Duration() > 0)
		}
		var scopes Scopes
		if json.Unmarshal(data, &scopes) == nil {
			for _, scope := range scopes {
				require.NotEmpty(t, scope)
				assert.True(t, scopes.Contains(scope))
			}
			written, err := json.Marshal(scopes)
			require.NoError(t, err)
			var again Scopes
			require.NoError(t, json.Unmarshal(written, &again))
			if len(scopes) > 0 {
				require.Equal(t, scopes, again)
			} else {
				require.Empty(t, again)
			}
		}
	}
	f.Fuzz(func(t *testing.T, data []byte, number float64) {
		check(t, data)
		check(t, strconv.AppendFloat(nil, number, 'g', -1, 64))
	})
}
