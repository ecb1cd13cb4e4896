package piecesauth

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestBearerNeverComesBack follows redirects over several hosts: once a request
// was away, none that follows carries the token (as CVE-2024-45336 of net/http).
func TestBearerNeverComesBack(t *testing.T) {
	const api, other = "https://api.example.com", "https://other.example.com"
	for _, tt := range []struct {
		name string
		hops []string // the first is asked for, each redirects to the next
		with int      // how many carry the token
	}{
		{"API, other, API", []string{api, other, api}, 1},
		{"API, API, other, API", []string{api, api + "/b", other, api}, 2},
		{"API, other, other, API", []string{api, other, other + "/b", api}, 1},
		{"API, other, API, API", []string{api, other, api, api + "/b"}, 1},
		{"API, other, API, other, API", []string{api, other, api, other, api}, 1},
		{"API, a subdomain, API", []string{api, "https://www.api.example.com", api}, 1},
		{"API, the domain above", []string{api, "https://example.com"}, 1},
		{"API, another port, API", []string{api, api + ":8443", api}, 1},
		{"API, in the clear, API", []string{api, "http://api.example.com", api}, 1},
		{"API, with its port", []string{api, api + ":443/b"}, 2},
		{"API, in capitals", []string{api, "https://API.EXAMPLE.COM/b"}, 2},
		{"API, API, API", []string{api, api + "/b", api + "/c"}, 3},
		{"API, a dot at the end", []string{api, "https://api.example.com./"}, 1},
	} {
		for _, status := range []int{301, 302, 303, 307, 308} {
			for _, method := range []string{http.MethodGet, http.MethodPost} {
				t.Run(fmt.Sprint(tt.name, " ", status, " ", method), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						b := newBench(t)
						var sent []string
						client := b.source.Client(direct(func(w http.ResponseWriter, r *http.Request) {
							if sent = append(sent, r.Header.Get("Authorization")); len(sent) < len(tt.hops) {
								reply(status, "", "Location: "+tt.hops[len(sent)])(w, r)
							}
						}))
						resp, err := send(t, client, method, tt.hops[0], strings.NewReader("payload"))
						require.NoError(t, err)
						require.NoError(t, resp.Body.Close())
						want := make([]string, len(tt.hops))
						for i := range tt.with {
							want[i] = "Bearer a0"
						}
						require.Equal(t, want, sent)
					})
				})
			}
		}
	}
}

// TestElsewhereRejects refreshes nothing because another host answers 401.
func TestElsewhereRejects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		client := b.source.Client(direct(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Host == "api.example.com" {
				reply(307, "", "Location: https://other.example.com/")(w, r)
				return
			}
			reply(401, "")(w, r)
		}))
		resp, err := send(t, client, http.MethodGet, "https://api.example.com/", nil)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, 401, resp.StatusCode)
		require.Zero(t, b.refreshes)
	})
}

// TestRejectedConnectionIsUsedAgain reads what little a 401 says, and no more.
func TestRejectedConnectionIsUsedAgain(t *testing.T) {
	for _, tt := range []struct {
		name        string
		refused     string
		connections int
	}{
		{"nothing", "", 1},
		{"some words", strings.Repeat("x", 1000), 1},
		{"some KiB", strings.Repeat("x", 10<<10), 1},
		{"a MiB", strings.Repeat("x", 1<<20), 2},
	} {
		for name, gone := range map[string]bool{"refreshed": false, "the grant is gone": true} {
			t.Run(tt.name+", "+name, func(t *testing.T) {
				api := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if r.Header.Get("Authorization") == "Bearer old" {
						reply(401, tt.refused)(w, r)
					}
				}))
				var connections atomic.Int32
				api.Config.ConnState = func(_ net.Conn, state http.ConnState) {
					if state == http.StateNew {
						connections.Add(1)
					}
				}
				api.Start()
				t.Cleanup(api.Close)
				granted := reply(200, tokenBody, asJSON)
				if gone {
					granted = reply(400, `{"error":"invalid_grant"}`, asJSON)
				}
				auth := newWire(t, granted)
				source := newAuth(t, auth.URL).TokenSource(nil)
				require.NoError(t, source.Save(t.Context(), &Token{AccessToken: "old", RefreshToken: theRefresh, Expiry: time.Now().Add(time.Hour)}))
				client := source.Client(api.Client())

				ask := func() error {
					resp, err := send(t, client, http.MethodGet, api.URL, nil)
					if err != nil {
						return err
					}
					_, err = io.Copy(io.Discard, resp.Body)
					return errors.Join(err, resp.Body.Close())
				}
				err := ask()
				if gone {
					require.ErrorIs(t, err, ErrSignInRequired)
					require.NoError(t, source.Save(t.Context(), &Token{AccessToken: "new", Expiry: time.Now().Add(time.Hour)}))
					require.NoError(t, ask())
				} else {
					require.NoError(t, err)
				}
				require.EqualValues(t, tt.connections, connections.Load())
			})
		}
	}
}

