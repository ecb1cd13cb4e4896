package piecesauth

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"text/template"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/piecesauth/piecesauth/internal/exchange"
)

// The tests of this file plant known secrets in every place they can stand,
// print everything that can be printed in every way, and search the lot.
//
// The ways, of a value T that holds secrets (forms):
//
//	the value          T, *T, []T, []*T, [1]T, map[string]T, map[string]*T, any
//	in a struct        as exported field T, *T, []T, any, and embedded T, *T
//	package fmt        %v %+v %#v %s %q %x %X % x %d %t, surplus arguments, Sprint, Sprintln, Errorf
//	text/template      {{.}}
//	slog, text         each of the above as attribute, in a group, by With
//	slog, JSON         T, *T as attribute, in a group, by With
//	panic              T, *T: what recover gives, and what the runtime prints
//	errors             all of the above of each error in the chain
//
// and each is searched for the secret as it is, escaped as in a URL or in JSON,
// in hexadecimal, and as the list of numbers that %v makes of bytes.
//
// In two more Go gives a type no hold on what is printed: a value nested in
// another, which slog's JSON handler marshals as a whole, for JSON is how
// tokens are stored; and a value in an unexported field of somebody's struct,
// whose methods fmt can't call. (A pointer there is printed as an address.) The
// same is true of two mistakes that go vet refuses, %p of a value and %w of
// what is no error or outside Errorf: fmt complains of those without asking the
// value. TestSecretsWithoutHold shows that this is so.

// planted are the secrets by what they are. Their odd characters show whether
// an escaped form is found.
var planted = map[string]string{
	"access token":          "s3cr3t+access/token=",
	"refresh token":         "s3cr3t+refresh/token=",
	"ID token":              rawJWT(`{"alg":"RS256"}`, `{"iss":"https://issuer.example/","sub":"auth0|1","aud":"client","exp":99999999999,"iat":1,"nonce":"s3cr3t+nonce/="}`),
	"code":                  "s3cr3t+code/=",
	"verifier":              "s3cr3t-verifier-of-at-least-43-characters-0123456789",
	"state":                 "s3cr3t+state/=",
	"nonce":                 "s3cr3t+nonce/=",
	"api_key":               "s3cr3t+api/key=",
	"organization_key":      "s3cr3t+organization/key=",
	"cloud_key":             "s3cr3t+cloud/key=",
	"identity access_token": "s3cr3t+identity/token=",
}

// leaked gives the secrets that are in the text.
func leaked(text string) []string {
	var found []string
	for name, secret := range planted {
		quoted, _ := json.Marshal(secret)
		for _, form := range []string{
			secret, url.QueryEscape(secret), url.PathEscape(secret), string(quoted[1 : len(quoted)-1]),
			hex.EncodeToString([]byte(secret)), strings.ToUpper(hex.EncodeToString([]byte(secret))),
			fmt.Sprintf("% x", secret), strings.Trim(fmt.Sprintf("%d", []byte(secret)), "[]"),
		} {
			if strings.Contains(text, form) {
				found = append(found, name)
				break
			}
		}
	}
	return found
}

func TestSecretsAreFoundWhereTheyAre(t *testing.T) {
	for name, secret := range planted {
		for _, format := range []string{"%s", "%q", "%x", "%X", "% x", "%v"} {
			assert.Contains(t, leaked(fmt.Sprintf(format, secret)), name)
		}
		assert.Contains(t, leaked(fmt.Sprintf("%d", []byte(secret))), name)
		assert.Contains(t, leaked(url.Values{"x": {secret}}.Encode()), name)
	}
	assert.Empty(t, leaked("nothing"))
}

