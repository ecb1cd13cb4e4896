package piecesauth

import (
	"bufio"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/piecesauth/piecesauth/internal/exchange"
	"github.com/piecesauth/piecesauth/internal/oidc"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The tests of this file show what comes of each operation when the server, or
// the way to it, misbehaves: a row is a fault, a cell what one operation makes
// of it. The server is a raw listener that says exactly what the row wants, over
// TCP or TLS. Where a row has to wait for minutes, it is played over in-memory
// connections on virtual time.

// Every secret that the operations of these tests carry contains this.
const faultMark = "s3cr3t"

const (
	faultState    = faultMark + "-state"
	faultNonce    = faultMark + "-nonce"
	faultCode     = faultMark + "-code"
	faultVerifier = faultMark + "-verifier-of-at-least-43-characters-0123456789"
	faultAccess   = faultMark + "-access"
	faultRefresh  = faultMark + "-refresh"
	faultRedirect = "http://127.0.0.1:3000/cb"
)

// operation is a column of the table.
type operation struct {
	name, op, method, path string
	mediaType, good, bent  string // of an answer: its type, a right body, and one whose values have wrong types
	call                   func(context.Context, *Authenticator) (any, error)
	right                  func(*testing.T, any) // what good returns
}

var goodToken = fmt.Sprintf(`{"access_token":%q,"token_type":"Bearer","expires_in":3600,"refresh_token":"new-%s"}`, faultAccess, faultRefresh)

func rightToken(t *testing.T, v any) {
	token := v.(*Token) //nolint:forcetypeassert // the operation's own
	assert.Equal(t, faultAccess, token.AccessToken)
	assert.Equal(t, "new-"+faultRefresh, token.RefreshToken)
	assert.False(t, token.Expiry.IsZero())
}

var operations = []operation{
	{
		name: "Authorize", op: "authorize", method: "GET", path: "/authorize",
		mediaType: formType, good: "code=" + faultCode + "&state=" + faultState, bent: `{"code":17,"state":[]}`,
		call: func(ctx context.Context, a *Authenticator) (any, error) {
			state, nonce := faultState, faultNonce
			return a.Authorize(ctx, AuthorizeAuth0Params{CodeChallenge: "c", State: &state, Nonce: &nonce})
		},
		right: func(t *testing.T, v any) {
			assert.Equal(t, &ResultedPKCE{Code: faultCode, State: faultState}, v)
		},
	},
	{
		name: "Exchange", op: "exchange", method: "POST", path: "/oauth/token",
		mediaType: jsonType, good: goodToken, bent: `{"access_token":{},"token_type":1,"expires_in":[]}`,
		call: func(ctx context.Context, a *Authenticator) (any, error) {
			return a.Exchange(ctx, TokenizedPKCE{Code: faultCode, CodeVerifier: faultVerifier})
		},
		right: rightToken,
	},
	{
		name: "Refresh", op: "refresh", method: "POST", path: "/oauth/token",
		mediaType: jsonType, good: goodToken, bent: `{"access_token":1,"token_type":"Bearer","refresh_token":1}`,
		call: func(ctx context.Context, a *Authenticator) (any, error) {
			return a.Refresh(ctx, &Token{RefreshToken: faultRefresh})
		},
		right: rightToken,
	},
	{
		name: "Complete", op: "complete", method: "POST", path: "/oauth/token",
		mediaType: jsonType, good: goodToken, bent: `{"access_token":["a"],"token_type":"Bearer","expires_in":{}}`,
		call: func(ctx context.Context, a *Authenticator) (any, error) {
			attempt := &Attempt{State: faultState, Nonce: faultNonce, Verifier: faultVerifier, RedirectURL: faultRedirect}
			return a.Complete(ctx, attempt, url.Values{"state": {faultState}, "code": {faultCode}})
		},
		right: rightToken,
	},
	{
		name: "UserInfo", op: "userinfo", method: "GET", path: "/userinfo",
		mediaType: jsonType, good: `{"sub":"auth0|1","name":"Ada"}`, bent: `{"sub":1,"identities":{}}`,
		call: func(ctx context.Context, a *Authenticator) (any, error) {
			return a.UserInfo(ctx, &Token{AccessToken: faultAccess})
		},
		right: func(t *testing.T, v any) {
			assert.Equal(t, "Ada", v.(*User).Name)
		},
	},
	{
		name: "Logout", op: "logout", method: "GET", path: "/v2/logout",
		mediaType: "text/html", good: "<p>Signed out", bent: `{"html":1}`,
		call: func(ctx context.Context, a *Authenticator) (any, error) {
			return a.Logout(ctx, "https://app.example/bye")
		},
		right: func(t *testing.T, v any) {
			assert.NotNil(t, v.(*LogoutResult))
		},
	},
	// What an issuer is asked, before a code is spent.
	{
		name: "Discovery", op: "discovery", method: "GET", path: "/.well-known/openid-configuration",
		mediaType: jsonType, good: `{"issuer":"ISSUER","jwks_uri":"ISSUER/keys"}`, bent: `{"issuer":1}`,
		call: func(ctx context.Context, a *Authenticator) (any, error) {
			m, err := a.issuer.Metadata(ctx)
			if err != nil {
				return nil, wrap("discovery", err)
			}
			return m, nil
		},
		right: func(t *testing.T, v any) {
			assert.True(t, strings.HasSuffix(v.(*oidc.Metadata).KeysURL, "/keys"))
		},
	},
	{
		name: "JWKS", op: "jwks", method: "GET", path: "/keys",
		mediaType: jsonType, bent: `{"keys":{}}`,
		good: `{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}`,
		call: func(ctx context.Context, a *Authenticator) (any, error) {
			p := oidc.NewProvider(oidc.ProviderConfig{
				URL: a.config.Issuer, CheckURL: exchange.CheckURL,
				Fetch: func(ctx context.Context, op, from, accept string) (oidc.Response, error) {
					if op == "discovery" {
						return oidc.Response{StatusCode: 200, Body: []byte(`{"issuer":"` + a.config.Issuer + `","jwks_uri":"` + a.config.Issuer + `/keys"}`)}, nil
					}
					return a.fetch(ctx, op, from, accept)
				},
			})
			if err := p.Prepare(ctx); err != nil {
				return nil, wrap("jwks", err)
			}
			return true, nil
		},
		right: func(t *testing.T, v any) { assert.Equal(t, true, v) },
	},
}

// asksIssuer configures the issuer for the operations that ask it; the others
// are to check no ID token.
func (op *operation) asksIssuer(t *testing.T, a **Authenticator, issuer string) {
	if op.op != "discovery" && op.op != "jwks" {
		return
	}
	config := (*a).config
	config.Issuer = issuer
	var err error
	*a, err = New(config)
	require.NoError(t, err)
}

// outcome is what a cell has to end in: the right value, or an *Error that is so.
type outcome struct {
	right    bool
	status   int
	code     string
	is       error            // a cause, by errors.Is
	as       func(error) bool // a cause, by its type
	after    time.Duration    // RetryAfter
	unknown  bool             // of a POST: it may have been acted on
	either   bool             // unknown and status are as the race goes
	wait     [2]time.Duration // on virtual time: how long it takes, from and to
	requests int              // that reach the server; 0 is one, none and several are below
}

const none = -1

// fault is a row of the table.
type fault struct {
	name   string
	play   func(*faultConn)           // answers a request that was read; nil says nothing
	greet  func(*faultConn) bool      // instead of reading a request, where it returns false
	tls    *tls.Config                // of the server, which then speaks TLS
	client func(*http.Transport)      // how this client differs
	url    func(server string) string // in place of the server's
	before func(context.CancelFunc)   // the call
	limit  time.Duration              // of the context; the default is a guard that no row reaches
	twice  bool                       // the call is made twice, and the first has to succeed
	cause  error                      // of the context, where the caller cancels with one
	want   outcome
	except map[string]outcome // by operation, or by method
}

func (f *fault) outcome(op *operation) outcome {
	if o, ok := f.except[op.name]; ok {
		return o
	}
	if o, ok := f.except[op.method]; ok {
		return o
	}
	return f.want
}

// faultConn is one connection with the client, and its latest request.
type faultConn struct {
	net.Conn
	t      *testing.T
	op     *operation
	server string
	nth    int // of the requests to the server, from 1
	cancel context.CancelFunc
}

func (x *faultConn) say(text string) bool { return x.write([]byte(text)) }

func (x *faultConn) write(b []byte) bool {
	_, err := x.Write(b)
	return err == nil // else the client is gone
}

func (x *faultConn) good() {
	x.say(rawAnswer(200, "Content-Type: "+x.op.mediaType+"\r\n", x.goodBody()))
}

func (x *faultConn) goodBody() string { return strings.ReplaceAll(x.op.good, "ISSUER", x.server) }

// drip says the text a byte at a time, and never the end of it.
func (x *faultConn) drip(text string) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for i := 0; x.say(text[i : i+1]); i = (i + 1) % len(text) {
		<-tick.C
	}
}