// TestRejectedBodyWithoutEnd stops reading a 401 that goes on and on.
func TestRejectedBodyWithoutEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		read := 0
		client := b.source.Client(&http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			if r.Header.Get("Authorization") != "Bearer a0" {
				return direct(reply(200, "")).Transport.RoundTrip(r)
			}
			body := io.NopCloser(readFunc(func(p []byte) (int, error) { read += len(p); return len(p), nil }))
			return &http.Response{StatusCode: http.StatusUnauthorized, Body: body, Request: r, Header: http.Header{}}, nil
		})})
		resp, err := send(t, client, http.MethodGet, "https://api.example.com/", nil)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, 200, resp.StatusCode)
		require.LessOrEqual(t, read, 64<<10)
	})
}

type readFunc func([]byte) (int, error)

func (f readFunc) Read(p []byte) (int, error) { return f(p) }

// TestClient holds what the ready HTTP client sends, and what it repeats.
func TestClient(t *testing.T) {
	const body = "payload"
	unseekable := struct{ io.Reader }{}
	for _, tt := range []struct {
		name    string
		method  string
		body    func() io.Reader
		api     http.HandlerFunc // for the first request; those after it get 200
		refresh http.HandlerFunc
		sent    []string // authorization and body of each request
		status  int      // or
		causes  []error
	}{
		{
			name: "a bearer", method: "GET", api: reply(200, ""),
			sent: []string{"Bearer a0 "}, status: 200,
		}, {
			name: "401", method: "GET", api: reply(401, "expired"),
			sent: []string{"Bearer a0 ", "Bearer a1 "}, status: 200,
		}, {
			name: "401, with a body", method: "POST", body: func() io.Reader { return strings.NewReader(body) }, api: reply(401, ""),
			sent: []string{"Bearer a0 payload", "Bearer a1 payload"}, status: 200,
		}, {
			name: "401, with a body that can't be had again", method: "POST", api: reply(401, ""),
			body: func() io.Reader { r := unseekable; r.Reader = strings.NewReader(body); return r },
			sent: []string{"Bearer a0 payload"}, status: 401,
		}, {
			name: "403", method: "GET", api: reply(403, ""),
			sent: []string{"Bearer a0 "}, status: 403,
		}, {
			name: "401, and a failing refresh", method: "GET", api: reply(401, "expired"), refresh: reply(500, ""),
			sent: []string{"Bearer a0 "}, status: 401,
		}, {
			name: "401, and the grant is gone", method: "GET", api: reply(401, ""), refresh: reply(400, `{"error":"invalid_grant"}`),
			sent: []string{"Bearer a0 "}, causes: []error{ErrSignInRequired},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				b.answer = tt.refresh
				var sent []string
				base := direct(func(w http.ResponseWriter, r *http.Request) {
					var got []byte
					if r.Body != nil {
						got, _ = io.ReadAll(r.Body)
					}
					if sent = append(sent, r.Header.Get("Authorization")+" "+string(got)); len(sent) == 1 {
						tt.api(w, r)
					}
				})
				transport := fmt.Sprintf("%p", base.Transport)
				var payload io.Reader
				if tt.body != nil {
					payload = tt.body()
				}
				req, err := http.NewRequestWithContext(t.Context(), tt.method, "https://api.example.com/x", payload)
				require.NoError(t, err)
				resp, err := b.source.Client(base).Do(req)
				if tt.causes != nil {
					for _, cause := range tt.causes {
						require.ErrorIs(t, err, cause)
					}
				} else {
					require.NoError(t, err)
					text, err := io.ReadAll(resp.Body)
					require.NoError(t, err)
					require.NoError(t, resp.Body.Close())
					require.Equal(t, tt.status, resp.StatusCode)
					require.Equal(t, tt.name == "401, and a failing refresh", string(text) == "expired")
				}
				require.Equal(t, tt.sent, sent)
				require.Empty(t, req.Header, "the caller's request is left alone")
				require.Equal(t, transport, fmt.Sprintf("%p", base.Transport), "and so is the client")
			})
		})
	}

	t.Run("401 for ever", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t)
			var sent int
			client := b.source.Client(direct(func(w http.ResponseWriter, r *http.Request) { sent++; reply(401, "")(w, r) }))
			resp, err := send(t, client, http.MethodGet, "https://api.example.com/", nil)
			require.NoError(t, err)
			require.NoError(t, resp.Body.Close())
			require.Equal(t, 401, resp.StatusCode)
			require.Equal(t, 2, sent)
			require.Equal(t, 1, b.refreshes)
		})
	})
	t.Run("401 for many at once", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t)
			b.delay = time.Second
			client := b.source.Client(direct(func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Authorization") == "Bearer a0" {
					w.WriteHeader(http.StatusUnauthorized)
				}
			}))
			var wg sync.WaitGroup
			for range 50 {
				wg.Go(func() {
					resp, err := send(t, client, http.MethodGet, "https://api.example.com/", nil)
					if assert.NoError(t, err) {
						assert.Equal(t, 200, resp.StatusCode)
						assert.NoError(t, resp.Body.Close())
					}
				})
			}
			wg.Wait()
			require.Equal(t, 1, b.refreshes)
		})
	})
	t.Run("no token", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t)
			b.put(nil)
			closed := &closeNoter{Reader: strings.NewReader(body)}
			client := b.source.Client(direct(func(http.ResponseWriter, *http.Request) { t.Error("sent") }))
			_, err := send(t, client, http.MethodPost, "https://api.example.com/", closed)
			require.ErrorIs(t, err, ErrSignInRequired)
			require.True(t, closed.closed)
		})
	})
}

