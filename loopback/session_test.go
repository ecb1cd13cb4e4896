package loopback

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The same callback again gets the same page: a reload, a browser that asks
// twice, an extension that repeats what it sees.
func TestSameCallback(t *testing.T) {
	const state = "planted-state"
	right := "code=c&state=" + state
	for _, tt := range []struct {
		name   string
		again  string // a query; a form where it begins with POST
		same   bool
		failed error
	}{
		{"the same", right, true, nil},
		{"the same by POST", "POST" + right, true, nil},
		{"in another order", "state=" + state + "&code=c", true, nil},
		{"with an unknown parameter more", right + "&fbclid=1", true, nil},
		{"one that failed", right, true, errors.New("no luck")},
		{"another code", "code=d&state=" + state, false, nil},
		{"an error more", right + "&error=x", false, nil},
		{"the code twice", right + "&code=c", false, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, err := Listen(t.Context(), "")
			require.NoError(t, err)
			defer r.Close()
			s, err := r.serve(state)
			require.NoError(t, err)
			defer s.stop()

			pages := make(chan *http.Response, 3)
			visit := func(query string) {
				method, target, body := http.MethodGet, r.RedirectURL()+"?"+query, ""
				if form, posted := strings.CutPrefix(query, "POST"); posted {
					method, target, body = http.MethodPost, r.RedirectURL(), form
				}
				req, err := http.NewRequestWithContext(t.Context(), method, target, strings.NewReader(body))
				assert.NoError(t, err)
				req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
				res, err := (&http.Transport{}).RoundTrip(req)
				assert.NoError(t, err)
				pages <- res
			}
			go visit(right)
			cb := <-s.callbacks
			require.NoError(t, cb.err)
			require.Equal(t, url.Values{"code": {"c"}, "state": {state}}, cb.values)
			if !tt.same {
				visit(tt.again)
				require.Equal(t, http.StatusConflict, read(t, <-pages).Code)
				s.finish(nil)
				require.Equal(t, http.StatusOK, read(t, <-pages).Code)
				return
			}
			go visit(tt.again)
			go visit(tt.again)
			require.Eventually(t, func() bool {
				s.mu.Lock()
				defer s.mu.Unlock()
				return len(s.waiting) == 3
			}, time.Minute, time.Millisecond)
			require.Empty(t, s.callbacks, "there is no second")
			s.finish(tt.failed)
			first := read(t, <-pages)
			require.Equal(t, http.StatusOK, first.Code)
			for range 2 {
				require.Equal(t, first, read(t, <-pages))
			}
		})
	}
}

// shown is a page as the person sees it.
type shown struct {
	Code int
	Body string
}

func read(t *testing.T, res *http.Response) shown {
	t.Helper()
	require.NotNil(t, res)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	return shown{res.StatusCode, string(body)}
}

// Only an address or a family that the machine lacks is passed over. With any
// other error on one half of localhost, the other half isn't kept.
func TestListenAll(t *testing.T) {
	for _, tt := range []struct {
		name   string
		v4, v6 error
		want   int // listeners
	}{
		{name: "IPv6 switched off", v6: syscall.EADDRNOTAVAIL, want: 1},
		{name: "no IPv6 in the kernel", v6: syscall.EAFNOSUPPORT, want: 1},
		{name: "the same on Windows", v6: syscall.Errno(10049), want: 1},
		{name: "no IPv6 on Windows", v6: syscall.Errno(10047), want: 1},
		{name: "no IPv4", v4: syscall.EADDRNOTAVAIL, want: 1},
		{name: "neither", v4: syscall.EADDRNOTAVAIL, v6: syscall.EAFNOSUPPORT},
		{name: "too many files", v6: syscall.EMFILE},
		{name: "too many files in the system", v6: syscall.ENFILE},
		{name: "no memory", v6: syscall.ENOBUFS},
		{name: "not allowed", v6: syscall.EACCES},
		{name: "not permitted", v6: syscall.EPERM},
		{name: "invalid", v6: syscall.EINVAL},
		{name: "in use", v6: syscall.EADDRINUSE},
		{name: "in use on Windows", v6: syscall.Errno(10048)},
		{name: "too many files on Windows", v6: syscall.Errno(10024)},
		{name: "too many files for IPv4", v4: syscall.EMFILE},
		{name: "an error of no system", v6: errors.New("odd")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var bound []string
			config := &net.ListenConfig{Control: func(_, address string, _ syscall.RawConn) error {
				bound = append(bound, address)
				if strings.HasPrefix(address, "[::1]:") {
					return os.NewSyscallError("bind", tt.v6)
				}
				return os.NewSyscallError("bind", tt.v4)
			}}
			listeners, err := listenAll(t.Context(), config, []string{"127.0.0.1", "::1"}, "0")
			for _, l := range listeners {
				defer l.Close()
			}
			if tt.want > 0 && tt.v4 != nil {
				if errors.Is(err, syscall.EADDRNOTAVAIL) || errors.Is(err, syscall.EAFNOSUPPORT) {
					t.Skip("this machine has no ::1")
				}
			}
			if tt.want > 0 {
				require.NoError(t, err)
				require.Len(t, listeners, tt.want)
				return
			}
			require.Error(t, err)
			require.Empty(t, listeners)
			if tt.v4 != nil {
				return
			}
			_, port, splitErr := net.SplitHostPort(bound[len(bound)-1])
			require.NoError(t, splitErr)
			again, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:"+port)
			require.NoError(t, err, "half of localhost was kept")
			require.NoError(t, again.Close())
		})
	}
}