// reset ends the connection with RST rather than FIN.
func (x *faultConn) reset() {
	c := x.Conn
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	_ = c.(*net.TCPConn).SetLinger(0)
	_ = c.Close()
}

func rawAnswer(status int, header, body string) string {
	return fmt.Sprintf("HTTP/1.1 %d %s\r\n%sContent-Length: %d\r\n\r\n%s", status, http.StatusText(status), header, len(body), body)
}

func answers(status int, header, body string) func(*faultConn) {
	return func(x *faultConn) { x.say(rawAnswer(status, header, body)) }
}

// answersAs sends the body with the media type that the operation's answer has.
func answersAs(body string) func(*faultConn) {
	return func(x *faultConn) { x.say(rawAnswer(200, "Content-Type: "+x.op.mediaType+"\r\n", body)) }
}

// says sends the bytes as they are, and ends the connection.
func says(text string) func(*faultConn) {
	return func(x *faultConn) {
		x.say(text)
		_ = x.Close()
	}
}

// faultServer plays a row to whoever connects.
type faultServer struct {
	t        *testing.T
	f        *fault
	op       *operation // that is asked for; nil is any
	url      string
	cancel   context.CancelFunc
	guard    time.Duration
	requests atomic.Int32
	wg       sync.WaitGroup
}