type closeNoter struct {
	io.Reader
	closed bool
}

func (c *closeNoter) Close() error { c.closed = true; return nil }

// TestClientKeepsTheToken sends it neither in the clear nor to anybody else.
func TestClientKeepsTheToken(t *testing.T) {
	for _, withRequest := range []bool{true, false} { // whether the transport says what its answers belong to
		t.Run(fmt.Sprint("response with its request: ", withRequest), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				var sent []string
				served := direct(func(w http.ResponseWriter, r *http.Request) {
					sent = append(sent, strings.TrimSuffix(r.URL.String()+" "+r.Header.Get("Authorization"), " "))
					if to := r.FormValue("to"); to != "" {
						reply(307, "", "Location: "+to)(w, r)
					}
				})
				client := b.source.Client(&http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
					resp, err := served.Transport.RoundTrip(r)
					if err == nil && !withRequest {
						resp.Request = nil
					}
					return resp, err
				})})
				for _, tt := range []struct {
					url  string
					want []string // nil where nothing may be sent
				}{
					{"https://api.example.com/", []string{"https://api.example.com/ Bearer a0"}},
					{"http://localhost:9/", []string{"http://localhost:9/ Bearer a0"}},
					{"http://[::1]/", []string{"http://[::1]/ Bearer a0"}},
					{"http://api.example.com/", nil},
					{"https://api.example.com/?to=/other", []string{"https://api.example.com/?to=/other Bearer a0", "https://api.example.com/other Bearer a0"}},
					{"https://api.example.com/?to=https://evil.example.com/", []string{"https://api.example.com/?to=https://evil.example.com/ Bearer a0", "https://evil.example.com/"}},
					{"https://api.example.com/?to=https://api.example.com:8443/", []string{"https://api.example.com/?to=https://api.example.com:8443/ Bearer a0", "https://api.example.com:8443/"}},
					{"https://api.example.com/?to=http://api.example.com/", []string{"https://api.example.com/?to=http://api.example.com/ Bearer a0", "http://api.example.com/"}},
					{"https://api.example.com/?to=https://evil.example.com/?to=/again", []string{
						"https://api.example.com/?to=https://evil.example.com/?to=/again Bearer a0", "https://evil.example.com/?to=/again", "https://evil.example.com/again",
					}},
				} {
					sent = nil
					resp, err := send(t, client, http.MethodGet, tt.url, nil)
					if tt.want == nil {
						var e *Error
						require.ErrorAs(t, err, &e)
						require.Contains(t, e.Error(), "https")
						require.Empty(t, sent)
						continue
					}
					require.NoError(t, err)
					require.NoError(t, resp.Body.Close())
					if !withRequest { // then nobody knows where a redirect came from
						for i := range tt.want[1:] {
							tt.want[i+1] = strings.TrimSuffix(tt.want[i+1], " Bearer a0")
						}
					}
					require.Equal(t, tt.want, sent)
				}
			})
		})
	}
}

// TestClientOverANetwork does it with a server, and with no client to start from.
func TestClientOverANetwork(t *testing.T) {
	var got []string
	var mu sync.Mutex
	api := newWire(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		if got = append(got, r.Header.Get("Authorization")+" "+string(b)); len(got) == 1 {
			reply(401, "expired")(w, r)
		}
	})
	auth := newWire(t, reply(200, tokenBody, asJSON))
	source := newAuth(t, auth.URL).TokenSource(new(MemoryStore))
	require.NoError(t, source.Save(t.Context(), &Token{AccessToken: "old", RefreshToken: theRefresh, Expiry: time.Now().Add(time.Hour)}))
	resp, err := send(t, source.Client(nil), http.MethodPost, api.URL, strings.NewReader("payload"))
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, 200, resp.StatusCode)
	require.Equal(t, []string{"Bearer old payload", "Bearer " + theAccess + " payload"}, got)
}
