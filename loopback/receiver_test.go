package loopback_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/piecesauth/piecesauth/loopback"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	state    = "planted-state-4bd0b9a389b4b229602346c33913b4c3"
	formType = "application/x-www-form-urlencoded"
)

// waiting is a Wait under way.
type waiting struct {
	t        *testing.T
	receiver *loopback.Receiver
	got      url.Values // once ended
	ended    chan struct{}
	err      error
}

func listen(t *testing.T, redirectURL string) *loopback.Receiver {
	t.Helper()
	r, err := loopback.Listen(t.Context(), redirectURL)
	require.NoError(t, err)
	t.Cleanup(r.Close)
	return r
}

// wait starts a Wait whose callback completes with outcome.
func wait(t *testing.T, r *loopback.Receiver, outcome error) *waiting {
	w := &waiting{t: t, receiver: r, ended: make(chan struct{})}
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		defer close(w.ended)
		w.err = r.Wait(ctx, state, func(callback url.Values) error {
			w.got = callback
			return outcome
		})
	}()
	t.Cleanup(func() { cancel(); <-w.ended })
	return w
}

func (w *waiting) result() (url.Values, error) {
	w.t.Helper()
	select {
	case <-w.ended:
	case <-time.After(time.Minute):
		require.FailNow(w.t, "Wait has not returned")
	}
	return w.got, w.err
}

// address is where the receiver listens, by its first address.
func address(r *loopback.Receiver) string {
	u, _ := url.Parse(r.RedirectURL())
	if u.Hostname() == "localhost" {
		return net.JoinHostPort("127.0.0.1", u.Port())
	}
	return u.Host
}

func dial(t testing.TB, addr string) net.Conn {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", addr)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// refused checks that the receiver answers no longer. Another process may have
// the port by now, or be holding the listener on its way to another program:
// then it is not the receiver's page that comes.
func refused(t *testing.T, addr string) {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", addr)
	if err != nil {
		require.ErrorIs(t, err, syscall.ECONNREFUSED)
		return
	}
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(5*time.Second)))
	_, _ = io.WriteString(conn, "GET /nowhere HTTP/1.1\r\nHost: "+addr+"\r\nConnection: close\r\n\r\n")
	answer, _ := io.ReadAll(conn)
	require.NotContains(t, string(answer), "404 Not Found", "the receiver still listens")
}

// send writes a raw request and reads the answer to the end of the connection.
func send(t testing.TB, addr, raw string) (*http.Response, string) {
	t.Helper()
	conn := dial(t, addr)
	_, err := io.WriteString(conn, raw)
	require.NoError(t, err)
	return receive(t, conn)
}

func receive(t testing.TB, conn net.Conn) (*http.Response, string) {
	t.Helper()
	in := bufio.NewReader(conn)
	res, err := http.ReadResponse(in, nil)
	require.NoError(t, err)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	require.NoError(t, err, "the answer is cut off")
	_, err = in.ReadByte()
	require.ErrorIs(t, err, io.EOF, "the connection is not closed in order")
	return res, string(body)
}

func get(target string) string {
	return "GET " + target + " HTTP/1.1\r\nHost: localhost\r\n\r\n"
}

func post(target, contentType, body string) string {
	return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: localhost\r\nOrigin: null\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s",
		target, contentType, len(body), body)
}

// with is the right GET of the callback with one more header.
func with(header string) string {
	return "GET /callback?code=c&state=" + state + " HTTP/1.1\r\nHost: localhost\r\n" + header + "\r\n\r\n"
}

// wanted returns code and state, and one more: its name in front of its values.
func wanted(more ...string) url.Values {
	v := url.Values{"code": {"c"}, "state": {state}}
	if len(more) > 0 {
		v[more[0]] = more[1:]
	}
	return v
}

