package exchange

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/piecesauth/piecesauth/internal/beforesend"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const theForm = "grant_type=refresh_token&refresh_token=s3cr3t"

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func newClient(t *testing.T, transport http.RoundTripper) *Client {
	t.Helper()
	c := New(&http.Client{Transport: transport}, slog.New(slog.DiscardHandler))
	t.Cleanup(c.CloseIdleConnections)
	return c
}

func newRequest(t *testing.T, method, to string) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), method, to, nil)
	require.NoError(t, err)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return req
}

func post(ctx context.Context, t *testing.T, c *Client, to string) (Answer, error) {
	t.Helper()
	req := newRequest(t, http.MethodPost, to) //nolint:contextcheck // many calls share it
	return c.Do(ctx, req, req.Header.Clone(), theForm)
}

// failure returns what went wrong, which every error of Do is.
func failure(t *testing.T, err error) *FailedError {
	t.Helper()
	var f *FailedError
	require.ErrorAs(t, err, &f)
	require.Equal(t, f.Err.Error(), err.Error())
	require.NotContains(t, err.Error(), "s3cr3t")
	require.NotContains(t, err.Error(), "\n")
	return f
}

// served is what a raw server reads of one connection.
type served struct {
	mu    sync.Mutex
	reads []string // each of what one call of Read returned
}

func (s *served) all() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.reads...)
}

// listen serves each connection with the function, until the test ends.
func listen(t *testing.T, serve func(net.Conn, *served)) (address string, s *served) {
	t.Helper()
	s = new(served)
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // of a test
	require.NoError(t, err)
	var wg sync.WaitGroup
	t.Cleanup(func() {
		assert.NoError(t, l.Close())
		wg.Wait()
	})
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer func() { _ = conn.Close() }()
				serve(conn, s)
			})
		}
	})
	return l.Addr().String(), s
}

// read returns what one Read brings.
func (s *served) read(conn net.Conn) string {
	_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	b := make([]byte, 64<<10)
	n, err := conn.Read(b)
	if err != nil && n == 0 {
		return ""
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reads = append(s.reads, string(b[:n]))
	return string(b[:n])
}

// readRequest reads until header and body are there, or the connection ends.
func (s *served) readRequest(conn net.Conn) string {
	var all string
	for !strings.HasSuffix(all, theForm) {
		got := s.read(conn)
		if got == "" {
			return all
		}
		all += got
	}
	return all
}

const okay = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"

// writes counts how often a connection is written to.
type writes struct {
	net.Conn

	count *[]string
}

func (w writes) Write(p []byte) (int, error) {
	*w.count = append(*w.count, string(p))
	return w.Conn.Write(p)
}

// TestOneWrite sends header and form of a POST in one write, so that they arrive
// in one packet, over a new connection and one that is used again.
func TestOneWrite(t *testing.T) {
	address, s := listen(t, func(conn net.Conn, s *served) {
		for s.readRequest(conn) != "" {
			_, _ = io.WriteString(conn, okay)
		}
	})
	var written []string
	dialer := new(net.Dialer)
	c := newClient(t, &http.Transport{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dialer.DialContext(ctx, network, address)
		return writes{conn, &written}, err
	}})
	for range 3 {
		answer, err := post(t.Context(), t, c, "http://"+address+"/oauth/token")
		require.NoError(t, err)
		require.Equal(t, "{}", string(answer.Body))
	}
	require.Len(t, written, 3)
	require.Len(t, s.all(), 3)
	for i, text := range written {
		require.Equal(t, text, s.all()[i])
		require.True(t, strings.HasPrefix(text, "POST /oauth/token HTTP/1.1\r\n"))
		require.True(t, strings.HasSuffix(text, "\r\n\r\n"+theForm))
		require.Contains(t, text, "\r\nContent-Length: "+strconv.Itoa(len(theForm))+"\r\n")
		require.NotContains(t, text, "chunked")
	}
}

// wrapped is a RoundTripper that calls no hooks of httptrace by itself.
type wrapped struct{ http.RoundTripper }

