package piecesauth

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/oapi-codegen/runtime"
)

const (
	callTimeout = 30 * time.Second       // for one call, its retries included
	maxBody     = 1 << 20                // of an answer, decompressed
	maxValues   = 10_000                 // commas in JSON: small values take much more room decoded
	maxTries    = 3                      // of a request that the server asks to repeat
	maxWait     = 10 * time.Second       // for another try; who is to wait longer is told so
	firstWait   = 250 * time.Millisecond // where the server doesn't say, doubled each time
)

// newHTTPClient gives a copy of the caller's client, or a client of our own,
// that follows no redirect: a 307 would repeat a secret to another host.
func newHTTPClient(callers *http.Client) *http.Client {
	c := &http.Client{}
	if callers != nil {
		*c = *callers
	} else if t, ok := http.DefaultTransport.(*http.Transport); ok {
		t = t.Clone()
		t.MaxResponseHeaderBytes = 64 << 10
		t.MaxIdleConnsPerHost = 16
		c.Transport = t
	}
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return c
}

// checkSecure refuses what would travel in the clear: only https, and http to
// this machine, will do.
func checkSecure(u *url.URL) error {
	switch {
	case u.Host == "" || u.User != nil:
		return errors.New("is not an absolute URL of the form https://host")
	case u.Scheme == "https" || u.Scheme == "http" && isLoopback(u.Hostname()):
		return nil
	case u.Scheme == "http":
		return errors.New("is http, which is for this machine alone: use https")
	}
	return errors.New("is neither https nor http")
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// grantFields gives the wire names of a grant's fields, in their order.
func grantFields() []string {
	var names []string
	for _, f := range reflect.VisibleFields(reflect.TypeFor[TokenizedPKCE]()) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		names = append(names, name)
	}
	return names
}

// encodeGrant writes the form of a grant, leaving out what is empty: as the
// runtime does, but at a fraction of its cost, where there are only strings.
func (a *Authenticator) encodeGrant(grant *TokenizedPKCE) (string, error) {
	form := make([]byte, 0, 512)
	v := reflect.ValueOf(grant).Elem()
	for i, name := range a.grantFields {
		switch f := v.Field(i); {
		case f.IsZero():
		case f.Kind() != reflect.String:
			values, err := runtime.MarshalForm(grant, nil)
			return values.Encode(), err
		default:
			if len(form) > 0 {
				form = append(form, '&')
			}
			form = append(form, name...)
			form = append(form, '=')
			form = append(form, url.QueryEscape(f.String())...)
		}
	}
	return string(form), nil
}

// answer is a response with its body read.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// redirect gives where the answer leads, "" where it doesn't.
func (ans *answer) redirect() string {
	if ans.status/100 != 3 {
		return ""
	}
	return ans.header.Get("Location")
}

// body of a POST, which knows whether it was on its way: what has not been
// read was not sent.
type body struct {
	text string
	r    strings.Reader
	sent *atomic.Bool
}

func newBody(text string, sent *atomic.Bool) *body {
	b := &body{text: text, sent: sent}
	b.r.Reset(text)
	return b
}

func (b *body) Read(p []byte) (int, error)         { b.sent.Store(true); return b.r.Read(p) }
func (b *body) WriteTo(w io.Writer) (int64, error) { b.sent.Store(true); return b.r.WriteTo(w) }
func (b *body) Close() error                       { return nil }

// do sends the request with the header and reads the answer, whatever its
// status. The request itself is left as it is, for many calls to share. What
// the server asks to repeat is repeated: any 429, which was refused unread, and
// a GET's 503. A POST with form is sent once, and its error says when its fate
// is unknown.
func (a *Authenticator) do(ctx context.Context, op string, req *http.Request, header http.Header, form string) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	for try := 1; ; try++ {
		ans, err := a.doOnce(ctx, op, req, header, form)
		if err != nil {
			return answer{}, err
		}
		if try == maxTries || ans.status != http.StatusTooManyRequests &&
			(ans.status != http.StatusServiceUnavailable || req.Method != http.MethodGet) {
			return ans, nil
		}
		wait, ok := retryAfter(ans.header)
		if !ok {
			wait = firstWait << (try - 1)
		}
		if deadline, _ := ctx.Deadline(); wait > maxWait || wait >= time.Until(deadline) {
			return ans, nil
		}
		// Up to a quarter more, lest all who were refused come back at once.
		timer := time.NewTimer(wait + rand.N(wait/4+1)) //nolint:gosec // G404: when to try again is no secret
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return answer{}, &Error{Op: op, StatusCode: ans.status, RetryAfter: wait, Err: transportCause(ctx.Err())}
		}
	}
}