func TestWait(t *testing.T) {
	right := "code=c&state=" + state
	tests := []struct {
		name, redirectURL, request string
		want                       url.Values
	}{
		{"GET", "", get("/callback?" + right), url.Values{"code": {"c"}, "state": {state}}},
		{"POST", "", post("/callback", formType, right), url.Values{"code": {"c"}, "state": {state}}},
		{"POST, charset", "", post("/callback", formType+"; charset=UTF-8", right), url.Values{"code": {"c"}, "state": {state}}},
		{"POST, chunked", "", "POST /callback HTTP/1.1\r\nHost: localhost\r\nContent-Type: " + formType + "\r\nTransfer-Encoding: chunked\r\n\r\n" +
			fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(right), right), url.Values{"code": {"c"}, "state": {state}}},
		{"POST, its query is not read", "", post("/callback?code=evil&state=evil&x=1", formType, right), url.Values{"code": {"c"}, "state": {state}}},
		{"GET, its body is not read", "", "GET /callback?" + right + " HTTP/1.1\r\nHost: localhost\r\nContent-Type: " + formType + "\r\nContent-Length: 6\r\n\r\ncode=x",
			url.Values{"code": {"c"}, "state": {state}}},
		{"an error", "", get("/callback?error=access_denied&error_description=no+thanks&state=" + state),
			url.Values{"error": {"access_denied"}, "error_description": {"no thanks"}, "state": {state}}},
		{"an error by POST", "", post("/callback", formType, "error=access_denied&state="+state), url.Values{"error": {"access_denied"}, "state": {state}}},
		{"ten parameters", "", get("/callback?a=1&b=2&c=3&d=4&e=5&iss=https%3A%2F%2Fexample.com%2F&scope=x+y&session_state=z&" + right),
			url.Values{"a": {"1"}, "b": {"2"}, "c": {"3"}, "d": {"4"}, "e": {"5"}, "iss": {"https://example.com/"}, "scope": {"x y"},
				"session_state": {"z"}, "code": {"c"}, "state": {state}}},
		{"localhost, a path", "http://localhost:0/pkce/response/code", get("/pkce/response/code?" + right), url.Values{"code": {"c"}, "state": {state}}},
		{"no path", "http://127.0.0.1:0", get("/?" + right), url.Values{"code": {"c"}, "state": {state}}},
		{"Host with a port", "", strings.Replace(get("/callback?"+right), "localhost", "127.0.0.1:1234", 1), url.Values{"code": {"c"}, "state": {state}}},
		{"Host in other letters", "", strings.Replace(get("/callback?"+right), "localhost", "LocalHost", 1), url.Values{"code": {"c"}, "state": {state}}},
		{"large cookies of other programs", "", "GET /callback?" + right + " HTTP/1.1\r\nHost: localhost\r\nCookie: a=" + strings.Repeat("x", 12<<10) + "\r\n\r\n",
			url.Values{"code": {"c"}, "state": {state}}},

		{"24 KiB in one cookie", "", with("Cookie: a=" + strings.Repeat("x", 24<<10)), wanted()},
		{"24 KiB in many cookies", "", with("Cookie: " + strings.Repeat("session-of-some-program=0123456789abcdef; ", 600)), wanted()},
		{"24 KiB in many headers", "", with(strings.Repeat("Cookie: a="+strings.Repeat("x", 1000)+"\r\n", 24) + "X: y"), wanted()},
		{"36 KiB of cookies, POST", "", strings.Replace(post("/callback", formType, right), "\r\n", "\r\nCookie: a="+strings.Repeat("x", 36<<10)+"\r\n", 1), wanted()},
		{"a code of 4 KiB beside 24 KiB of cookies", "", "GET /callback?code=" + strings.Repeat("c", 4<<10) + "&state=" + state +
			" HTTP/1.1\r\nHost: localhost\r\nCookie: a=" + strings.Repeat("x", 24<<10) + "\r\n\r\n", wanted("code", strings.Repeat("c", 4<<10))},

		{"a semicolon in session_state", "", get("/callback?session_state=a;b&" + right), wanted("session_state", "a;b")},
		{"a semicolon by POST", "", post("/callback", formType, "session_state=a;b&"+right), wanted("session_state", "a;b")},
		{"a semicolon as separator decides nothing", "", get("/callback?x=1;code=evil&" + right), wanted("x", "1;code=evil")},
		{"a percent sign alone", "", get("/callback?hd=100%&" + right), wanted()},
		{"a percent sign by POST", "", post("/callback", formType, right+"&hd=100%"), wanted()},
		{"a broken escape", "", get("/callback?x=%zz&" + right), wanted()},
		{"a broken name", "", get("/callback?%=1&" + right), wanted()},
		{"an unknown parameter twice", "", get("/callback?x=1&x=1&" + right), wanted("x", "1", "1")},
		{"an unknown parameter twice by POST", "", post("/callback", formType, "x=1&x=2&"+right), wanted("x", "1", "2")},
		{"a broken text for people", "", get("/callback?error_description=100%&" + right), wanted("error_description", "100%")},
		{"empty pairs, many", "", get("/callback?" + strings.Repeat("&", 64) + right), wanted()},
		{"empty pairs, very many, by POST", "", post("/callback", formType, strings.Repeat("&", 30<<10)+right), wanted()},
		{"a parameter without a name", "", get("/callback?=x&" + right), wanted()},
		{"names in capitals are unknown", "", get("/callback?STATE=wrong&" + right), wanted("STATE", "wrong")},
		{"Latin-1 in an unknown parameter", "", get("/callback?name=%E9&" + right), wanted("name", "\xe9")},
		{"Purpose that isn't prefetch", "", with("Purpose: navigate"), wanted()},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := listen(t, tt.redirectURL)
			w := wait(t, r, nil)
			res, body := send(t, address(r), tt.request)
			require.Equal(t, http.StatusOK, res.StatusCode)
			require.Contains(t, body, "You are signed in")
			got, err := w.result()
			require.NoError(t, err)
			require.Equal(t, tt.want, got)
			refused(t, address(r))
		})
	}
}