func (s *faultServer) serve(conn net.Conn) {
	s.wg.Add(1)
	go func() {
		defer s.wg.Done()
		defer func() { _ = conn.Close() }()
		// The client has to end every connection, or the server's end of it is
		// still reading when the guard comes.
		_ = conn.SetDeadline(time.Now().Add(s.guard))
		x := &faultConn{Conn: conn, t: s.t, op: s.op, server: s.url, cancel: s.cancel}
		if s.f.greet != nil && !s.f.greet(x) {
			return
		}
		if s.f.tls != nil {
			x.Conn = tls.Server(conn, s.f.tls)
		}
		for r := bufio.NewReader(x); ; {
			req, err := http.ReadRequest(r)
			if err == nil {
				_, err = io.Copy(io.Discard, req.Body)
			}
			if err != nil {
				if errors.Is(err, os.ErrDeadlineExceeded) {
					s.t.Error("a connection was left open")
				}
				return
			}
			if s.op != nil && !assert.Equal(s.t, s.op.method+" "+s.op.path, req.Method+" "+req.URL.Path) {
				return
			}
			x.nth = int(s.requests.Add(1))
			if s.f.play != nil {
				s.f.play(x)
			}
		}
	}()
}

// run is one cell.
func (f *fault) run(t *testing.T, op *operation, virtual bool) {
	ctx, stop := context.WithTimeout(t.Context(), cmp.Or(f.limit, time.Minute))
	defer stop()
	ctx, cancelWith := context.WithCancelCause(ctx)
	cancel := func() { cancelWith(f.cause) }
	s := &faultServer{t: t, f: f, op: op, cancel: cancel, guard: 20 * time.Second}
	transport := &http.Transport{MaxResponseHeaderBytes: 64 << 10}
	closeListener := func() {}
	if virtual {
		s.url, s.guard = "http://127.0.0.1", time.Hour
		transport.DialContext = func(context.Context, string, string) (net.Conn, error) {
			ours, theirs := net.Pipe()
			s.serve(theirs)
			return ours, nil
		}
	} else {
		l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
		require.NoError(t, err)
		s.url = "http://" + l.Addr().String()
		if f.tls != nil {
			s.url = "https://" + l.Addr().String()
			transport.TLSClientConfig = &tls.Config{RootCAs: certs().pool, MinVersion: tls.VersionTLS12}
		}
		if f.url != nil {
			s.url = f.url(s.url)
		}
		accepting := make(chan struct{})
		go func() {
			defer close(accepting)
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				s.serve(conn)
			}
		}()
		closeListener = func() {
			_ = l.Close()
			<-accepting
		}
	}
	switch {
	case f.client != nil:
		f.client(transport)
	case !virtual:
		transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
			if !assert.Equal(t, s.url, s.url[:strings.LastIndex(s.url, "/")+1]+address, "somebody else was to be asked") {
				return nil, syscall.ENETUNREACH
			}
			return (&net.Dialer{}).DialContext(ctx, network, address)
		}
	}
	a, err := New(Config{
		BaseURL: s.url, ClientID: "client", RedirectURL: faultRedirect, Audience: "audience",
		HTTPClient: &http.Client{Transport: transport},
	})
	require.NoError(t, err)
	op.asksIssuer(t, &a, s.url)

	if f.twice {
		v, err := op.call(ctx, a)
		require.NoError(t, err)
		op.right(t, v)
	}
	if f.before != nil {
		f.before(cancel)
	}
	start := time.Now()
	v, err := op.call(ctx, a)
	took := time.Since(start)
	cancel() // what was had stays
	transport.CloseIdleConnections()
	closeListener()
	s.wg.Wait()
	if !virtual { // where the bubble sees to it
		goleak.VerifyNone(t)
	}

	want := f.outcome(op)
	switch want.requests {
	case 0:
		want.requests = 1
	case none:
		want.requests = 0
	}
	if f.limit == 0 || virtual { // else the time may come before the request does
		assert.EqualValues(t, want.requests, s.requests.Load(), "requests that reached the server")
	}
	if virtual {
		assert.GreaterOrEqual(t, took, want.wait[0])
		assert.LessOrEqual(t, took, want.wait[1])
	}
	if want.right {
		require.NoError(t, err)
		op.right(t, v)
		return
	}
	require.Error(t, err)
	var e *Error
	require.ErrorAs(t, err, &e)
	assert.Equal(t, op.op, e.Op)
	if !want.either {
		assert.Equal(t, want.status, e.StatusCode)
	}
	assert.Equal(t, want.code, e.Code)
	assert.Equal(t, want.after, e.RetryAfter)
	if want.is != nil {
		require.ErrorIs(t, err, want.is)
	}
	if want.as != nil {
		assert.True(t, want.as(err), "%v is of another kind", err)
	}
	if !want.either {
		unknown := want.unknown && op.method == "POST"
		if f.limit != 0 && !virtual {
			unknown = unknown && s.requests.Load() > 0
		}
		if unknown || f.limit == 0 || virtual {
			assert.Equal(t, unknown, errors.Is(err, ErrUnknownOutcome), "whether the outcome is unknown: %v", err)
		}
	}
	text := fmt.Sprintf("%v %+v %#v %q %s", err, err, err, err, err.Error())
	assert.NotContains(t, text, faultMark)
	assert.NotContains(t, err.Error(), "\n")
}