// shapes gives v, a struct, in the shapes it can be handed around in. Those of
// the first list are for the JSON handler too.
func shapes(v any) (bare, nested []any) {
	val := reflect.ValueOf(v)
	if val.Kind() == reflect.Pointer {
		return []any{v}, nil // what can't be copied
	}
	ptr := reflect.New(val.Type())
	ptr.Elem().Set(val)
	for _, v := range []reflect.Value{val, ptr} {
		slice := reflect.Append(reflect.MakeSlice(reflect.SliceOf(v.Type()), 0, 1), v)
		array := reflect.New(reflect.ArrayOf(1, v.Type())).Elem()
		array.Index(0).Set(v)
		m := reflect.MakeMap(reflect.MapOf(reflect.TypeFor[string](), v.Type()))
		m.SetMapIndex(reflect.ValueOf("k"), v)
		field := reflect.New(reflect.StructOf([]reflect.StructField{{Name: "Field", Type: v.Type()}})).Elem()
		field.Field(0).Set(v)
		fields := reflect.New(reflect.StructOf([]reflect.StructField{{Name: "Fields", Type: slice.Type()}})).Elem()
		fields.Field(0).Set(slice)
		for _, n := range []reflect.Value{slice, array, m, field, fields} {
			nested = append(nested, n.Interface())
		}
		nested = append(nested, []any{v.Interface()}, map[string]any{"k": v.Interface()}, struct{ Any any }{v.Interface()}, field.Addr().Interface())
	}
	return []any{val.Interface(), ptr.Interface()}, nested
}

// forms gives all that can be printed of v, by how.
func forms(v any) map[string]string {
	out := map[string]string{}
	bare, nested := shapes(v)
	for i, v := range slices.Concat(bare, nested) {
		what := func(how string) string { return fmt.Sprintf("%d %T: %s", i, v, how) }
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "% x", "%d", "%t", "%10v", "%-.3s", "%!", "", "%z"} {
			out[what(verb)] = verb + fmt.Sprintf(verb, v)
		}
		out[what("Sprint")] = fmt.Sprint(v) + fmt.Sprintln("a", v, 1)
		out[what("Errorf")] = fmt.Errorf("failed with %v", v).Error()
		var b strings.Builder
		if err := template.Must(template.New("").Parse(`{{.}} {{printf "%v" .}}`)).Execute(&b, v); err != nil {
			b.WriteString(err.Error())
		}
		out[what("template")] = b.String()
		out[what("slog text")] = logged(func(w io.Writer) slog.Handler { return slog.NewTextHandler(w, nil) }, v)
		if i < len(bare) {
			out[what("slog JSON")] = logged(func(w io.Writer) slog.Handler { return slog.NewJSONHandler(w, nil) }, v)
		}
		func() {
			defer func() { out[what("recover")] = fmt.Sprint(recover()) }()
			panic(v)
		}()
	}
	return out
}

func logged(handler func(io.Writer) slog.Handler, v any) string {
	var b bytes.Buffer
	l := slog.New(handler(&b))
	l.Info("m", "k", v)
	l.Info("m", slog.Group("g", slog.Any("k", v)))
	l.With("k", v).WithGroup("g").Info("m", "k", v)
	return b.String()
}

// requireNoSecrets prints v in all forms and searches them.
func requireNoSecrets(t *testing.T, v any) {
	t.Helper()
	for how, text := range forms(v) {
		require.NotEmpty(t, text, how)
		require.Empty(t, leaked(text), "%s prints %s", how, text)
	}
}

// requireCleanChain does so of each error in the chain of err.
func requireCleanChain(t *testing.T, err error) {
	t.Helper()
	for err != nil {
		require.Empty(t, leaked(err.Error()), "%T: %s", err, err)
		require.NotContains(t, err.Error(), "\n")
		printed := []any{err}
		if e, ok := err.(*Error); ok { //nolint:errorlint // this is the chain itself
			printed = append(printed, *e, []Error{*e})
		}
		for _, v := range printed {
			for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
				require.Empty(t, leaked(fmt.Sprintf(verb, v)), "%T by %s", v, verb)
			}
			require.Empty(t, leaked(logged(func(w io.Writer) slog.Handler { return slog.NewJSONHandler(w, nil) }, v)))
		}
		var with *url.Error
		require.NotErrorAs(t, err, &with, "its text is a URL, with state and all")
		switch e := err.(type) { //nolint:errorlint // this is the chain itself
		case interface{ Unwrap() []error }:
			for _, err := range e.Unwrap() {
				requireCleanChain(t, err)
			}
			return
		default:
			err = errors.Unwrap(err)
		}
	}
}