func TestWaitGoesOn(t *testing.T) {
	right := "code=c&state=" + state
	tests := []struct {
		name, request string
		status        int
	}{
		{"favicon", get("/favicon.ico"), 404},
		{"root", get("/"), 404},
		{"another path", get("/callback/?" + right), 404},
		{"path in other letters", get("/Callback?" + right), 404},
		{"no state", get("/callback?code=c"), 400},
		{"nothing", get("/callback"), 400},
		{"empty state", get("/callback?code=c&state="), 400},
		{"wrong state", get("/callback?code=c&state=x" + state[1:]), 400},
		{"longer state", get("/callback?code=c&state=" + state + "x"), 400},
		{"an error without state", get("/callback?error=access_denied"), 400},
		{"an error with a wrong state", get("/callback?error=access_denied&state=wrong"), 400},
		{"a wrong state twice", get("/callback?code=c&state=wrong&state=wrong"), 400},
		{"a state that can't be read", get("/callback?code=c&state=%zz"), 400},
		{"a wrong state, and a code twice", get("/callback?code=c&code=d&state=wrong"), 400},
		{"prefetch", with("Sec-Purpose: prefetch"), 403},
		{"prerender", with("Sec-Purpose: prefetch;prerender"), 403},
		{"prefetch through a proxy", with("Sec-Purpose: prefetch;anonymous-client-ip"), 403},
		{"prefetch of old Chrome and Safari", with("Purpose: prefetch"), 403},
		{"preview of Safari", with("X-Purpose: preview"), 403},
		{"prefetch of old Firefox", with("X-moz: prefetch"), 403},
		{"Prefetch in capitals", with("SEC-PURPOSE: Prefetch"), 403},
		{"POST, prefetch", strings.Replace(post("/callback", formType, right), "\r\n", "\r\nSec-Purpose: prefetch\r\n", 1), 403},
		{"preflight of a private network access", "OPTIONS /callback?" + right + " HTTP/1.1\r\nHost: localhost\r\nOrigin: https://login.example\r\n" +
			"Access-Control-Request-Method: GET\r\nAccess-Control-Request-Private-Network: true\r\n\r\n", 405},
		{"preflight of a form", "OPTIONS /callback HTTP/1.1\r\nHost: localhost\r\nOrigin: null\r\nAccess-Control-Request-Method: POST\r\n\r\n", 405},
		{"HEAD of the favicon", "HEAD /favicon.ico HTTP/1.1\r\nHost: localhost\r\n\r\n", 404},
		{"HEAD without anything", "HEAD /callback HTTP/1.1\r\nHost: localhost\r\n\r\n", 405},
		{"a page of another program", get("/.well-known/appspecific/com.chrome.devtools.json"), 404},
		{"POST, state in the query", post("/callback?"+right, formType, "code=c"), 400},
		{"POST, wrong state", post("/callback", formType, "code=c&state=wrong"), 400},
		{"POST, empty", post("/callback", formType, ""), 400},
		{"POST, JSON", post("/callback", "application/json", right), 415},
		{"POST, text", post("/callback", "text/plain", right), 415},
		{"POST, multipart", post("/callback", "multipart/form-data; boundary=x", right), 415},
		{"POST, no type", "POST /callback HTTP/1.1\r\nHost: localhost\r\nContent-Length: " + strconv.Itoa(len(right)) + "\r\n\r\n" + right, 415},
		{"POST, too large", post("/callback", formType, right+"&x="+strings.Repeat("x", 64<<10)), 413},
		{"POST, too large, chunked", "POST /callback HTTP/1.1\r\nHost: localhost\r\nContent-Type: " + formType + "\r\nTransfer-Encoding: chunked\r\n\r\n" +
			fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", 65<<10, right+"&x="+strings.Repeat("x", 65<<10-len(right)-3)), 413},
		{"POST, a gigabyte announced", "POST /callback HTTP/1.1\r\nHost: localhost\r\nContent-Type: " + formType + "\r\nContent-Length: 1073741824\r\n\r\n" + right, 413},
		{"HEAD", "HEAD /callback?" + right + " HTTP/1.1\r\nHost: localhost\r\n\r\n", 405},
		{"OPTIONS", "OPTIONS /callback?" + right + " HTTP/1.1\r\nHost: localhost\r\n\r\n", 405},
		{"OPTIONS *", "OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n", 404},
		{"PUT", "PUT /callback?" + right + " HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n", 405},
		{"DELETE", "DELETE /callback?" + right + " HTTP/1.1\r\nHost: localhost\r\n\r\n", 405},
		{"a rebound name", strings.Replace(get("/callback?"+right), "localhost", "evil.example", 1), 421},
		{"a name that begins like ours", strings.Replace(get("/callback?"+right), "localhost", "localhost.evil.example", 1), 421},
		{"no Host", "GET /callback?" + right + " HTTP/1.0\r\n\r\n", 421},
		{"two Hosts", "GET /callback?" + right + " HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n", 400},
		{"huge headers", "GET /callback?" + right + " HTTP/1.1\r\nHost: localhost\r\nX: " + strings.Repeat("x", 64<<10) + "\r\n\r\n", 431},
		{"no HTTP", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 hello\r\n\r\n", 400},
	}
	r := listen(t, "")
	w := wait(t, r, nil)
	// A scanner that never finishes its headers, and one that says nothing.
	slow, silent := dial(t, address(r)), dial(t, address(r))
	_, err := io.WriteString(slow, "GET /callback?"+right+" HTTP/1.1\r\nHost: localhost\r\nX-")
	require.NoError(t, err)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			conn := dial(t, address(r))
			// A large request may be refused before it is sent.
			go func() { _, _ = io.WriteString(conn, tt.request) }()
			res, err := http.ReadResponse(bufio.NewReader(conn), nil)
			require.NoError(t, err)
			defer res.Body.Close()
			body, _ := io.ReadAll(res.Body)
			assert.Equal(t, tt.status, res.StatusCode)
			assert.NotContains(t, string(body), state)
			assert.Empty(t, res.Cookies())
			select {
			case <-w.ended:
				assert.Fail(t, "the wait has ended", w.err)
			default:
			}
		})
	}
	res, _ := send(t, address(r), get("/callback?"+right))
	require.Equal(t, 200, res.StatusCode)
	got, err := w.result()
	require.NoError(t, err)
	require.Equal(t, url.Values{"code": {"c"}, "state": {state}}, got)
	for _, conn := range []net.Conn{slow, silent} {
		_, err := io.ReadAll(conn) // ends: the server has closed it
		if err != nil {
			assert.ErrorIs(t, err, syscall.ECONNRESET)
		}
	}
}