// TestMaybeSent holds exactly when a server may have acted on a POST: over
// net/http's transport, and over one that wraps it.
func TestMaybeSent(t *testing.T) {
	unused, _ := listen(t, func(net.Conn, *served) {})
	refusing := func(t *testing.T) string {
		l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // of a test
		require.NoError(t, err)
		require.NoError(t, l.Close())
		return "http://" + l.Addr().String()
	}
	for _, tt := range []struct {
		name string
		to   func(t *testing.T) string
		sent bool
	}{
		{"nobody listens", refusing, false},
		{"no such host", func(*testing.T) string { return "http://pieces.invalid" }, false},
		{"closed after the request", func(t *testing.T) string {
			address, _ := listen(t, func(conn net.Conn, s *served) { s.readRequest(conn) })
			return "http://" + address
		}, true},
		{"closed in the middle of an answer", func(t *testing.T) string {
			address, _ := listen(t, func(conn net.Conn, s *served) {
				s.readRequest(conn)
				_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n{")
			})
			return "http://" + address
		}, true},
		{"an answer that can't be read", func(t *testing.T) string {
			address, _ := listen(t, func(conn net.Conn, s *served) {
				s.readRequest(conn)
				_, _ = io.WriteString(conn, "SSH-2.0-OpenSSH\r\n")
			})
			return "http://" + address
		}, true},
		{"an answer that is too long", func(t *testing.T) string {
			address, _ := listen(t, func(conn net.Conn, s *served) {
				s.readRequest(conn)
				_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2000000\r\n\r\n{")
			})
			return "http://" + address
		}, true},
		{"a server without TLS", func(*testing.T) string { return "https://" + unused }, false},
		{"a certificate of nobody", func(t *testing.T) string {
			s := httptest.NewUnstartedServer(http.NotFoundHandler())
			s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
			s.StartTLS()
			t.Cleanup(s.Close)
			return s.URL
		}, false},
	} {
		for name, transport := range map[string]func(*http.Transport) http.RoundTripper{
			"net/http's": func(t *http.Transport) http.RoundTripper { return t },
			"a wrapper":  func(t *http.Transport) http.RoundTripper { return wrapped{t} },
		} {
			t.Run(tt.name+", "+name, func(t *testing.T) {
				c := newClient(t, transport(&http.Transport{
					DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
						if strings.HasPrefix(address, "pieces.invalid") { // lest a name server be asked
							return nil, &net.OpError{Op: "dial", Net: network, Err: &net.DNSError{Err: "no such host", Name: "pieces.invalid", IsNotFound: true}}
						}
						return new(net.Dialer).DialContext(ctx, network, address)
					},
				}))
				_, err := post(t.Context(), t, c, tt.to(t)+"/oauth/token")
				f := failure(t, err)
				require.Equal(t, tt.sent, f.MaybeSent, err)
			})
		}
	}
	t.Run("ended before", func(t *testing.T) {
		for _, transport := range []http.RoundTripper{&http.Transport{}, wrapped{&http.Transport{}}} {
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			_, err := post(ctx, t, newClient(t, transport), "http://"+unused)
			require.ErrorIs(t, err, context.Canceled)
			require.False(t, failure(t, err).MaybeSent)
		}
	})
	t.Run("a GET", func(t *testing.T) {
		address, _ := listen(t, func(conn net.Conn, s *served) { s.read(conn) })
		req := newRequest(t, http.MethodGet, "http://"+address)
		_, err := newClient(t, &http.Transport{}).Do(t.Context(), req, req.Header, "")
		require.False(t, failure(t, err).MaybeSent)
	})
}

// TestMaybeSentByWrapper asks transports of the caller's, which may do anything
// with a body.
func TestMaybeSentByWrapper(t *testing.T) {
	broken := errors.New("s3cr3t broken")
	for _, tt := range []struct {
		name string
		send roundTrip
		sent bool
	}{
		{"that leaves the body alone", func(*http.Request) (*http.Response, error) { return nil, broken }, false},
		{"that closes it", func(r *http.Request) (*http.Response, error) { _ = r.Body.Close(); return nil, broken }, false},
		{"that has another body made, and leaves it alone", func(r *http.Request) (*http.Response, error) {
			_, err := r.GetBody()
			return nil, errors.Join(err, broken)
		}, false},
		{"that reads a byte", func(r *http.Request) (*http.Response, error) {
			_, err := r.Body.Read(make([]byte, 1))
			return nil, errors.Join(err, broken)
		}, true},
		{"that copies it", func(r *http.Request) (*http.Response, error) {
			_, err := io.Copy(io.Discard, r.Body)
			return nil, errors.Join(err, broken)
		}, true},
		{"that reads another body", func(r *http.Request) (*http.Response, error) {
			body, err := r.GetBody()
			if err == nil {
				_, err = io.ReadAll(body)
			}
			return nil, errors.Join(err, broken)
		}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := post(t.Context(), t, newClient(t, tt.send), "https://auth.example.com/oauth/token")
			f := failure(t, err)
			require.Equal(t, tt.sent, f.MaybeSent)
			require.ErrorIs(t, err, broken)
		})
	}
}