// Which address is listened at, by what is said where.
func TestListenFirst(t *testing.T) {
	taken := func(host string) string {
		l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", host+":0")
		require.NoError(t, err)
		t.Cleanup(func() { _ = l.Close() })
		_, port, _ := net.SplitHostPort(l.Addr().String())
		return port
	}
	one, two, denied := taken("127.0.0.1"), taken("127.0.0.1"), taken("127.0.0.1")
	// As Hyper-V reserves ports, and a system those below 1024.
	config := &net.ListenConfig{Control: func(_, address string, _ syscall.RawConn) error {
		if strings.HasSuffix(address, ":"+denied) {
			return os.NewSyscallError("bind", syscall.EACCES)
		}
		if strings.HasPrefix(address, "[::1]:") {
			return os.NewSyscallError("bind", syscall.EADDRNOTAVAIL)
		}
		return nil
	}}
	at := func(port, path string) string { return "http://localhost:" + port + path }
	for _, tt := range []struct {
		name          string
		options       Options
		begin, config string
		want          string // beginning of what it listens at
		err           string
		is            error
	}{
		{name: "RedirectURL", options: Options{RedirectURL: at("0", "/options")}, begin: at("0", "/begin"), config: at("0", "/config"), want: "/options"},
		{name: "Begin", begin: at("0", "/begin"), config: at("0", "/config"), want: "/begin"},
		{name: "Config", config: at("0", "/config"), want: "/config"},
		{name: "RedirectURLs", options: Options{RedirectURLs: []string{at("0", "/first"), at("0", "/second")}, RedirectURL: at("0", "/options")}, want: "/first"},
		{name: "the first is taken", options: Options{RedirectURLs: []string{at(one, "/first"), at("0", "/second")}}, want: "/second"},
		{name: "the first is reserved", options: Options{RedirectURLs: []string{at(denied, "/first"), at("0", "/second")}}, want: "/second"},
		{
			name: "all are reserved", options: Options{RedirectURLs: []string{at(denied, "/first")}},
			err: "loopback: can't listen on port " + denied + ": end what uses it, or set Options.RedirectURLs to more addresses registered for the client: " +
				"listen tcp 127.0.0.1:" + denied + ": bind: permission denied", is: syscall.EACCES,
		},
		{name: "two are taken", options: Options{RedirectURLs: []string{at(one, "/1"), "http://127.0.0.1:" + two + "/2", at("0", "/third")}}, want: "/third"},
		{
			name: "all are taken", options: Options{RedirectURLs: []string{at(one, "/1"), at(two, "/2"), at(one, "/3")}},
			err: "loopback: can't listen on port " + one + ", " + two + ": end what uses it, or set Options.RedirectURLs to more addresses registered for the client: " +
				"listen tcp 127.0.0.1:" + one + ": bind: address already in use", is: syscall.EADDRINUSE,
		}, {
			name: "Config's is taken", config: at(one, "/config"),
			err: "loopback: can't listen on port " + one + ": end what uses it, or set Options.RedirectURLs to more addresses registered for the client: " +
				"listen tcp 127.0.0.1:" + one + ": bind: address already in use", is: syscall.EADDRINUSE,
		}, {
			name: "RedirectURL is taken", options: Options{RedirectURL: at(one, "/options")},
			err: "loopback: RedirectURL: the port is in use: listen tcp 127.0.0.1:" + one + ": bind: address already in use", is: syscall.EADDRINUSE,
		}, {
			name: "the second is none, the first free", options: Options{RedirectURLs: []string{at("0", "/1"), "https://example.com/"}},
			err: "loopback: Options.RedirectURLs must begin with http://, which is what can be received on this machine",
		},
		{name: "an empty one", options: Options{RedirectURLs: []string{""}}, err: "loopback: Options.RedirectURLs must begin with http://, which is what can be received on this machine"},
		{
			name: "Config's is somewhere else", config: "http://example.com/",
			err: `loopback: RedirectURL: host "example.com" is not this machine: use localhost, 127.0.0.1 or [::1]`,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, err := listenFirst(t.Context(), config, &tt.options, tt.begin, tt.config)
			if tt.err != "" {
				require.EqualError(t, err, tt.err)
				if tt.is != nil {
					require.ErrorIs(t, err, tt.is)
				}
				return
			}
			require.NoError(t, err)
			defer r.Close()
			require.Equal(t, tt.want, r.path)
		})
	}

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := listenFirst(ctx, &net.ListenConfig{}, &Options{RedirectURLs: []string{at("0", "/")}}, "", "")
	require.EqualError(t, err, "loopback: waiting for the redirect: context canceled")
}

// The documented address is the default: that of a service that compares
// redirect URLs exactly.
func TestRedirectURLs(t *testing.T) {
	for _, tt := range []struct {
		options       Options
		begin, config string
		want          []string
	}{
		{Options{}, "", "", []string{"http://localhost:3000/pkce/response/code"}},
		{Options{}, "", "http://localhost:1/config", []string{"http://localhost:1/config"}},
		{Options{}, "http://localhost:1/begin", "http://localhost:1/config", []string{"http://localhost:1/begin"}},
		{Options{RedirectURLs: []string{"http://localhost:1/a", "http://localhost:1/b"}}, "x", "y", []string{"http://localhost:1/a", "http://localhost:1/b"}},
	} {
		_, urls := redirectURLs(&tt.options, tt.begin, tt.config)
		assert.Equal(t, tt.want, urls)
	}
}
