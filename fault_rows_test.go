package piecesauth

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/piecesauth/piecesauth/internal/exchange"
)

var succeeds = outcome{right: true}

// goodRows are not faults, but answers that only look like some.
func goodRows() []fault {
	label := func(mediaType string) func(*faultConn) {
		return func(x *faultConn) { x.say(rawAnswer(200, "Content-Type: "+mediaType+"\r\n", x.goodBody())) }
	}
	return []fault{
		{name: "no fault", play: func(x *faultConn) { x.good() }, want: succeeds},
		{name: "no fault, over TLS", tls: certs().good, play: func(x *faultConn) { x.good() }, want: succeeds},
		{name: "the right body as text/plain", play: label("text/plain"), want: succeeds},
		{name: "the right body as text/html", play: label("text/html; charset=utf-8"), want: succeeds},
		{name: "the right body as JSON", play: label(jsonType), want: succeeds},
		{name: "the right body without a type", play: func(x *faultConn) { x.say(rawAnswer(200, "", x.goodBody())) }, want: succeeds},
		{name: "informational answers first", play: func(x *faultConn) {
			x.say("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
			x.good()
		}, want: succeeds},
		{name: "body until the end of the connection", play: func(x *faultConn) {
			says("HTTP/1.1 200 OK\r\n\r\n" + x.goodBody())(x)
		}, want: succeeds},
		{name: "body in chunks of a byte", play: func(x *faultConn) {
			x.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
			body := x.goodBody()
			for i := range len(body) {
				x.say("1\r\n" + body[i:i+1] + "\r\n")
			}
			x.say("0\r\n\r\n")
		}, want: succeeds},
		{name: "body in gzip", play: func(x *faultConn) {
			x.say(rawAnswer(200, "Content-Encoding: gzip\r\n", string(zipped([]byte(x.goodBody())))))
		}, want: succeeds},
	}
}

func networkRows() []fault {
	reset := outcome{is: syscall.ECONNRESET, unknown: true}
	return []fault{
		{
			name:  "connection refused",
			greet: func(*faultConn) bool { return false },
			client: func(tr *http.Transport) {
				tr.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
					l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
					if err != nil {
						return nil, err
					}
					nobody := l.Addr().String()
					_ = l.Close()
					return (&net.Dialer{}).DialContext(ctx, network, nobody)
				}
			},
			want: outcome{is: syscall.ECONNREFUSED, requests: none},
		},
		{
			name: "DNS failure",
			url:  func(string) string { return "https://auth.pieces.invalid" },
			client: func(tr *http.Transport) {
				resolver := &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
					return nil, syscall.ENETUNREACH
				}}
				tr.DialContext = (&net.Dialer{Resolver: resolver}).DialContext
			},
			want: outcome{as: isA[*net.DNSError], requests: none},
		},
		{
			name:  "reset before the request is read",
			greet: func(x *faultConn) bool { x.reset(); return false },
			want:  outcome{requests: none, either: true},
		},
		{name: "reset before the headers", play: (*faultConn).reset, want: reset},
		{
			name: "reset in the middle of the headers",
			play: func(x *faultConn) { x.say("HTTP/1.1 200 OK\r\nContent-Type: a/b\r\n"); x.reset() },
			want: outcome{unknown: true, as: func(err error) bool { // net/http takes one for the other
				return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, io.ErrUnexpectedEOF)
			}},
		},
		{
			name: "reset in the middle of a header",
			play: func(x *faultConn) { x.say("HTTP/1.1 200 OK\r\nContent-" + faultMark); x.reset() },
			want: outcome{unknown: true},
		},
		{
			name: "reset after the headers",
			play: func(x *faultConn) { x.say("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"); x.reset() },
			want: outcome{is: syscall.ECONNRESET, either: true}, // status: RST may overtake the headers
			except: map[string]outcome{
				"POST": {is: syscall.ECONNRESET, either: true, as: isUnknown},
			},
		},
		{
			// The transport repeats a GET by itself, and must not repeat a POST.
			name:  "reset of a connection used before",
			twice: true,
			play: func(x *faultConn) {
				if x.nth == 1 {
					x.good()
					return
				}
				x.reset()
			},
			want: outcome{is: syscall.ECONNRESET, unknown: true, requests: 3},
			except: map[string]outcome{
				"POST":      {is: syscall.ECONNRESET, unknown: true, requests: 2},
				"Discovery": succeeds, // is asked once
			},
		},
		{
			name:  "end of a connection used before",
			twice: true,
			play: func(x *faultConn) {
				if x.nth == 1 {
					x.good()
					return
				}
				_ = x.Close()
			},
			want:   outcome{is: io.EOF, requests: 3},
			except: map[string]outcome{"POST": {is: io.EOF, unknown: true, requests: 2}, "Discovery": succeeds},
		},
		{name: "end before the headers", play: says(""), want: outcome{is: io.EOF, unknown: true}},
		{name: "end in the middle of the headers", play: says("HTTP/1.1 200 OK\r\nContent-Type: a/b\r\n"), want: outcome{is: io.ErrUnexpectedEOF, unknown: true}},
		{name: "end in the middle of a header", play: says("HTTP/1.1 200 OK\r\nContent-" + faultMark), want: outcome{unknown: true}},
		{name: "hang before the headers", limit: 100 * time.Millisecond, want: outcome{is: context.DeadlineExceeded, unknown: true}},
		{
			name: "hang in the headers", limit: 100 * time.Millisecond,
			play: func(x *faultConn) { x.say("HTTP/1.1 200 OK\r\nContent-Ty") },
			want: outcome{is: context.DeadlineExceeded, unknown: true},
		},
		{
			name: "hang in the body", limit: 100 * time.Millisecond,
			play: func(x *faultConn) { x.say("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{") },
			want: outcome{status: 200, is: context.DeadlineExceeded, unknown: true},
		},
		{
			name: "slow drip of headers", limit: 100 * time.Millisecond,
			play: func(x *faultConn) { x.say("HTTP/1.1 200 OK\r\n"); x.drip("X-Drop: y\r\n") },
			want: outcome{is: context.DeadlineExceeded, unknown: true},
		},
		{
			name: "slow drip of a body", limit: 100 * time.Millisecond,
			play: func(x *faultConn) { x.say("HTTP/1.1 200 OK\r\n\r\n"); x.drip(" ") },
			want: outcome{status: 200, is: context.DeadlineExceeded, unknown: true},
		},
		{
			name: "body truncated against Content-Length",
			play: says("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{\"a\":"),
			want: outcome{status: 200, is: io.ErrUnexpectedEOF, unknown: true},
		},
		{
			// All that was wanted is there, but who knows what was to follow.
			name: "right body truncated against Content-Length",
			play: func(x *faultConn) { says("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + x.goodBody())(x) },
			want: outcome{status: 200, is: io.ErrUnexpectedEOF, unknown: true},
		},
		{
			name: "body truncated between chunks",
			play: says("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n"),
			want: outcome{status: 200, is: io.ErrUnexpectedEOF, unknown: true},
		},
		{
			name: "body truncated in gzip",
			play: func(x *faultConn) {
				b := zipped([]byte(x.goodBody()))
				x.say(rawAnswer(200, "Content-Encoding: gzip\r\n", string(b[:len(b)-9])))
			},
			want: outcome{status: 200, is: io.ErrUnexpectedEOF, unknown: true},
		},
		{name: "body not the gzip it says", play: answers(200, "Content-Encoding: gzip\r\n", "plain "+faultMark), want: outcome{status: 200, unknown: true}},
		{name: "malformed chunk", play: says("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + faultMark + "\r\n{"), want: outcome{status: 200, unknown: true}},
		{name: "malformed status line", play: says("HTTP/1.1 " + faultMark + " OK\r\n\r\n"), want: outcome{unknown: true}},
		{name: "malformed header", play: says("HTTP/1.1 200 OK\r\n" + faultMark + "\r\n\r\n"), want: outcome{unknown: true}},
		{name: "malformed Content-Length", play: says("HTTP/1.1 200 OK\r\nContent-Length: -" + faultMark + "\r\n\r\n"), want: outcome{unknown: true}},
		{name: "two Content-Lengths", play: says("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}"), want: outcome{unknown: true}},
		{name: "unknown transfer encoding", play: says("HTTP/1.1 200 OK\r\nTransfer-Encoding: " + faultMark + "\r\n\r\n{}"), want: outcome{unknown: true}},
		{name: "not HTTP", play: says("220 " + faultMark + " ESMTP\r\n"), want: outcome{unknown: true}},
		{name: "other protocol", play: says("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"), want: outcome{status: 101, unknown: true}},
	}
}

func isUnknown(err error) bool { return errors.Is(err, ErrUnknownOutcome) }

func tlsRows() []fault {
	expired := func(err error) bool {
		var e x509.CertificateInvalidError
		return errors.As(err, &e) && e.Reason == x509.Expired
	}
	// hello waits for the client to begin the handshake.
	hello := func(x *faultConn) { _, _ = x.Read(make([]byte, 1)) }
	return []fault{
		{name: "expired certificate", tls: certs().expired, want: outcome{as: expired, requests: none}},
		{name: "self-signed certificate", tls: certs().selfSigned, want: outcome{as: isA[x509.UnknownAuthorityError], requests: none}},
		{name: "certificate of another host", tls: certs().other, want: outcome{as: isA[x509.HostnameError], requests: none}},
		{
			name: "reset in the handshake", tls: certs().good,
			greet: func(x *faultConn) bool { hello(x); x.reset(); return false },
			want:  outcome{is: syscall.ECONNRESET, requests: none},
		},
		{
			name: "end in the handshake", tls: certs().good,
			greet: func(x *faultConn) bool { _, _ = x.Read(make([]byte, 16<<10)); return false },
			want:  outcome{is: io.EOF, requests: none},
		},
		{
			name: "hang in the handshake", tls: certs().good, limit: 100 * time.Millisecond,
			greet: func(x *faultConn) bool { _, _ = io.Copy(io.Discard, x); return false },
			want:  outcome{is: context.DeadlineExceeded, requests: none},
		},
		{
			name: "plain HTTP where TLS is due", tls: certs().good,
			greet: func(x *faultConn) bool {
				_, _ = x.Read(make([]byte, 16<<10))
				return x.say("HTTP/1.1 400 Bad Request\r\n\r\n"+faultMark) && false
			},
			want: outcome{is: http.ErrSchemeMismatch, requests: none},
		},
		{
			name: "TLS where plain HTTP is due", tls: certs().good,
			url:  func(u string) string { return "http" + strings.TrimPrefix(u, "https") },
			want: outcome{either: true, requests: none},
		},
		{name: "reset before the headers, over TLS", tls: certs().good, play: (*faultConn).reset, want: outcome{is: syscall.ECONNRESET, unknown: true}},
		{
			name: "hang before the headers, over TLS", tls: certs().good, limit: 150 * time.Millisecond,
			want: outcome{is: context.DeadlineExceeded, unknown: true},
		},
		{
			name: "body truncated against Content-Length, over TLS", tls: certs().good,
			play: func(x *faultConn) { says("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + x.goodBody())(x) },
			want: outcome{status: 200, is: io.ErrUnexpectedEOF, unknown: true},
		},
		{
			name: "body truncated without TLS's own end", tls: certs().good,
			play: func(x *faultConn) {
				x.say("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + x.goodBody())
				_ = x.Conn.(*tls.Conn).NetConn().Close()
			},
			want: outcome{status: 200, is: io.ErrUnexpectedEOF, unknown: true},
		},
	}
}

// flood says the text over and over, up to 1 GiB. It stops for a client that
// takes much more than it should.
func flood(head, text, tail string) func(*faultConn) {
	part := []byte(text)
	return func(x *faultConn) {
		ok := x.say(head)
		for said := 0; ok && said < 1<<30; said += len(part) {
			if said > 64<<20 {
				x.t.Error("the client took 64 MiB")
				_ = x.Close()
				return
			}
			ok = x.write(part)
		}
		if ok {
			x.say(tail)
		}
	}
}

const faultCap = 1 << 20 // of a body

// floods are answers of over a gibibyte.
var floods = sync.OnceValue(func() map[string]func(*faultConn) {
	const size = 64 << 10
	page := strings.Repeat("a=%20&", size/6+1)[:size]
	bomb := string(zipped(make([]byte, 16<<20)))
	bombs := []byte(rawAnswer(200, "Content-Encoding: gzip\r\n", strings.Repeat(bomb, 64))) // members of one stream
	spaces := []byte(strings.Repeat(" ", faultCap))
	chunk := fmt.Sprintf("%x\r\n%s\r\n", size, page)
	const chunked = "HTTP/1.1 %d X\r\nTransfer-Encoding: chunked\r\n\r\n"
	return map[string]func(*faultConn){
		"1 GiB body":                  flood(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", 1<<30), page, ""),
		"1 GiB body in chunks":        flood(fmt.Sprintf(chunked, 200), chunk, "0\r\n\r\n"),
		"1 GiB body without a length": flood("HTTP/1.1 200 OK\r\n\r\n", page, ""),
		"gzip bomb":                   func(x *faultConn) { x.write(bombs) },
		"1 GiB body with a refusal":   flood(fmt.Sprintf(chunked, 401), chunk, "0\r\n\r\n"),
		"1 GiB body with a redirect":  flood("HTTP/1.1 302 Found\r\nLocation: https://elsewhere.example/\r\n\r\n", page, ""),
		"body of 1 MiB and one byte": func(x *faultConn) {
			x.say("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + x.goodBody())
			x.write(spaces[:faultCap+1-len(x.goodBody())])
			_ = x.Close()
		},
		"headers without an end":       flood("HTTP/1.1 200 OK\r\n", "X-Flood: "+page[:1000]+"\r\n", "\r\n"),
		"informational without an end": flood("", "HTTP/1.1 103 Early Hints\r\nX-Flood: "+page[:1000]+"\r\n\r\n", "\r\n"),
	}
})

// want returns what the flood of that name comes to.
func floodWant(name string) outcome {
	want := outcome{status: 200, is: ErrTooLarge, unknown: true}
	switch name {
	case "1 GiB body with a refusal":
		want.status = 401
	case "1 GiB body with a redirect":
		want.status = 302
	case "headers without an end", "informational without an end":
		want.status, want.is = 0, nil
	}
	return want
}

func floodRows() []fault {
	rows := []fault{{
		name: "body of exactly 1 MiB",
		play: func(x *faultConn) {
			x.say(rawAnswer(200, "", x.goodBody()+strings.Repeat(" ", faultCap-len(x.goodBody()))))
		},
		want: succeeds,
	}}
	for name, play := range floods() {
		rows = append(rows, fault{name: name, play: play, want: floodWant(name)})
	}
	return rows
}

func bodyRows() []fault {
	const page = "<!doctype html><title>Oops</title><p>" + faultMark
	failed := outcome{status: 200, unknown: true}
	logoutTakesAll := map[string]outcome{"Logout": succeeds}
	rows := []fault{
		{name: "empty 200", play: answers(200, "", ""), want: failed, except: logoutTakesAll},
		{name: "204", play: says("HTTP/1.1 204 No Content\r\n\r\n"), want: outcome{status: 204, unknown: true}, except: logoutTakesAll},
		{name: "wrong types", play: func(x *faultConn) { answersAs(x.op.bent)(x) }, want: failed, except: logoutTakesAll},
		{
			name: "page with status 200", play: answers(200, "Content-Type: text/html\r\n", page), want: failed,
			except: map[string]outcome{"Logout": succeeds, "Authorize": {status: 200, is: ErrBrowserRequired}},
		},
		{
			name: "page as what was asked for", play: answersAs(page), want: failed,
			except: map[string]outcome{"Logout": succeeds, "Authorize": {status: 200, is: ErrBrowserRequired}},
		},
		{name: "page with status 401", play: answers(401, "Content-Type: text/html\r\n", page), want: outcome{status: 401}},
		{name: "page with status 502", play: answers(502, "Content-Type: text/html\r\n", page), want: outcome{status: 502, unknown: true}},
		{name: "error as object", play: answers(400, "", `{"error":{"message":"`+faultMark+`"}}`), want: outcome{status: 400}},
		{name: "error as object with status 200", play: answers(200, "", `{"error":{"message":"`+faultMark+`"}}`), want: failed, except: map[string]outcome{
			"Logout": succeeds,
		}},
		{name: "error as number", play: answers(400, "", `{"error":400}`), want: outcome{status: 400}},
		{name: "error as null", play: answers(400, "", `{"error":null,"error_description":null}`), want: outcome{status: 400}},
		{name: "error cut off", play: answers(400, "", `{"error":"invalid_gra`), want: outcome{status: 400}},
		{name: "error of many lines", play: answers(400, "", `{"error":"a\nb","error_description":"c\r\nd\u2028e\u001b[2J"}`), want: outcome{status: 400, code: "a b"}},
	}
	for name, body := range map[string]string{
		"null": "null", "[]": "[]", "{}": "{}", "a string": `"text"`, "true": "true", "a number": "17",
		"JSON cut off": `{"access_token":"` + faultMark + `", "sub":"`, "JSON twice": `{"access_token":"a"}{"access_token":"b"}`,
		"invalid UTF-8": "{\"access_token\":\"\xff\",\"token_type\":\"Bearer\",\"sub\":\"\xff\",\"code\":\"\xff\"}",
	} {
		rows = append(rows, fault{name: name, play: answersAs(body), want: failed, except: logoutTakesAll})
	}
	rows = append(rows, fault{
		name: "invalid UTF-8 in the right shape",
		play: func(x *faultConn) { answersAs(strings.ReplaceAll(x.op.good, faultMark, "\xff"))(x) },
		want: outcome{status: 200, unknown: true},
		except: map[string]outcome{
			"Authorize": {status: 200, is: ErrStateMismatch},
			"UserInfo":  {right: true}, "Logout": succeeds, "Discovery": {status: 200, is: ErrIssuerMismatch}, "JWKS": succeeds,
		},
	})
	return rows
}

func statusRows() []fault {
	var rows []fault
	for _, status := range []int{302, 303, 307, 308} {
		for where, location := range map[string]string{
			"to another host": "https://elsewhere.example/x?code=a&state=" + faultState,
			"to itself":       "?code=a&state=" + faultState,
			"nowhere":         "",
			"that can't be":   "http://%zz/" + faultMark,
		} {
			header := "Location: " + location + "\r\n"
			want := outcome{status: status}
			except := map[string]outcome{"Logout": succeeds, "Authorize": {status: status, is: ErrBrowserRequired}}
			if where == "that can't be" { // net/http returns no answer then
				want, except = outcome{unknown: true}, nil
			}
			if location == "" {
				header, except = "", nil
			}
			play := func(x *faultConn) {
				if x.nth > 3 { // who follows shall not go round in circles
					_ = x.Close()
				}
				answers(status, header, "{}")(x)
			}
			rows = append(rows, fault{name: fmt.Sprintf("%d %s", status, where), play: play, want: want, except: except})
		}
	}
	for _, status := range []int{400, 401, 403, 429, 500, 502, 503, 504} {
		want := outcome{status: status, unknown: status >= 500}
		header := ""
		if status == 429 || status == 503 {
			header, want.after = "Retry-After: 3600\r\n", time.Hour // which is too long to wait
		}
		plain := fault{name: strconv.Itoa(status), play: answers(status, header+"Content-Type: text/plain\r\n", "No. "+faultMark), want: want}
		want.code = "some_error"
		coded := fault{
			name: fmt.Sprintf("%d with an OAuth error", status),
			play: answers(status, header, `{"error":"some_error","error_description":"No.","error_uri":"https://example.com/"}`), want: want,
		}
		empty := fault{name: fmt.Sprintf("%d with {}", status), play: answers(status, header, "{}"), want: plain.want}
		rows = append(rows, plain, coded, empty)
	}
	return append(rows,
		fault{
			name: "401 with a challenge", want: outcome{status: 401, code: "invalid_token"},
			play: answers(401, "WWW-Authenticate: Basic realm=\"error=x\"\r\nWWW-Authenticate: Bearer realm=\"a\", error=\"invalid_token\"\r\n", "Unauthorized"),
		},
		fault{
			name: "grant refused", want: outcome{status: 400, code: "invalid_grant", is: ErrSignInRequired},
			play: answers(400, "", `{"error":"invalid_grant"}`),
		},
		fault{name: "status 999", play: answers(999, "", "{}"), want: outcome{status: 999, unknown: true}},
	)
}

func contextRows() []fault {
	hang := outcome{is: context.Canceled, unknown: true}
	return []fault{
		{name: "context cancelled before", before: func(cancel context.CancelFunc) { cancel() }, want: outcome{is: context.Canceled, requests: none}},
		{name: "deadline passed before", limit: 1, want: outcome{is: context.DeadlineExceeded, requests: none}},
		{name: "context cancelled during", play: func(x *faultConn) { x.cancel() }, want: hang},
		{name: "context cancelled during, with a cause", play: func(x *faultConn) { x.cancel() }, cause: errors.New(faultMark), want: hang},
		{name: "context cancelled during, over TLS", tls: certs().good, play: func(x *faultConn) { x.cancel() }, want: hang},
		{
			name: "context cancelled in the body",
			play: func(x *faultConn) { x.say("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"); x.cancel() },
			want: outcome{is: context.Canceled, either: true}, // status: the cancellation may overtake the headers
			except: map[string]outcome{
				"POST": {is: context.Canceled, either: true, as: isUnknown},
			},
		},
		{name: "context cancelled after", play: func(x *faultConn) { x.good() }, want: succeeds}, // as every cell's is
	}
}

// waitingRows are played on virtual time.
func waitingRows() []fault {
	// inTurn sends the answers one after another, the last for ever.
	inTurn := func(plays ...func(*faultConn)) func(*faultConn) {
		return func(x *faultConn) { plays[min(x.nth, len(plays))-1](x) }
	}
	good := func(x *faultConn) { x.good() }
	end := func(x *faultConn) { _ = x.Close() }
	// within is a wait and up to a quarter more; only GETs are to wait for a 503.
	within := func(d ...time.Duration) [2]time.Duration {
		var sum time.Duration
		for _, d := range d {
			sum += d
		}
		return [2]time.Duration{sum, sum + sum/4}
	}
	in := func(d time.Duration) string { return time.Now().Add(d).UTC().Format(http.TimeFormat) }

	const unasked = 250 * time.Millisecond
	post503 := map[string]outcome{"POST": {status: 503, unknown: true}}
	rows := []fault{
		{name: "429 for ever", play: answers(429, "", ""), want: outcome{status: 429, requests: 3, wait: within(unasked, 2*unasked)}},
		{name: "503 for ever", play: answers(503, "", ""), want: outcome{status: 503, requests: 3, wait: within(unasked, 2*unasked)}, except: post503},
		{name: "429 once", play: inTurn(answers(429, "", ""), good), want: outcome{right: true, requests: 2, wait: within(unasked)}},
		{name: "503 once", play: inTurn(answers(503, "", ""), good), want: outcome{right: true, requests: 2, wait: within(unasked)}, except: post503},
		{name: "502 once", play: inTurn(answers(502, "", ""), good), want: outcome{status: 502, unknown: true}},
		{
			name: "429, then the end", play: inTurn(answers(429, "", ""), end),
			want:   outcome{is: io.EOF, requests: 3, wait: within(unasked)}, // the transport's own repetition is one
			except: map[string]outcome{"POST": {is: io.EOF, unknown: true, requests: 2, wait: within(unasked)}},
		},
		{
			name: "503 with Retry-After, for ever", play: answers(503, "Retry-After: 9\r\n", ""),
			want:   outcome{status: 503, after: 9 * time.Second, requests: 3, wait: within(9*time.Second, 9*time.Second)},
			except: map[string]outcome{"POST": {status: 503, after: 9 * time.Second, unknown: true}},
		},
		{
			name: "Retry-After beyond what is waited", play: answers(429, "Retry-After: 11\r\n", ""),
			want: outcome{status: 429, after: 11 * time.Second},
		},
		{
			name: "Retry-After beyond the deadline", limit: 4 * time.Second, play: answers(429, "Retry-After: 8\r\n", ""),
			want: outcome{status: 429, after: 8 * time.Second},
		},
		{
			name: "context cancelled while waiting",
			play: func(x *faultConn) {
				answers(429, "Retry-After: 8\r\n", "")(x)
				time.AfterFunc(2*time.Second, x.cancel)
			},
			want: outcome{status: 429, after: 8 * time.Second, is: context.Canceled, wait: [2]time.Duration{2 * time.Second, 2 * time.Second}},
		},
		{name: "hang, with no deadline", want: outcome{is: context.DeadlineExceeded, unknown: true, wait: [2]time.Duration{exchange.Timeout, exchange.Timeout}}},
		{
			name: "slow drip, with no deadline",
			play: func(x *faultConn) { x.say("HTTP/1.1 200 OK\r\n\r\n"); x.drip(" ") },
			want: outcome{status: 200, is: context.DeadlineExceeded, unknown: true, wait: [2]time.Duration{exchange.Timeout, exchange.Timeout}},
		},
	}
	// The hints, each in a 429 that is followed by the right answer.
	for _, hint := range []struct {
		name   string
		header func() string
		wait   time.Duration // 0: the server asks for too much
	}{
		{"Retry-After in seconds", func() string { return "Retry-After: 2" }, 2 * time.Second},
		{"Retry-After as a date", func() string { return "Retry-After: " + in(5*time.Second) }, 5 * time.Second},
		{"Retry-After and x-ratelimit-reset", func() string {
			return fmt.Sprintf("Retry-After: 2\r\nX-RateLimit-Reset: %d", time.Now().Unix()+7)
		}, 2 * time.Second},
		{"x-ratelimit-reset", func() string { return fmt.Sprintf("x-ratelimit-reset: %d", time.Now().Unix()+3) }, 3 * time.Second},
		{"x-ratelimit-reset in the past", func() string { return "x-ratelimit-reset: 1" }, unasked},
		{"x-ratelimit-reset negative", func() string { return "x-ratelimit-reset: -9223372036854775808" }, unasked},
		{"x-ratelimit-reset garbage", func() string { return "x-ratelimit-reset: soon" }, unasked},
		{"x-ratelimit-reset in years", func() string { return "x-ratelimit-reset: 9223372036854775807" }, 0},
		{"Retry-After of nothing", func() string { return "Retry-After: 0" }, unasked},
		{"Retry-After empty", func() string { return "Retry-After:" }, unasked},
		{"Retry-After negative", func() string { return "Retry-After: -100" }, unasked},
		{"Retry-After garbage", func() string { return "Retry-After: " + faultMark }, unasked},
		{"Retry-After in the past", func() string { return "Retry-After: " + in(-time.Hour) }, unasked},
		{"Retry-After in years", func() string { return "Retry-After: 315360000" }, 0},
		{"Retry-After in years, as a date", func() string { return "Retry-After: " + in(10*365*24*time.Hour) }, 0},
		{"Retry-After beyond 63 bits", func() string { return "Retry-After: 99999999999999999999" }, 0},
	} {
		f := fault{
			name: hint.name,
			play: inTurn(func(x *faultConn) { answers(429, hint.header()+"\r\n", "")(x) }, good),
			want: outcome{right: true, requests: 2, wait: within(hint.wait)},
		}
		if hint.wait == 0 {
			f.want = outcome{status: 429, after: 24 * time.Hour}
		}
		rows = append(rows, f)
	}
	return rows
}

func zipped(b []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, _ = w.Write(b) // a buffer takes all
	_ = w.Close()
	return out.Bytes()
}

// certificates of servers.
type certificates struct {
	pool                             *x509.CertPool // trusts the authority of all but selfSigned
	good, expired, other, selfSigned *tls.Config
}

var certs = sync.OnceValue(func() certificates {
	must := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	now := time.Now()
	issue := func(template, parent *x509.Certificate, parentKey *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		must(err)
		template.SerialNumber = big.NewInt(now.UnixNano())
		template.KeyUsage = x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign
		template.BasicConstraintsValid = true
		if template.NotAfter.IsZero() {
			template.NotBefore, template.NotAfter = now.Add(-time.Hour), now.Add(time.Hour)
		}
		if parent == nil {
			parent, parentKey = template, key
		}
		der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, parentKey)
		must(err)
		cert, err := x509.ParseCertificate(der)
		must(err)
		return cert, key
	}
	root, rootKey := issue(&x509.Certificate{Subject: pkix.Name{CommonName: "test authority"}, IsCA: true}, nil, nil)
	config := func(template *x509.Certificate, parent *x509.Certificate) *tls.Config {
		if template.IPAddresses == nil && template.DNSNames == nil {
			template.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
		}
		cert, key := issue(template, parent, rootKey)
		return &tls.Config{
			Certificates: []tls.Certificate{{Certificate: [][]byte{cert.Raw}, PrivateKey: key}},
			MinVersion:   tls.VersionTLS12,
		}
	}
	pool := x509.NewCertPool()
	pool.AddCert(root)
	return certificates{
		pool:       pool,
		good:       config(&x509.Certificate{}, root),
		expired:    config(&x509.Certificate{NotBefore: now.Add(-2 * time.Hour), NotAfter: now.Add(-time.Hour)}, root),
		other:      config(&x509.Certificate{DNSNames: []string{"other.example"}}, root),
		selfSigned: config(&x509.Certificate{}, nil),
	}
})