// TestSentOverAnotherConnection has a connection that the server closes while it
// is idle: net/http may take another one, and nothing is sent twice.
func TestSentOverAnotherConnection(t *testing.T) {
	closed := make(chan bool, 1)
	requests := 0
	var mu sync.Mutex
	address, _ := listen(t, func(conn net.Conn, s *served) {
		if s.readRequest(conn) == "" {
			return
		}
		mu.Lock()
		requests++
		mu.Unlock()
		_, _ = io.WriteString(conn, okay)
		_ = conn.Close()
		closed <- true
	})
	c := newClient(t, &http.Transport{})
	for i := range 5 {
		_, err := post(t.Context(), t, c, "http://"+address)
		if err != nil { // the end of the connection was noticed while the request was written
			require.True(t, failure(t, err).MaybeSent)
			continue
		}
		<-closed
		mu.Lock()
		require.LessOrEqual(t, requests, i+1)
		mu.Unlock()
	}
}

// TestBeforeSend asks a last time when the connection is had, and keeps the form
// back where the answer is no.
func TestBeforeSend(t *testing.T) {
	refused := errors.New("s3cr3t: somebody else does it")
	for name, transport := range map[string]func() http.RoundTripper{
		"net/http's": func() http.RoundTripper { return &http.Transport{} },
		"a wrapper":  func() http.RoundTripper { return wrapped{&http.Transport{}} },
	} {
		for _, answer := range []error{nil, refused} {
			t.Run(fmt.Sprint(name, ", ", answer != nil), func(t *testing.T) {
				connected := make(chan bool, 10)
				done := make(chan bool, 10)
				address, s := listen(t, func(conn net.Conn, s *served) {
					connected <- true
					if strings.HasSuffix(s.readRequest(conn), theForm) {
						_, _ = io.WriteString(conn, okay)
					}
					done <- true
				})
				asked := 0
				ctx := beforesend.With(t.Context(), func(context.Context) error {
					asked++
					<-connected
					return answer
				})
				c := newClient(t, transport())
				_, err := post(ctx, t, c, "http://"+address)
				c.CloseIdleConnections()
				<-done
				require.Equal(t, 1, asked)
				got := strings.Join(s.all(), "")
				if answer == nil {
					require.NoError(t, err)
					require.True(t, strings.HasSuffix(got, theForm))
					return
				}
				require.ErrorIs(t, err, refused)
				require.False(t, failure(t, err).MaybeSent)
				require.NotContains(t, got, "refresh_token")
			})
		}
	}
	t.Run("HTTP/2", func(t *testing.T) {
		bodies := make(chan string, 10)
		server := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			b, _ := io.ReadAll(r.Body)
			bodies <- fmt.Sprint(r.ProtoMajor, " ", string(b))
		}))
		server.EnableHTTP2 = true
		server.StartTLS()
		t.Cleanup(server.Close)
		for _, answer := range []error{nil, refused} {
			ctx := beforesend.With(t.Context(), func(context.Context) error { return answer })
			_, err := post(ctx, t, newClient(t, server.Client().Transport), server.URL)
			got := <-bodies
			if answer == nil {
				require.NoError(t, err)
				require.Equal(t, "2 "+theForm, got)
				continue
			}
			require.ErrorIs(t, err, refused)
			require.False(t, failure(t, err).MaybeSent)
			require.Equal(t, "2 ", got)
		}
	})
	t.Run("asked anew for each repetition", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			sent, asked := 0, 0
			c := newClient(t, roundTrip(func(r *http.Request) (*http.Response, error) {
				if _, err := io.ReadAll(r.Body); err != nil {
					return nil, err
				}
				sent++
				return &http.Response{StatusCode: http.StatusTooManyRequests, Body: http.NoBody, Header: http.Header{}}, nil
			}))
			ctx := beforesend.With(t.Context(), func(context.Context) error {
				if asked++; asked == 2 {
					return refused
				}
				return nil
			})
			_, err := post(ctx, t, c, "https://auth.example.com")
			require.ErrorIs(t, err, refused)
			require.Equal(t, 1, sent)
			require.Equal(t, 2, asked)
		})
	})
}