// secretUser is a profile with secrets everywhere a profile can have them.
func secretUser() Auth0User {
	return Auth0User{
		Sub: "auth0|1", Name: "Ada",
		Identities: []Auth0Identity{{Provider: "auth0", AccessToken: planted["identity access_token"]}},
		UserMetadata: &Auth0UserMetadata{
			CloudKey: planted["cloud_key"],
			OpenAI:   &Auth0OpenAIUserMetadata{APIKey: planted["api_key"], OrganizationKey: planted["organization_key"]},
		},
	}
}

// secretValues gives a value of every exported struct of the package, with
// secrets in it as far as it has a place for any.
func secretValues(t *testing.T) map[string]any {
	state, nonce, verifier := planted["state"], planted["nonce"], planted["verifier"]
	oauthToken := OAuthToken{AccessToken: planted["access token"], RefreshToken: planted["refresh token"], IDToken: planted["ID token"], TokenType: "Bearer"}
	tok := Token{AccessToken: planted["access token"], RefreshToken: planted["refresh token"], IDToken: planted["ID token"], checked: planted["ID token"]}
	profile, err := json.Marshal(secretUser())
	require.NoError(t, err)
	var user User
	require.NoError(t, json.Unmarshal(profile, &user))

	// What the generated client gives holds the request, too.
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", jsonType)
		w.Header().Set("Set-Cookie", "session="+planted["access token"])
		switch r.URL.Path {
		case "/oauth/token":
			_ = json.NewEncoder(w).Encode(oauthToken)
		case "/userinfo":
			_, _ = w.Write(profile)
		default:
			_, _ = fmt.Fprintf(w, "code=%s&state=%s", url.QueryEscape(planted["code"]), url.QueryEscape(state))
		}
	}))
	t.Cleanup(s.Close)
	a, err := New(Config{BaseURL: s.URL, ClientID: "client", RedirectURL: faultRedirect, Audience: "audience", HTTPClient: s.Client()})
	require.NoError(t, err)
	ctx := t.Context()
	params := AuthorizeAuth0Params{
		Audience: "a", Scope: Scopes{"openid"}, ResponseType: ResponseTypeCode, ClientID: "client", State: &state, Nonce: &nonce,
		CodeChallengeMethod: CodeChallengeMethodS256, CodeChallenge: "c", ResponseMode: ResponseModeQuery,
	}
	grant := TokenizedPKCE{
		GrantType: GrantTypeAuthorizationCode, ClientID: "client", Code: planted["code"], CodeVerifier: verifier, RefreshToken: planted["refresh token"], RedirectURI: faultRedirect,
	}
	authorized, err := a.API().AuthorizeAuth0WithResponse(ctx, &params)
	require.NoError(t, err)
	exchanged, err := a.API().ExchangeForAuth0TokenWithFormdataBodyWithResponse(ctx, grant)
	require.NoError(t, err)
	require.NotNil(t, exchanged.JSON200)
	informed, err := a.API().GetAuth0UserInfoWithResponse(ctx, func(_ context.Context, r *http.Request) error {
		r.Header.Set("Authorization", "Bearer "+planted["access token"])
		return nil
	})
	require.NoError(t, err)
	require.NotNil(t, informed.JSON200)
	loggedOut, err := a.API().Auth0LogoutWithResponse(ctx, &Auth0LogoutParams{})
	require.NoError(t, err)
	require.NotEmpty(t, leaked(string(loggedOut.Body)))

	// What holds tokens inside.
	store := new(MemoryStore)
	source := a.TokenSource(store)
	require.NoError(t, source.Save(ctx, &tok))
	_, err = source.Token(ctx)
	require.NoError(t, err)

	return map[string]any{
		"Attempt":                 Attempt{URL: "https://auth.example/authorize?state=" + url.QueryEscape(state), State: state, Nonce: nonce, Verifier: verifier, RedirectURL: faultRedirect},
		"Auth0Identity":           secretUser().Identities[0],
		"Auth0OpenAIUserMetadata": *secretUser().UserMetadata.OpenAI,
		"Auth0User":               secretUser(),
		"Auth0UserMetadata":       *secretUser().UserMetadata,
		"AuthorizeAuth0Params":    params,
		"OAuthToken":              oauthToken,
		"ResultedPKCE":            ResultedPKCE{Code: planted["code"], State: state},
		"TokenizedPKCE":           grant,
		"Token":                   tok,
		"User":                    user,
		"Error": Error{
			Op: "authorize", URI: "https://auth.example/authorize?state=" + url.QueryEscape(state), Code: "x",
			Err: &exchange.OpaqueError{Text: "failed", Cause: textError("GET /authorize?state=" + state)},
		},
		"Auth0LogoutResponse":           *loggedOut,
		"AuthorizeAuth0Response":        *authorized,
		"ExchangeForAuth0TokenResponse": *exchanged,
		"GetAuth0UserInfoResponse":      *informed,
		"Authenticator":                 a,
		"TokenSource":                   source,
		"MemoryStore":                   store,
		"Client":                        a.API().ClientInterface,
		"ClientWithResponses":           a.API(),
		"(TokenSource).Client":          source.Client(s.Client()),
		// Of its own, for the default one's connections come and go meanwhile.
		"(TokenSource).Client's transport": source.Client(&http.Client{Transport: new(http.Transport)}).Transport,
		"(TokenSource).OAuth2":             ptrTo(source.OAuth2(ctx)),

		// Without a place for a secret.
		"AnonymousTemporalRange": nil, "Auth0LogoutParams": nil, "Auth0UserAllocationMetadata": nil, "BeginOptions": nil, "Config": nil,
		"EmbeddedModelSchema": nil, "GroupedTimestamp": nil, "LogoutResult": nil, "Timestamp": nil, "OAuthError": nil,
		"GetAuth0UserInfoResponse401Headers": nil, "GetAuth0UserInfoResponse403Headers": nil,
	}
}