func (a *Authenticator) doOnce(ctx context.Context, op string, req *http.Request, header http.Header, form string) (answer, error) {
	req = req.WithContext(ctx)
	req.Header = header
	var sent *atomic.Bool
	if form != "" {
		sent = new(atomic.Bool)
		req.Body = newBody(form, sent)
		req.GetBody = func() (io.ReadCloser, error) { return newBody(form, sent), nil }
		req.ContentLength = int64(len(form))
	}
	resp, err := a.client.Do(req) //nolint:gosec // G704: the URL is configured, or the configured issuer names it
	if err != nil {
		return answer{}, &Error{Op: op, Err: transportCause(cmp.Or(ctx.Err(), err)), unknownOutcome: sent != nil && sent.Load()}
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := readBody(resp)
	if err != nil {
		return answer{}, &Error{Op: op, StatusCode: resp.StatusCode, Err: transportCause(cmp.Or(ctx.Err(), err)), unknownOutcome: sent != nil}
	}
	return answer{resp.StatusCode, resp.Header, b}, nil
}

// readBody reads to the end, so that the connection can be used again, but
// never more than maxBody, and reserves no more than is there.
func readBody(resp *http.Response) ([]byte, error) {
	if resp.ContentLength > maxBody {
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
		case len(b) > maxBody:
			return nil, ErrTooLarge
		case err == io.EOF: // which an io.Reader gives bare
			return b, nil
		case err != nil:
			return nil, err
		case len(b) == cap(b):
			grown := make([]byte, len(b), min(8*cap(b), maxBody+1))
			copy(grown, b)
			b = grown
		}
	}
}

// retryAfter reads how long to wait: Retry-After in seconds or as a date
// (RFC 9110 §10.2.3), else x-ratelimit-reset, which Auth0 gives as a moment.
func retryAfter(h http.Header) (time.Duration, bool) {
	const most = 24 * time.Hour
	var wait time.Duration
	if v := h.Get("Retry-After"); v != "" {
		if n, err := strconv.ParseInt(v, 10, 64); err == nil || errors.Is(err, strconv.ErrRange) { // n is the nearest
			wait = Seconds(n).Duration()
		} else if at, err := http.ParseTime(v); err == nil {
			wait = time.Until(at)
		}
	}
	if wait <= 0 {
		if n, err := strconv.ParseInt(h.Get("X-Ratelimit-Reset"), 10, 64); err == nil {
			wait = time.Until(time.Unix(min(max(n, 0), 1<<40), 0))
		}
	}
	return max(0, min(wait, most)), wait > 0
}

// refusal makes an Error of an answer that is none of those asked for: of the
// OAuth error in its body (RFC 6749 §5.2) or its challenge (RFC 6750 §3).
func (ans *answer) refusal(op string, secrets ...string) *Error {
	e := &Error{Op: op, StatusCode: ans.status}
	var w OAuthError
	_ = json.Unmarshal(ans.body, &w) // some send HTML, text, or an object in "error"
	for _, c := range ans.header.Values("WWW-Authenticate") {
		if w.Error == "" {
			w.Error, w.ErrorDescription, w.ErrorURI = param(c, "error"), param(c, "error_description"), param(c, "error_uri")
		}
	}
	e.setOAuth(w.Error, w.ErrorDescription, w.ErrorURI, secrets)
	e.RetryAfter, _ = retryAfter(ans.header)
	switch {
	case ans.status/100 == 3:
		e.Err = errors.New("redirects are refused here")
	case ans.status < 300 && e.Code == "":
		e.Err = errors.New("the answer is not what was asked for")
	}
	return e
}

// param reads a parameter of a challenge (RFC 9110 §11.2).
func param(challenge, name string) string {
	for rest := challenge; ; {
		before, after, ok := strings.Cut(rest, name+"=")
		if !ok {
			return ""
		}
		rest = after
		if before != "" && !strings.ContainsAny(before[len(before)-1:], " ,\t") {
			continue // the end of a longer name
		}
		if !strings.HasPrefix(after, `"`) {
			value, _, _ := strings.Cut(after, ",")
			return strings.TrimSpace(value)
		}
		var value strings.Builder
		for i := 1; i < len(after) && after[i] != '"'; i++ {
			if after[i] == '\\' && i+1 < len(after) {
				i++
			}
			value.WriteByte(after[i])
		}
		return value.String()
	}
}

// decode reads a JSON object into v.
func decode(b []byte, v any) error {
	switch trimmed := bytes.TrimLeft(b, " \t\r\n"); {
	case len(trimmed) == 0 || trimmed[0] != '{':
		return errors.New("the answer is not a JSON object")
	case !utf8.Valid(b):
		return errors.New("the answer is not UTF-8")
	case bytes.Count(b, []byte{','}) > maxValues:
		return ErrTooLarge
	}
	if err := json.Unmarshal(b, v); err != nil {
		return jsonCause(err)
	}
	return nil
}

// jsonCause says what is wrong without the text that is.
func jsonCause(err error) error {
	var (
		typ    *json.UnmarshalTypeError
		syntax *json.SyntaxError
	)
	switch {
	case errors.As(err, &typ):
		kind, _, _ := strings.Cut(typ.Value, " ") // "number 123" holds the number
		return fmt.Errorf("the JSON has a %s where %s cannot be one", kind, typ.Field)
	case errors.As(err, &syntax):
		return errors.New("the JSON is malformed")
	}
	for _, ours := range []error{errSeconds, errTimestamp} {
		if errors.Is(err, ours) {
			return ours
		}
	}
	return &opaque{"the JSON has a value that cannot be read", err}
}