// TestDefaultTransport holds what the transport of our own has that net/http's
// lacks.
func TestDefaultTransport(t *testing.T) {
	c := New(nil, slog.New(slog.DiscardHandler))
	transport, ok := c.http.Transport.(*http.Transport)
	require.True(t, ok)
	require.NotSame(t, http.DefaultTransport, transport)
	require.NotNil(t, transport.HTTP2)
	require.Equal(t, 15*time.Second, transport.HTTP2.SendPingTimeout, "after a sleep of the machine")
	require.Equal(t, 5*time.Second, transport.HTTP2.PingTimeout)
	require.EqualValues(t, 64<<10, transport.MaxResponseHeaderBytes)
	require.NotNil(t, transport.Proxy)
	require.True(t, transport.ForceAttemptHTTP2)

	// And it does speak HTTP/2.
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, strconv.Itoa(r.ProtoMajor)) }))
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	transport.TLSClientConfig = &tls.Config{RootCAs: server.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs} //nolint:forcetypeassert // it is
	t.Cleanup(c.CloseIdleConnections)
	answer, err := post(t.Context(), t, c, server.URL)
	require.NoError(t, err)
	require.Equal(t, "2", string(answer.Body))

	callers := &http.Client{Transport: &http.Transport{}}
	require.Same(t, callers.Transport, New(callers, nil).http.Transport, "the caller's is the caller's")
	require.Nil(t, callers.CheckRedirect)
}

// TestProxyRefuses says so, and that nothing was sent.
func TestProxyRefuses(t *testing.T) {
	for _, status := range []int{407, 403, 502} {
		proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
		t.Cleanup(proxy.Close)
		to, err := url.Parse(proxy.URL)
		require.NoError(t, err)
		transport := newTransport(&http.Transport{Proxy: http.ProxyURL(to)})
		_, err = post(t.Context(), t, newClient(t, transport), "https://auth.example.com/oauth/token")
		f := failure(t, err)
		require.False(t, f.MaybeSent)
		require.ErrorContains(t, err, fmt.Sprint("the proxy refused to connect: HTTP status ", status))
	}
}