func TestWaitNeedsState(t *testing.T) {
	r := listen(t, "")
	err := r.Wait(t.Context(), "", func(url.Values) error { return nil })
	require.EqualError(t, err, "loopback: Wait needs the state of the attempt")
}

// The page is complete, and the connection closed in order, when Wait returns:
// a program that exits next takes nothing from the person.
func TestWaitPageIsThereAfterwards(t *testing.T) {
	denied := errors.New("access_denied: <b>no</b> & \"never\"")
	for _, outcome := range []error{nil, denied} {
		r := listen(t, "")
		w := wait(t, r, outcome)
		conn := dial(t, address(r))
		_, err := io.WriteString(conn, post("/callback", formType, "code=planted-code&state="+state))
		require.NoError(t, err)
		_, err = w.result()
		require.Equal(t, outcome, err)
		refused(t, address(r))

		res, body := receive(t, conn)
		assert.Equal(t, 200, res.StatusCode)
		assert.Equal(t, "text/html; charset=utf-8", res.Header.Get("Content-Type"))
		assert.Equal(t, "no-store", res.Header.Get("Cache-Control"))
		assert.Equal(t, "no-referrer", res.Header.Get("Referrer-Policy"))
		assert.Equal(t, "nosniff", res.Header.Get("X-Content-Type-Options"))
		assert.Contains(t, res.Header.Get("Content-Security-Policy"), "default-src 'none'; style-src 'sha256-")
		assert.NotContains(t, res.Header, "Set-Cookie")
		assert.True(t, strings.HasSuffix(body, "</html>\n"))
		assert.Contains(t, body, `name="viewport"`)
		assert.Contains(t, body, "prefers-color-scheme:dark")
		assert.NotContains(t, body, "<script")
		assert.NotContains(t, body, "planted")
		if outcome == nil {
			assert.Contains(t, body, "<h1>You are signed in</h1>")
		} else {
			assert.Contains(t, body, "<h1>The sign-in failed</h1>")
			assert.Contains(t, body, "access_denied: &lt;b&gt;no&lt;/b&gt; &amp; &#34;never&#34;")
		}
	}
}

