package piecesauth

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

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

// TestRejectedBodyWithoutEnd gives up on a 401 that goes on and on.
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