func ptrTo[T any](v T) *T { return &v }

// textError is an error by value, which %#v of whatever holds it prints.
type textError string

func (e textError) Error() string { return string(e) }

func TestSecretsOfValues(t *testing.T) {
	values := secretValues(t)
	for name, v := range values {
		if v != nil {
			t.Run(name, func(t *testing.T) { requireNoSecrets(t, v) })
		}
	}
	t.Run("every exported struct is in the table", func(t *testing.T) {
		for _, s := range packageStructs(t) {
			if ast.IsExported(s.name) {
				assert.Contains(t, values, s.name)
			}
		}
	})
	t.Run("JSON keeps them", func(t *testing.T) { // or nothing could be stored or sent
		for _, name := range []string{"Token", "OAuthToken", "Attempt", "User", "TokenizedPKCE", "ResultedPKCE"} {
			b, err := json.Marshal(values[name])
			require.NoError(t, err)
			var plain any
			require.NoError(t, json.Unmarshal(b, &plain))
			assert.NotEmpty(t, leaked(fmt.Sprint(plain)), name)
		}
	})
}

// TestSecretsWithoutHold shows the two forms that nothing can be done about. If
// it fails, Go has changed for the better.
func TestSecretsWithoutHold(t *testing.T) {
	tok := Token{AccessToken: planted["access token"]}
	held := struct{ token Token }{tok}
	assert.NotEmpty(t, leaked(fmt.Sprintf("%+v", held)), "held by value in an unexported field")
	assert.Empty(t, leaked(fmt.Sprintf("%+v", struct{ token *Token }{&tok})), "held by pointer")
	nested := logged(func(w io.Writer) slog.Handler { return slog.NewJSONHandler(w, nil) }, []Token{tok})
	assert.NotEmpty(t, leaked(nested), "nested in a value that slog's JSON handler marshals")
	for _, mistake := range []string{"%p", "%w"} {
		assert.NotEmpty(t, leaked(fmt.Sprintf(mistake, tok)), mistake)
	}
}