func TestWaitOwnPage(t *testing.T) {
	r := listen(t, "")
	large := strings.Repeat("x", 1<<20) // more than a socket buffers
	r.Page = func(w http.ResponseWriter, err error) {
		w.Header().Set("Content-Type", "text/plain")
		_, _ = fmt.Fprint(w, err, large)
	}
	w := wait(t, r, errors.New("denied"))
	res, body := send(t, address(r), get("/callback?state="+state))
	assert.Equal(t, "text/plain", res.Header.Get("Content-Type"))
	assert.Equal(t, "no-store", res.Header.Get("Cache-Control"))
	assert.Equal(t, "denied"+large, body)
	_, err := w.result()
	require.EqualError(t, err, "denied")
}

func TestWaitPagePanics(t *testing.T) {
	r := listen(t, "")
	r.Page = func(http.ResponseWriter, error) { panic("page") }
	w := wait(t, r, nil)
	_, err := io.WriteString(dial(t, address(r)), get("/callback?state="+state))
	require.NoError(t, err)
	_, err = w.result()
	require.NoError(t, err)
}

// While the first callback is redeemed, its sender waits and others are refused.
func TestWaitTakesOne(t *testing.T) {
	r := listen(t, "")
	var calls atomic.Int32
	first := dial(t, address(r))
	_, err := io.WriteString(first, get("/callback?code=first&state="+state))
	require.NoError(t, err)
	err = r.Wait(t.Context(), state, func(callback url.Values) error {
		calls.Add(1)
		assert.Equal(t, "first", callback.Get("code"))
		res, _ := send(t, address(r), get("/callback?code=second&state="+state))
		assert.Equal(t, http.StatusConflict, res.StatusCode)
		res, _ = send(t, address(r), get("/callback?code=second&state=wrong"))
		assert.Equal(t, http.StatusBadRequest, res.StatusCode)
		return nil
	})
	require.NoError(t, err)
	require.EqualValues(t, 1, calls.Load())
	res, _ := receive(t, first)
	require.Equal(t, 200, res.StatusCode)
}

