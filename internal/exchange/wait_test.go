package exchange

import (
	"context"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// refusing answers 429 with the header, and notes how long after the first
// request each came.
type refusing struct {
	header http.Header
	start  time.Time
	came   []time.Duration
}

func (r *refusing) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Body != nil {
		_ = req.Body.Close()
	}
	r.came = append(r.came, time.Since(r.start))
	return &http.Response{StatusCode: http.StatusTooManyRequests, Body: http.NoBody, Header: r.header}, nil
}

// TestWaits holds how long is waited for another try: as long as the server
// asks and up to a quarter more, but not longer than anybody may be kept waiting.
func TestWaits(t *testing.T) {
	ms := func(n int) time.Duration { return time.Duration(n) * time.Millisecond }
	for name, tt := range map[string]struct {
		retryAfter string
		within     time.Duration // the caller's patience
		least      []time.Duration
	}{
		"the server doesn't say":       {"", time.Minute, []time.Duration{ms(250), ms(500)}},
		"as long as it says":           {"3", time.Minute, []time.Duration{ms(3000), ms(3000)}},
		"as long as anybody is to":     {"10", time.Minute, []time.Duration{ms(10_000), ms(10_000)}},
		"longer":                       {"11", time.Minute, nil},
		"as long as the caller will":   {"10", ms(10_000), nil},
		"nearly as long as the caller": {"10", ms(13_000), []time.Duration{ms(10_000)}},
		"no time at all":               {"0", time.Minute, []time.Duration{ms(250), ms(500)}},
	} {
		t.Run(name, func(t *testing.T) {
			spread := map[time.Duration]bool{}
			for range 20 {
				synctest.Test(t, func(t *testing.T) {
					ctx, cancel := context.WithTimeout(t.Context(), tt.within)
					defer cancel()
					server := &refusing{start: time.Now()}
					if tt.retryAfter != "" {
						server.header = http.Header{"Retry-After": {tt.retryAfter}}
					}
					answer, err := post(ctx, t, newClient(t, server), "https://auth.example.com")
					require.NoError(t, err)
					require.Equal(t, http.StatusTooManyRequests, answer.StatusCode)
					require.Equal(t, len(tt.least) > 0, answer.Repeated)
					require.Len(t, server.came, 1+len(tt.least))
					for i, least := range tt.least {
						waited := server.came[i+1] - server.came[i]
						require.GreaterOrEqual(t, waited, least)
						require.LessOrEqual(t, waited, least+least/4)
						spread[waited-least] = true
					}
				})
			}
			if len(tt.least) > 0 {
				require.Greater(t, len(spread), 10, "all who were refused come back at once")
			}
		})
	}
}

// TestGivenUpWhileWaiting says what the server asked for, and that a POST may have been
// acted on once it was sent a second time.
func TestGivenUpWhileWaiting(t *testing.T) {
	for name, tt := range map[string]struct {
		form  string
		after time.Duration
		want  bool
	}{
		"a GET":                      {"", 7 * time.Second, false},
		"a POST that was refused":    {theForm, time.Second, false},
		"a POST that was sent again": {theForm, 7 * time.Second, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer time.AfterFunc(tt.after, cancel).Stop()
				c := newClient(t, &refusing{start: time.Now(), header: http.Header{"Retry-After": {"5"}}})
				req := newRequest(t, http.MethodGet, "https://auth.example.com")
				_, err := c.Do(ctx, req, req.Header, tt.form)
				require.ErrorIs(t, err, context.Canceled)
				f := failure(t, err)
				require.Equal(t, FailedError{StatusCode: http.StatusTooManyRequests, RetryAfter: 5 * time.Second, MaybeSent: tt.want, Err: f.Err}, *f)
			})
		})
	}
}

func TestLocation(t *testing.T) {
	header := http.Header{"Location": {"https://example.com"}}
	for status, want := range map[int]string{200: "", 299: "", 300: "https://example.com", 302: "https://example.com", 399: "https://example.com", 400: "", 503: ""} {
		require.Equal(t, want, (&Answer{StatusCode: status, Header: header}).Location(), status)
	}
	require.Empty(t, (&Answer{StatusCode: 302}).Location())
}

// reading counts how much is asked for at a time.
type reading struct {
	strings.Reader

	asked []int
}

func (r *reading) Read(p []byte) (int, error) {
	r.asked = append(r.asked, len(p))
	return r.Reader.Read(p)
}

func (r *reading) Close() error { return nil }

// TestReadBody reserves what the server says there is, or little at first, and
// eightfold then.
func TestReadBody(t *testing.T) {
	const k = 1 << 10
	for name, tt := range map[string]struct {
		length int64
		body   int
		asked  []int // nil: none at all
	}{
		"as much as it says":           {100, 100, []int{101, 1}},
		"nothing":                      {0, 0, []int{1}},
		"it doesn't say":               {-1, 100, []int{2 * k, 2*k - 100}},
		"it doesn't say, and more":     {-1, 20 * k, []int{2 * k, 14 * k, 112 * k, 108 * k}},
		"as much as there may be":      {MaxBody, MaxBody, []int{MaxBody + 1, 1}},
		"more than there may be":       {MaxBody + 1, MaxBody + 1, nil},
		"it doesn't say, and too much": {-1, MaxBody + 1, []int{2 * k, 14 * k, 112 * k, 896 * k, 1}},
	} {
		t.Run(name, func(t *testing.T) {
			var body reading
			body.Reset(strings.Repeat("x", tt.body))
			b, err := ReadBody(&http.Response{ContentLength: tt.length, Body: &body})
			require.Equal(t, tt.asked, body.asked)
			if tt.body > MaxBody {
				require.ErrorIs(t, err, ErrTooLarge)
				return
			}
			require.NoError(t, err)
			require.Len(t, b, tt.body)
		})
	}
}

// TestCopiedForm counts a form as sent that a transport copies instead of reading it.
func TestCopiedForm(t *testing.T) {
	var sent atomic.Bool
	c := newClient(t, &refusing{})
	req := c.withForm(t.Context(), newRequest(t, http.MethodPost, "https://auth.example.com"), theForm, &sent)
	var text strings.Builder
	_, err := io.Copy(&text, req.Body)
	require.NoError(t, err)
	require.Equal(t, theForm, text.String())
	require.True(t, sent.Load())
}