func isA[E error](err error) bool {
	var e E
	return errors.As(err, &e)
}

// skipIfShort leaves the long tables out under -short, as mutation testing asks.
func skipIfShort(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("the faults take long, and this is a short run")
	}
}

func TestFaults(t *testing.T) {
	skipIfShort(t)
	names := map[string]bool{}
	play := func(rows []fault, virtual bool) {
		for i := range rows {
			f := &rows[i]
			require.False(t, names[f.name], "two rows are called %s", f.name)
			names[f.name] = true
			t.Run(f.name, func(t *testing.T) {
				for j := range operations {
					op := &operations[j]
					t.Run(op.name, func(t *testing.T) {
						if virtual {
							synctest.Test(t, func(t *testing.T) { f.run(t, op, true) })
						} else {
							f.run(t, op, false)
						}
					})
				}
			})
		}
	}
	play(goodRows(), false)
	play(networkRows(), false)
	play(tlsRows(), false)
	play(floodRows(), false)
	play(bodyRows(), false)
	play(statusRows(), false)
	play(contextRows(), false)
	play(waitingRows(), true)
}

// A stream that is reset is not a connection that is: HTTP/2 keeps the latter.
func TestFaultsOverHTTP2(t *testing.T) {
	skipIfShort(t)
	for i := range operations {
		op := &operations[i]
		for name, handler := range map[string]http.HandlerFunc{
			"reset before the headers": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
			"reset in the body": func(w http.ResponseWriter, _ *http.Request) {
				_, _ = io.WriteString(w, "{")
				_ = http.NewResponseController(w).Flush()
				panic(http.ErrAbortHandler)
			},
		} {
			t.Run(name+"/"+op.name, func(t *testing.T) {
				var requests atomic.Int32
				s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					assert.Equal(t, 2, r.ProtoMajor)
					_, _ = io.Copy(io.Discard, r.Body)
					requests.Add(1)
					handler(w, r)
				}))
				s.EnableHTTP2 = true
				s.StartTLS()
				defer s.Close()
				a, err := New(Config{BaseURL: s.URL, ClientID: "client", RedirectURL: faultRedirect, Audience: "audience", HTTPClient: s.Client()})
				require.NoError(t, err)
				op.asksIssuer(t, &a, s.URL)
				_, err = op.call(t.Context(), a)
				var e *Error
				require.ErrorAs(t, err, &e)
				assert.Equal(t, op.op, e.Op)
				assert.Equal(t, op.method == "POST", errors.Is(err, ErrUnknownOutcome))
				assert.NotContains(t, fmt.Sprintf("%v %+v %#v", err, err, err), faultMark)
				assert.EqualValues(t, 1, requests.Load())
			})
		}
	}
}