func TestWaitContext(t *testing.T) {
	r := listen(t, "")
	ctx, cancel := context.WithCancel(t.Context())
	conn := dial(t, address(r))
	go func() {
		_, _ = io.WriteString(conn, get("/favicon.ico"))
		_, _ = io.ReadAll(conn) // answered: Wait is under way
		cancel()
	}()
	err := r.Wait(ctx, state, func(url.Values) error { return errors.New("not called") })
	require.ErrorIs(t, err, context.Canceled)
	require.EqualError(t, err, "loopback: waiting for the redirect: context canceled")
	refused(t, address(r))
	_, err = loopback.Listen(ctx, "")
	require.ErrorIs(t, err, context.Canceled)

	err = r.Wait(t.Context(), state, func(url.Values) error { return nil })
	require.ErrorIs(t, err, net.ErrClosed, "a receiver serves one wait")
}

func TestClose(t *testing.T) {
	r := listen(t, "http://localhost:0/callback")
	w := wait(t, r, nil)
	res, _ := send(t, address(r), get("/"))
	require.Equal(t, 404, res.StatusCode)
	r.Close()
	r.Close()
	_, err := w.result()
	require.ErrorIs(t, err, net.ErrClosed)
	refused(t, address(r))
}

// hosts of this machine that are not loopback
func outside(t *testing.T) []string {
	addrs, err := net.InterfaceAddrs()
	require.NoError(t, err)
	var hosts []string
	for _, a := range addrs {
		if ip := a.(*net.IPNet).IP; ip.IsGlobalUnicast() {
			hosts = append(hosts, ip.String())
		}
	}
	return hosts
}

func hasIPv6() bool {
	l, err := net.Listen("tcp", "[::1]:0") //nolint:noctx // a probe
	if err != nil {
		return false
	}
	_ = l.Close()
	return true
}