// TestSecretsInPanics has a process of its own die of every value, and searches
// what the runtime prints.
func TestSecretsInPanics(t *testing.T) {
	const child = "PIECESAUTH_TEST_PANIC"
	if os.Getenv(child) != "" {
		values := secretValues(t)
		var all []any
		for _, v := range values {
			if v != nil {
				bare, _ := shapes(v)
				all = append(all, bare...)
			}
		}
		all = append(all, &Error{Op: "x", Err: &exchange.OpaqueError{Text: "failed", Cause: textError(planted["state"])}})
		var dieOf func([]any)
		dieOf = func(vs []any) { // the runtime prints all panics that were on their way
			if len(vs) > 1 {
				defer dieOf(vs[1:])
			}
			panic(vs[0])
		}
		dieOf(all)
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestSecretsInPanics$", "-test.v") //nolint:gosec // this very program
	cmd.Env = append(os.Environ(), child+"=1")
	out, err := cmd.CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(out), "panic: ")
	require.Contains(t, string(out), "piecesauth.Token")
	require.Contains(t, string(out), "piecesauth: x: failed")
	require.Empty(t, leaked(string(out)), "%s", out)
}

// secretCall is an operation, with what its caller gave it.
type secretCall struct {
	name string
	gave []string // by name in planted
	do   func(context.Context, *Authenticator) error
}

func secretCalls() []secretCall {
	state, nonce := planted["state"], planted["nonce"]
	attempt := Attempt{State: state, Nonce: nonce, Verifier: planted["verifier"], RedirectURL: faultRedirect}
	tok := Token{AccessToken: planted["access token"], RefreshToken: planted["refresh token"], IDToken: planted["ID token"]}
	return []secretCall{
		{"Authorize", []string{"state", "nonce"}, func(ctx context.Context, a *Authenticator) error {
			_, err := a.Authorize(ctx, AuthorizeAuth0Params{CodeChallenge: "c", State: &state, Nonce: &nonce})
			return err
		}},
		{"Exchange", []string{"code", "verifier"}, func(ctx context.Context, a *Authenticator) error {
			_, err := a.Exchange(ctx, TokenizedPKCE{Code: planted["code"], CodeVerifier: planted["verifier"]})
			return err
		}},
		{"Complete", []string{"code", "verifier", "state", "nonce"}, func(ctx context.Context, a *Authenticator) error {
			_, err := a.Complete(ctx, &attempt, url.Values{"state": {state}, "code": {planted["code"]}})
			return err
		}},
		{"Refresh", []string{"refresh token", "access token", "ID token"}, func(ctx context.Context, a *Authenticator) error {
			_, err := a.Refresh(ctx, &tok)
			return err
		}},
		{"UserInfo", []string{"refresh token", "access token", "ID token"}, func(ctx context.Context, a *Authenticator) error {
			_, err := a.UserInfo(ctx, &tok)
			return err
		}},
		{"Logout", nil, func(ctx context.Context, a *Authenticator) error {
			_, err := a.Logout(ctx, "https://app.example/")
			return err
		}},
		{"TokenSource", []string{"refresh token"}, func(ctx context.Context, a *Authenticator) error {
			s := a.TokenSource(new(MemoryStore))
			if err := s.Save(ctx, &Token{RefreshToken: planted["refresh token"]}); err != nil {
				return err
			}
			_, err := s.Token(ctx)
			return err
		}},
		{"API", []string{"code", "verifier"}, func(ctx context.Context, a *Authenticator) error {
			_, err := a.API().ExchangeForAuth0TokenWithFormdataBody(ctx, TokenizedPKCE{Code: planted["code"], CodeVerifier: planted["verifier"]})
			return err
		}},
	}
}

