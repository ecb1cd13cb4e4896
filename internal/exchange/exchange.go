// Package exchange sends one HTTP request and reads its answer, within limits
// of time, size and number of attempts. It follows no redirect, reports whether
// a request that failed may have been acted on, and describes causes in words
// that contain nothing of either message. It knows nothing of OAuth.
package exchange

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/piecesauth/piecesauth/internal/beforesend"
	"github.com/piecesauth/piecesauth/internal/strictjson"
)

// Limits of every exchange.
const (
	Timeout   = 30 * time.Second       // for one call, including its repetitions
	MaxBody   = 1 << 20                // of an answer, decompressed
	maxTries  = 3                      // of a request that the server asks to repeat
	maxWait   = 10 * time.Second       // before another try; for a longer wait the caller gets an error
	firstWait = 250 * time.Millisecond // if the server doesn't say; doubled each time
)

// ErrTooLarge means that an answer is longer than [MaxBody], or has more values
// than any real one.
var ErrTooLarge = strictjson.ErrTooLarge

// FailedError means that an exchange brought no complete answer.
type FailedError struct {
	// StatusCode is the status of the answer, or 0 if none came.
	StatusCode int
	// RetryAfter is how long the server asked to wait.
	RetryAfter time.Duration
	// MaybeSent reports whether the server may have acted on a POST.
	MaybeSent bool
	// Err is the cause; see [Cause].
	Err error
}

// Error returns the text of the cause.
func (f *FailedError) Error() string { return f.Err.Error() }

// Unwrap returns the cause.
func (f *FailedError) Unwrap() error { return f.Err }

// Answer is a response with its body read.
type Answer struct {
	StatusCode int
	Header     http.Header
	Body       []byte
	// Repeated reports whether the request was sent more than once, because the
	// server refused it with 429 or 503.
	Repeated bool
}

// Location returns where the answer redirects to, or "" if it doesn't.
func (a *Answer) Location() string {
	if a.StatusCode/100 != 3 {
		return ""
	}
	return a.Header.Get("Location")
}

// Client sends requests. Make one with [New].
type Client struct {
	http   *http.Client
	traced bool // the transport calls the hooks of httptrace before it returns
	logger *slog.Logger
}

// New returns a client that sends as the caller's client does, but follows no
// redirect, because a 307 would repeat a secret to another host. If the caller
// has none, it uses a transport of its own.
func New(callers *http.Client, logger *slog.Logger) *Client {
	c := &http.Client{}
	if callers != nil {
		*c = *callers
	} else if t, ok := http.DefaultTransport.(*http.Transport); ok {
		c.Transport = newTransport(t)
	}
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	_, traced := cmp.Or(c.Transport, http.DefaultTransport).(*http.Transport)
	return &Client{http: c, traced: traced, logger: logger}
}

func newTransport(from *http.Transport) *http.Transport {
	t := from.Clone()
	t.MaxResponseHeaderBytes = 64 << 10
	t.MaxIdleConnsPerHost = 16
	// After the machine has slept, a connection may be dead without the
	// transport knowing.
	t.HTTP2 = &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 5 * time.Second}
	t.OnProxyConnectResponse = func(_ context.Context, _ *url.URL, _ *http.Request, resp *http.Response) error {
		if resp.StatusCode != http.StatusOK {
			return &proxyError{resp.StatusCode}
		}
		return nil
	}
	return t
}

// CloseIdleConnections closes unused connections.
func (c *Client) CloseIdleConnections() { c.http.CloseIdleConnections() }

// Do sends the request with the header and reads the answer, whatever its
// status. It leaves the request unchanged, so that many calls can share it. It
// repeats a request that the server asks to repeat: any after 429, and a GET
// after 503. Otherwise a POST with a form is sent once. The error is a
// [*FailedError].
func (c *Client) Do(ctx context.Context, req *http.Request, header http.Header, form string) (Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	for try := 1; ; try++ {
		answer, err := c.once(ctx, req, header, form)
		if err != nil {
			return Answer{}, err
		}
		answer.Repeated = try > 1
		if try == maxTries || answer.StatusCode != http.StatusTooManyRequests &&
			(answer.StatusCode != http.StatusServiceUnavailable || req.Method != http.MethodGet) {
			return answer, nil
		}
		wait, ok := RetryAfter(answer.Header)
		if !ok {
			wait = firstWait << (try - 1)
		}
		if deadline, _ := ctx.Deadline(); wait > maxWait || wait >= time.Until(deadline) {
			return answer, nil
		}
		c.logger.DebugContext(ctx, "piecesauth: the server asks to repeat the request",
			"path", req.URL.Path, "status", answer.StatusCode, "wait", wait)
		// Add up to a quarter, so that not all callers that were refused come
		// back at once.
		timer := time.NewTimer(wait + rand.N(wait/4+1)) //nolint:gosec // G404: when to try again is no secret
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return Answer{}, &FailedError{StatusCode: answer.StatusCode, RetryAfter: wait, MaybeSent: form != "" && try > 1, Err: Cause(ctx.Err())}
		}
	}
}