func TestListenAddresses(t *testing.T) {
	tests := []struct {
		redirectURL string
		want        []string
	}{
		{"", []string{"127.0.0.1"}},
		{"http://127.0.0.1:0/cb", []string{"127.0.0.1"}},
		{"http://127.0.0.1:00/cb", []string{"127.0.0.1"}},
		{"http://[::1]:0/cb?x=1", []string{"::1"}},
		{"http://localhost:0/cb", []string{"127.0.0.1", "::1"}},
		{"http://LOCALHOST:0/cb", []string{"127.0.0.1", "::1"}},
	}
	v6 := hasIPv6()
	for _, tt := range tests {
		t.Run(tt.redirectURL, func(t *testing.T) {
			if !v6 && strings.Contains(tt.redirectURL, "::1") {
				t.Skip("this machine has no ::1")
			}
			r := listen(t, tt.redirectURL)
			u, err := url.Parse(r.RedirectURL())
			require.NoError(t, err)
			if tt.redirectURL != "" {
				assert.Equal(t, strings.NewReplacer(":00/", ":"+u.Port()+"/", ":0/", ":"+u.Port()+"/").Replace(tt.redirectURL), r.RedirectURL())
			} else {
				assert.Equal(t, "http://127.0.0.1:"+u.Port()+"/callback", r.RedirectURL())
			}
			for _, host := range []string{"127.0.0.1", "::1"} {
				if !v6 && host == "::1" {
					continue
				}
				if assert.ObjectsAreEqual(tt.want, []string{host}) || len(tt.want) == 2 {
					_ = dial(t, net.JoinHostPort(host, u.Port())).Close()
				} else {
					refused(t, net.JoinHostPort(host, u.Port()))
				}
			}
			others := outside(t)
			if len(others) == 0 {
				t.Log("this machine has no address beyond loopback to try")
			}
			for _, host := range others {
				refused(t, net.JoinHostPort(host, u.Port()))
			}
		})
	}
}

// Both addresses of localhost receive.
func TestLocalhostBoth(t *testing.T) {
	if !hasIPv6() {
		t.Skip("this machine has no ::1")
	}
	for _, host := range []string{"127.0.0.1", "::1"} {
		r := listen(t, "http://localhost:0/cb")
		w := wait(t, r, nil)
		_, port, err := net.SplitHostPort(address(r))
		require.NoError(t, err)
		res, _ := send(t, net.JoinHostPort(host, port), get("/cb?code=c&state="+state))
		require.Equal(t, 200, res.StatusCode)
		_, err = w.result()
		require.NoError(t, err)
	}
}

func TestListenPortInUse(t *testing.T) {
	hosts := []string{"127.0.0.1"}
	if hasIPv6() {
		hosts = append(hosts, "::1")
	} else {
		t.Log("this machine has no ::1")
	}
	for _, host := range hosts {
		other, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", net.JoinHostPort(host, "0"))
		require.NoError(t, err)
		_, port, err := net.SplitHostPort(other.Addr().String())
		require.NoError(t, err)

		_, err = loopback.Listen(t.Context(), "http://localhost:"+port+"/cb")
		require.ErrorIs(t, err, syscall.EADDRINUSE)
		require.ErrorContains(t, err, "RedirectURL: the port is in use")
		require.ErrorContains(t, err, other.Addr().String())

		require.NoError(t, other.Close())
		r := listen(t, "http://localhost:"+port+"/cb") // nothing of the first try is left
		require.Equal(t, "http://localhost:"+port+"/cb", r.RedirectURL())
	}
}

func TestListenRefuses(t *testing.T) {
	for redirectURL, want := range map[string]string{
		"http://example.com/cb":           `RedirectURL: host "example.com" is not this machine`,
		"http://localhost.example.com/cb": "is not this machine",
		"http://0.0.0.0:0/cb":             "is not this machine",
		"http://[::]:0/cb":                "is not this machine",
		"http://192.168.1.1:3000/cb":      "is not this machine",
		"http://:3000/cb":                 "is not this machine",
		"https://localhost:3000/cb":       "RedirectURL must begin with http://",
		"com.example.app:/cb":             "RedirectURL must begin with http://",
		"localhost:3000/cb":               "RedirectURL must begin with http://",
		"http://localhost:0/cb#x":         "RedirectURL must have neither user nor fragment",
		"http://localhost:0/cb#":          "RedirectURL must have neither user nor fragment",
		"http://me:secret@localhost:0/cb": "RedirectURL must have neither user nor fragment",
		"http://localhost:port/cb":        "RedirectURL is not a valid URL",
		"http://localhost:65536/cb":       "RedirectURL: ",
		"http://127.0.0.1:99999999999/cb": "RedirectURL: ",
		"http://localhost:0/cb\r\nx":      "RedirectURL is not a valid URL",
	} {
		r, err := loopback.Listen(t.Context(), redirectURL)
		if !assert.ErrorContains(t, err, want, redirectURL) {
			continue
		}
		assert.Nil(t, r)
		assert.NotContains(t, err.Error(), "secret")
		assert.NotContains(t, err.Error(), "\n")
	}
}