// TestSecretsOfHostileServers: servers know much of what they were sent, and
// may repeat it anywhere; what an error takes over from them is cleaned of what
// the caller gave.
func TestSecretsOfHostileServers(t *testing.T) {
	q := func(s string) string { b, _ := json.Marshal(s); return string(b) }
	header := func(name, value string) string { return name + ": " + value + "\r\n" }
	answers := map[string]func(echo string) string{
		"error_description": func(e string) string {
			return rawAnswer(400, "", `{"error":"invalid_request","error_description":`+q(e)+`}`)
		},
		"error": func(e string) string { return rawAnswer(401, "", `{"error":`+q(e)+`}`) },
		"error_uri": func(e string) string {
			return rawAnswer(403, "", `{"error":"x","error_uri":`+q("https://x.example/?"+e)+`}`)
		},
		"error, with 200": func(e string) string { return rawAnswer(200, "", `{"error":`+q(e)+`,"error_description":`+q(e)+`}`) },
		"error, with 500": func(e string) string { return rawAnswer(500, "", `{"error":"x","error_description":`+q(e)+`}`) },
		"error, in a form": func(e string) string {
			return rawAnswer(200, "", "error=x&error_description="+url.QueryEscape(e)+"&state="+url.QueryEscape(planted["state"]))
		},
		"error of objects": func(e string) string { return rawAnswer(400, "", `{"error":{"message":`+q(e)+`}}`) },
		"page, 200":        func(e string) string { return rawAnswer(200, "Content-Type: text/html\r\n", "<p>"+e) },
		"page, 400":        func(e string) string { return rawAnswer(400, "Content-Type: text/html\r\n", "<p>"+e) },
		"page, 502":        func(e string) string { return rawAnswer(502, "Content-Type: text/html\r\n", "<p>"+e) },
		"text":             func(e string) string { return rawAnswer(401, "", e) },
		"Location": func(e string) string {
			return rawAnswer(302, header("Location", "https://elsewhere.example/?"+url.QueryEscape(e)), "")
		},
		"Location as it came": func(e string) string { return rawAnswer(302, header("Location", e), "") },
		"Location malformed":  func(e string) string { return rawAnswer(302, header("Location", "http://%zz/"+e), "") },
		"Location of ours": func(e string) string {
			return rawAnswer(302, header("Location", faultRedirect+"?error=x&error_description="+url.QueryEscape(e)+"&state="+url.QueryEscape(planted["state"])), "")
		},
		"status line":           func(e string) string { return "HTTP/1.1 " + e + "\r\n\r\n" },
		"reason":                func(e string) string { return "HTTP/1.1 400 " + e + "\r\nContent-Length: 0\r\n\r\n" },
		"version":               func(e string) string { return e + " 200 OK\r\n\r\n" },
		"header without a name": func(e string) string { return "HTTP/1.1 200 OK\r\n" + e + "\r\n\r\n" },
		"header name": func(e string) string {
			return "HTTP/1.1 400 Bad Request\r\nX-" + strings.ReplaceAll(e, " ", "-") + ": 1\r\n\r\n"
		},
		"any header": func(e string) string {
			return rawAnswer(400, header("X-Echo", e)+header("Set-Cookie", "a="+e)+header("Content-Type", e), "{}")
		},
		"Content-Length":    func(e string) string { return "HTTP/1.1 200 OK\r\nContent-Length: " + e + "\r\n\r\n" },
		"Transfer-Encoding": func(e string) string { return "HTTP/1.1 200 OK\r\nTransfer-Encoding: " + e + "\r\n\r\n" },
		"chunk size":        func(e string) string { return "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + e + "\r\n" },
		"trailer": func(e string) string {
			return "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: " + e + "\r\n\r\n0\r\n" + e + "\r\n\r\n"
		},
		"Retry-After": func(e string) string { return rawAnswer(400, header("Retry-After", e), "") },
		"challenge": func(e string) string {
			return rawAnswer(401, header("WWW-Authenticate", `Bearer error="x", error_description="`+e+`", error_uri="`+e+`"`), "")
		},
		"challenge, bare":  func(e string) string { return rawAnswer(401, header("WWW-Authenticate", "Bearer error="+e), "") },
		"challenge, realm": func(e string) string { return rawAnswer(401, header("WWW-Authenticate", `Bearer realm="`+e+`"`), e) },
		"token_type":       func(e string) string { return rawAnswer(200, "", `{"access_token":"a","token_type":`+q(e)+`}`) },
		"expires_in": func(e string) string {
			return rawAnswer(200, "", `{"access_token":"a","token_type":"Bearer","expires_in":`+q(e)+`}`)
		},
		"wrong types": func(e string) string {
			return rawAnswer(200, "", `{"access_token":{"a":`+q(e)+`},"sub":[`+q(e)+`],"code":{"a":`+q(e)+`},"identities":`+q(e)+`}`)
		},
		"a number": func(e string) string {
			return rawAnswer(200, "", `{"access_token":123,"identities":123,"sub":123,"x":`+q(e)+`}`)
		},
		"names": func(e string) string {
			return rawAnswer(200, "", `{`+q(e)+`:1,"access_token":{`+q(e)+`:1},"user_metadata":{"beta":{"from":{"value":{`+q(e)+`:1}}}}}`)
		},
		"times": func(e string) string {
			return rawAnswer(200, "", `{"updated_at":`+q(e)+`,"logins_count":`+q(e)+`,"error":{}}`)
		},
		"schema": func(e string) string {
			return rawAnswer(200, "", "code=c&state="+url.QueryEscape(planted["state"])+"&schema[migration]="+url.QueryEscape(e))
		},
		"unprintable token": func(e string) string {
			return rawAnswer(200, "", `{"token_type":"Bearer","access_token":`+q(e+"\n")+`}`)
		},
		"ID token": func(e string) string {
			return rawAnswer(200, "", `{"token_type":"Bearer","access_token":"a","id_token":`+q(e)+`}`)
		},
		"ID token's claims": func(e string) string {
			return rawAnswer(200, "", `{"token_type":"Bearer","access_token":"a","sub":"x","id_token":`+q(rawJWT(`{"alg":`+q(e)+`}`, `{"iss":`+q(e)+`,"sub":`+q(e)+`,"aud":`+q(e)+`,"nonce":`+q(e)+`}`))+`}`)
		},
		"ID token's wrong type": func(e string) string {
			return rawAnswer(200, "", `{"token_type":"Bearer","access_token":"a","id_token":`+q(rawJWT(`{"alg":"x"}`, `{"exp":`+q(e)+`}`))+`}`)
		},
		"JSON cut off":   func(e string) string { return rawAnswer(200, "", `{"access_token":`+q(e)) },
		"JSON malformed": func(e string) string { return rawAnswer(200, "", `{"access_token":`+e) },
		"gzip":           func(e string) string { return rawAnswer(200, "Content-Encoding: gzip\r\n", e) },
		"body cut off":   func(e string) string { return "HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n" + e },
		"not HTTP":       func(e string) string { return e },
	}
	for _, call := range secretCalls() {
		// In the clear, as in a URL, and with the first half in the first 300
		// characters and the second behind them.
		var echo []string
		for _, name := range call.gave {
			echo = append(echo, planted[name], url.QueryEscape(planted[name]), url.PathEscape(planted[name]))
		}
		for _, pad := range []string{"", strings.Repeat("x", 290)} {
			echo := pad + strings.Join(echo, " ")
			for name, answer := range answers {
				t.Run(fmt.Sprintf("%s/%s/%d", call.name, name, len(pad)), func(t *testing.T) {
					l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
					require.NoError(t, err)
					s := &faultServer{t: t, f: &fault{play: func(x *faultConn) {
						x.say(answer(echo))
						_ = x.Close()
					}}, url: "http://" + l.Addr().String(), guard: 20 * time.Second}
					go func() {
						for {
							conn, err := l.Accept()
							if err != nil {
								return
							}
							s.serve(conn)
						}
					}()
					transport := &http.Transport{}
					a, err := New(Config{BaseURL: s.url, ClientID: "client", RedirectURL: faultRedirect, Audience: "audience", HTTPClient: &http.Client{Transport: transport}})
					require.NoError(t, err)
					err = call.do(t.Context(), a)
					transport.CloseIdleConnections()
					_ = l.Close()
					s.wg.Wait()
					requireCleanChain(t, err)
				})
			}
		}
	}
}

// TestShortSecretsLeaveCodes: a secret that is part of a code must not hide what
// the caller is to branch on.
func TestShortSecretsLeaveCodes(t *testing.T) {
	for _, secret := range []string{"a", "grant", "invalid"} {
		a := fuzzAuthenticator(t, &fuzzTransport{status: 400, header: http.Header{}, body: []byte(`{"error":"invalid_grant"}`)})
		_, err := a.Refresh(t.Context(), &Token{RefreshToken: secret, AccessToken: secret})
		require.ErrorIs(t, err, ErrSignInRequired)
		require.ErrorIs(t, err, &Error{Code: "invalid_grant"})
	}
}

// TestSecretsOfTransports: the caller's own RoundTripper may fail with a text
// that holds the whole request.
func TestSecretsOfTransports(t *testing.T) {
	all := func(r *http.Request) string {
		var body []byte
		if r.Body != nil {
			body, _ = io.ReadAll(r.Body)
		}
		return fmt.Sprintf("%s %s %v %s", r.Method, r.URL, r.Header, body)
	}
	for name, fail := range map[string]func(*http.Request) error{
		"text":    func(r *http.Request) error { return errors.New(all(r)) },
		"value":   func(r *http.Request) error { return textError(all(r)) },
		"wrapped": func(r *http.Request) error { return fmt.Errorf("%s: %w", all(r), syscall.ECONNREFUSED) },
		"joined":  func(r *http.Request) error { return errors.Join(textError(all(r)), io.ErrUnexpectedEOF) },
		"url.Error": func(r *http.Request) error {
			return &url.Error{Op: r.Method, URL: r.URL.String(), Err: textError(all(r))}
		},
		"net.OpError": func(r *http.Request) error { return &net.OpError{Op: "dial", Net: "tcp", Err: textError(all(r))} },
		"path":        func(r *http.Request) error { return &fs.PathError{Op: "open", Path: all(r), Err: syscall.ENOENT} },
		"deadline":    func(r *http.Request) error { return fmt.Errorf("%s: %w", all(r), context.DeadlineExceeded) },
		"time-out":    func(r *http.Request) error { return timeoutError(all(r)) },
		"no error":    func(*http.Request) error { return nil },
		"syscall text": func(r *http.Request) error {
			return &net.OpError{Op: "read", Net: "tcp", Err: fmt.Errorf("%s: %w", all(r), syscall.ECONNRESET)}
		},
	} {
		for _, call := range secretCalls() {
			t.Run(name+"/"+call.name, func(t *testing.T) {
				tr := roundTripper(func(r *http.Request) (*http.Response, error) { return nil, fail(r) })
				a, err := New(Config{BaseURL: "https://auth.example", ClientID: "client", RedirectURL: faultRedirect, Audience: "audience", HTTPClient: &http.Client{Transport: tr}})
				require.NoError(t, err)
				err = call.do(t.Context(), a)
				require.Error(t, err)
				requireCleanChain(t, err)
			})
		}
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

type timeoutError string

func (e timeoutError) Error() string { return string(e) }

func (timeoutError) Timeout() bool { return true }

func (timeoutError) Temporary() bool { return true }