// TestBounds reads no more than there may be, and reserves no more than there is.
func TestBounds(t *testing.T) {
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	_, err := z.Write(bytes.Repeat([]byte(" "), 4<<20))
	require.NoError(t, err)
	require.NoError(t, z.Close())
	long := strings.Repeat("x", MaxBody)
	for _, tt := range []struct {
		name   string
		answer http.HandlerFunc
		want   int
	}{
		{"nothing", func(http.ResponseWriter, *http.Request) {}, 0},
		{"as much as there may be", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, long) }, MaxBody},
		{"one more", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, long+"x") }, -1},
		{"much more, and it says so", func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Content-Length", "1073741824") }, -1},
		{"in pieces", func(w http.ResponseWriter, _ *http.Request) {
			for range 10 {
				_, _ = io.WriteString(w, long[:10_000])
				_ = http.NewResponseController(w).Flush()
			}
		}, 100_000},
		{"a bomb", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = w.Write(bomb.Bytes())
		}, -1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			server := httptest.NewServer(tt.answer)
			t.Cleanup(server.Close)
			c := newClient(t, &http.Transport{})
			for range 2 {
				answer, err := post(t.Context(), t, c, server.URL)
				if tt.want < 0 {
					require.ErrorIs(t, err, ErrTooLarge)
					require.True(t, failure(t, err).MaybeSent)
					continue
				}
				require.NoError(t, err)
				require.Len(t, answer.Body, tt.want)
				require.LessOrEqual(t, cap(answer.Body), min(max(8*tt.want, 4<<10), MaxBody+1))
			}
		})
	}
	t.Run("of time", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c := newClient(t, roundTrip(func(r *http.Request) (*http.Response, error) { <-r.Context().Done(); return nil, r.Context().Err() }))
			start := time.Now()
			_, err := post(t.Context(), t, c, "https://auth.example.com")
			require.ErrorIs(t, err, context.DeadlineExceeded)
			require.Equal(t, Timeout, time.Since(start))
		})
	})
	t.Run("Raw", func(t *testing.T) {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/long" {
				_, _ = io.WriteString(w, long+"x")
				return
			}
			http.Redirect(w, r, "/long", http.StatusFound)
		}))
		t.Cleanup(server.Close)
		c := newClient(t, &http.Transport{})
		_, err := c.Raw(newRequest(t, http.MethodGet, server.URL+"/long"))
		require.ErrorIs(t, err, ErrTooLarge)
		resp, err := c.Raw(newRequest(t, http.MethodGet, server.URL))
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, http.StatusFound, resp.StatusCode, "no redirect is followed")
	})
}

// TestRepeats counts how often each method is sent, and what the answer says of it.
func TestRepeats(t *testing.T) {
	for _, tt := range []struct {
		status      int
		gets, posts int
	}{{200, 1, 1}, {400, 1, 1}, {408, 1, 1}, {425, 1, 1}, {429, 3, 3}, {500, 1, 1}, {502, 1, 1}, {503, 3, 1}, {504, 1, 1}} {
		for method, want := range map[string]int{http.MethodGet: tt.gets, http.MethodPost: tt.posts} {
			t.Run(fmt.Sprint(method, tt.status), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					sent := 0
					c := newClient(t, roundTrip(func(r *http.Request) (*http.Response, error) {
						if sent++; r.Body != nil {
							got, err := io.ReadAll(r.Body)
							assert.NoError(t, err)
							assert.Equal(t, theForm, string(got), "the form is sent whole each time")
						}
						return &http.Response{StatusCode: tt.status, Body: http.NoBody, Header: http.Header{}}, nil
					}))
					req, form := newRequest(t, method, "https://auth.example.com"), ""
					if method == http.MethodPost {
						form = theForm
					}
					answer, err := c.Do(t.Context(), req, req.Header, form)
					require.NoError(t, err)
					require.Equal(t, want, sent)
					require.Equal(t, want > 1, answer.Repeated)
					require.Equal(t, tt.status, answer.StatusCode)
				})
			})
		}
	}
	t.Run("once is enough", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			statuses := []int{429, 400}
			c := newClient(t, roundTrip(func(*http.Request) (*http.Response, error) {
				status := statuses[0]
				statuses = statuses[1:]
				return &http.Response{StatusCode: status, Body: http.NoBody, Header: http.Header{}}, nil
			}))
			answer, err := post(t.Context(), t, c, "https://auth.example.com")
			require.NoError(t, err)
			require.Equal(t, 400, answer.StatusCode)
			require.True(t, answer.Repeated)
		})
	})
}