// 10,000 bad requests and 200 open slow connections, then the right callback:
// it is delivered, with little memory. The attackers' own memory counts too.
func TestWaitUnderAttack(t *testing.T) {
	r := listen(t, "http://localhost:0/callback")
	addr := address(r)
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	base := before.HeapInuse + before.StackInuse
	var peak atomic.Uint64
	sample := func() {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		for {
			old, now := peak.Load(), m.HeapInuse+m.StackInuse
			if now <= old || peak.CompareAndSwap(old, now) {
				return
			}
		}
	}

	w := wait(t, r, nil)
	var headers strings.Builder // as many as fit, which cost the most memory
	for i := range 8000 {
		_, _ = fmt.Fprintf(&headers, "%x:\r\n", i)
	}
	slow := []string{
		"",
		"GET / HTTP/1.1\r\nHost: localhost\r\n" + headers.String(),
		"GET /callback?code=c&state=" + state + " HTTP/1.1\r\nHost: localhost\r\nX-",
		"POST /callback HTTP/1.1\r\nHost: localhost\r\nContent-Type: " + formType + "\r\nContent-Length: 65000\r\n\r\n" + strings.Repeat("x", 60000),
	}
	for i := range 200 {
		conn := dial(t, addr)
		_, err := io.WriteString(conn, slow[i%len(slow)])
		require.NoError(t, err)
	}
	sample()

	bad := [][]byte{
		[]byte(get("/favicon.ico")),
		[]byte(get("/callback?code=c&state=wrong")),
		[]byte(get("/callback?" + strings.Repeat("a&", 4000))),
		[]byte("GET / HTTP/1.1\r\nHost: localhost\r\n" + headers.String()[:10_000] + "\r\n\r\n"),
		[]byte(post("/callback", formType, strings.Repeat("a&", 30000))),
		[]byte(post("/callback", formType, "state="+strings.Repeat("x", 60000))),
		[]byte("\x00\x01\x02\r\n\r\n"),
		[]byte("HEAD /callback?state=" + state + " HTTP/1.1\r\nHost: localhost\r\n\r\n"),
	}
	var workers sync.WaitGroup
	for worker := range 8 {
		workers.Go(func() {
			buf := make([]byte, 512)
			for i := range 10_000 / 8 {
				conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", addr)
				if !assert.NoError(t, err) {
					return
				}
				_, _ = conn.Write(bad[(i+worker)%len(bad)]) // may be refused half-way
				n, _ := conn.Read(buf)
				assert.True(t, n == 0 || bytes.HasPrefix(buf[:n], []byte("HTTP/1.1 4")), "%q", buf[:n])
				_ = conn.Close()
				if i%50 == 0 {
					sample()
				}
			}
		})
	}
	workers.Wait()
	res, body := send(t, addr, post("/callback", formType, "code=c&state="+state))
	sample()
	require.Equal(t, 200, res.StatusCode)
	require.Contains(t, body, "You are signed in")
	got, err := w.result()
	require.NoError(t, err)
	require.Equal(t, "c", got.Get("code"))
	runtime.ReadMemStats(&after)
	grown := int64(peak.Load()) - int64(base)
	t.Logf("HeapInuse + StackInuse grew by %.1f MiB at most", float64(grown)/(1<<20))
	require.LessOrEqual(t, grown, int64(16<<20))
}