func (c *Client) once(ctx context.Context, req *http.Request, header http.Header, form string) (Answer, error) {
	var sent atomic.Bool
	if form == "" {
		req = req.WithContext(ctx)
	} else {
		req = c.withForm(ctx, req, form, &sent)
	}
	req.Header = header
	resp, err := c.http.Do(req)
	if err != nil {
		return Answer{}, &FailedError{MaybeSent: sent.Load(), Err: Cause(cmp.Or(ctx.Err(), err))}
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := ReadBody(resp)
	if err != nil {
		return Answer{}, &FailedError{StatusCode: resp.StatusCode, MaybeSent: form != "", Err: Cause(cmp.Or(ctx.Err(), err))}
	}
	return Answer{StatusCode: resp.StatusCode, Header: resp.Header, Body: b}, nil
}

// withForm returns the request with a body that records in sent whether it may
// have been sent: without a connection, or before the body is read, it was not.
func (c *Client) withForm(ctx context.Context, req *http.Request, form string, sent *atomic.Bool) *http.Request {
	traced := c.traced && !beforesend.Asked(ctx)
	if traced {
		// net/http asks for another connection only where nothing was written to
		// the first.
		ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
			GetConn: func(string) { sent.Store(false) },
			GotConn: func(httptrace.GotConnInfo) { sent.Store(true) },
		})
	}
	body := func() (io.ReadCloser, error) {
		if traced { // of these alone net/http sends headers and body in one write
			return io.NopCloser(strings.NewReader(form)), nil
		}
		b := &countingBody{ctx: ctx, sent: sent}
		b.text.Reset(form)
		return b, nil
	}
	req = req.WithContext(ctx)
	req.Body, _ = body()
	req.GetBody = body
	req.ContentLength = int64(len(form))
	return req
}

// countingBody records that it was read, for transports that call no hooks of
// httptrace. Its first Read is the last moment to keep a request back.
type countingBody struct {
	text strings.Reader
	ctx  context.Context //nolint:containedctx // of the one request that it is the body of
	sent *atomic.Bool
	err  error
	once bool
}

func (b *countingBody) begin() error {
	if !b.once {
		b.once = true
		if b.err = beforesend.Call(b.ctx); b.err == nil {
			b.sent.Store(true)
		}
	}
	return b.err
}

func (b *countingBody) Read(p []byte) (int, error) {
	if err := b.begin(); err != nil {
		return 0, err
	}
	return b.text.Read(p)
}

func (b *countingBody) WriteTo(w io.Writer) (int64, error) {
	if err := b.begin(); err != nil {
		return 0, err
	}
	return b.text.WriteTo(w)
}

func (b *countingBody) Close() error { return nil }

// Raw sends a request of the generated client as Do does, but only once, and
// returns a response whose body is in memory.
func (c *Client) Raw(r *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithTimeout(r.Context(), Timeout)
	defer cancel()
	resp, err := c.http.Do(r.WithContext(ctx))
	if err != nil {
		return nil, &FailedError{Err: Cause(cmp.Or(ctx.Err(), err))}
	}
	b, err := ReadBody(resp)
	_ = resp.Body.Close()
	if err != nil {
		return nil, &FailedError{StatusCode: resp.StatusCode, Err: Cause(cmp.Or(ctx.Err(), err))}
	}
	resp.Body = io.NopCloser(strings.NewReader(string(b)))
	return resp, nil
}

// ReadBody reads to the end, so that the connection can be reused, but never
// more than [MaxBody], and allocates no more than it needs.
func ReadBody(resp *http.Response) ([]byte, error) {
	if resp.ContentLength > MaxBody {
		return nil, ErrTooLarge
	}
	size := 2 << 10
	if resp.ContentLength >= 0 {
		size = int(resp.ContentLength) + 1 // and one to see the end in
	}
	b := make([]byte, 0, size)
	for {
		n, err := resp.Body.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		switch {
		case len(b) > MaxBody:
			return nil, ErrTooLarge
		case err == io.EOF: // which an io.Reader returns bare
			return b, nil
		case err != nil:
			return nil, err
		case len(b) == cap(b):
			grown := make([]byte, len(b), min(8*cap(b), MaxBody+1))
			copy(grown, b)
			b = grown
		}
	}
}

// proxyError means that a proxy refused to connect.
type proxyError struct{ status int }

func (p *proxyError) Error() string {
	return fmt.Sprintf("the proxy refused to connect: HTTP status %d %s", p.status, http.StatusText(p.status))
}