// What can't be checked afterwards is asked for before a code or refresh token
// is spent.
func TestFaultsOfIssuerSpendNothing(t *testing.T) {
	const discovery, keys = "/.well-known/openid-configuration", "/.well-known/jwks.json"
	for name, bad := range map[string]map[string]func(http.ResponseWriter){
		"discovery: 500":          {discovery: func(w http.ResponseWriter) { w.WriteHeader(http.StatusInternalServerError) }},
		"discovery: {}":           {discovery: func(w http.ResponseWriter) { _, _ = io.WriteString(w, "{}") }},
		"discovery: other issuer": {discovery: func(w http.ResponseWriter) { _, _ = io.WriteString(w, `{"issuer":"https://elsewhere.example/"}`) }},
		"discovery: cut":          {discovery: func(http.ResponseWriter) { panic(http.ErrAbortHandler) }},
		"keys: 404":               {keys: func(w http.ResponseWriter) { w.WriteHeader(http.StatusNotFound) }},
		"keys: {}":                {keys: func(w http.ResponseWriter) { _, _ = io.WriteString(w, "{}") }},
		"keys: none that fits": {keys: func(w http.ResponseWriter) {
			_, _ = io.WriteString(w, `{"keys":[{"kty":"oct","k":"AAAA"},{"kty":"new"},7]}`)
		}},
		"keys: page": {keys: func(w http.ResponseWriter) { _, _ = io.WriteString(w, "<p>") }},
		"keys: cut":  {keys: func(http.ResponseWriter) { panic(http.ErrAbortHandler) }},
		"keys: redirect elsewhere": {keys: func(w http.ResponseWriter) {
			w.Header().Set("Location", "https://elsewhere.example/")
			w.WriteHeader(http.StatusFound)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			var posts atomic.Int32
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodPost {
					posts.Add(1)
				}
				if play := bad[r.URL.Path]; play != nil {
					play(w)
					return
				}
				w.WriteHeader(http.StatusNotFound)
			}))
			defer s.Close()
			a, err := New(Config{BaseURL: s.URL, ClientID: "client", RedirectURL: faultRedirect, Issuer: s.URL, HTTPClient: s.Client()})
			require.NoError(t, err)
			callback := url.Values{"state": {faultState}, "code": {faultCode}, "iss": {s.URL}}
			_, err = a.Complete(t.Context(), &Attempt{State: faultState, Nonce: faultNonce, Verifier: faultVerifier, RedirectURL: faultRedirect}, callback)
			require.ErrorAs(t, err, new(*Error))
			assert.NotErrorIs(t, err, ErrUnknownOutcome)
			_, err = a.Refresh(t.Context(), &Token{RefreshToken: faultRefresh})
			require.ErrorAs(t, err, new(*Error))
			assert.NotErrorIs(t, err, ErrUnknownOutcome)
			assert.Zero(t, posts.Load())
		})
	}
}
