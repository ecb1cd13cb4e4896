package exchange

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"syscall"
	"testing"
	"unicode"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

type timeoutError struct{}

func (timeoutError) Error() string   { return "s3cr3t" }
func (timeoutError) Timeout() bool   { return true }
func (timeoutError) Temporary() bool { return true }

// TestCause names what is known to be clean, and nothing else.
func TestCause(t *testing.T) {
	with := func(err error) error {
		return &url.Error{Op: "Post", URL: "https://auth.example.com/?s3cr3t", Err: err}
	}
	own := errors.New("s3cr3t")
	dial := &net.OpError{Op: "dial", Net: "tcp", Addr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 9}, Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	for _, tt := range []struct {
		err  error
		says string
	}{
		{context.Canceled, "context canceled"},
		{with(context.DeadlineExceeded), "context deadline exceeded"},
		{fmt.Errorf("s3cr3t: %w", context.Canceled), "context canceled"},
		{with(with(io.ErrUnexpectedEOF)), "unexpected EOF"},
		{fmt.Errorf("s3cr3t: %w", io.EOF), "EOF"},
		{fmt.Errorf("s3cr3t: %w", ErrTooLarge), ErrTooLarge.Error()},
		{with(http.ErrSchemeMismatch), "http: server gave HTTP response to HTTPS client"},
		{with(dial), "dial tcp 127.0.0.1:9: connect: connection refused"},
		{fmt.Errorf("s3cr3t: %w", syscall.ECONNRESET), "connection reset by peer"},
		{&net.OpError{Op: "read", Net: "tcp", Err: own}, "the HTTP exchange failed (*net.OpError)"},
		{&net.OpError{Op: "proxyconnect", Net: "tcp", Err: dial}, "the proxy cannot be reached: dial tcp 127.0.0.1:9: connect: connection refused"},
		{with(errors.New("Proxy Authentication Required")), "the proxy refused to connect: HTTP status 407 Proxy Authentication Required"},
		{with(&net.DNSError{Err: "no such host", Name: "auth.example.com"}), "lookup auth.example.com: no such host"},
		{with(&net.DNSError{Err: "no\nsuch host", Name: "a\x1b[2Jb"}), "lookup a [2Jb: no such host"},
		{x509.HostnameError{Certificate: &x509.Certificate{DNSNames: []string{"a\nb"}}, Host: "c"}, "x509: certificate is valid for a b, not c"},
		{&tls.CertificateVerificationError{Err: x509.CertificateInvalidError{Reason: x509.Expired, Detail: "a\r\nb"}}, "tls: failed to verify certificate: x509: certificate has expired or is not yet valid: a  b"},
		{timeoutError{}, "timed out"},
		{with(own), "the HTTP exchange failed (*errors.errorString)"},
	} {
		got := Cause(tt.err)
		assert.Equal(t, tt.says, got.Error())
		assert.NotContains(t, fmt.Sprintf("%v %+v %#v", got, got, got), "s3cr3t")
		var inner *url.Error
		cause := tt.err
		for errors.As(cause, &inner) {
			cause = inner.Err
		}
		if opaque := new(OpaqueError); errors.As(got, &opaque) {
			assert.ErrorIs(t, got, cause, "the caller may still ask for it")
		}
	}
}

func TestPrintable(t *testing.T) {
	for text, want := range map[string]string{
		"":                        "",
		"as it is, é":             "as it is, é",
		" a\r\nb\tc\x00d\x1b[0m ": "a  b c d [0m",
		"a\u2028b\u202ec\ufeff":   "a b c",
		"no UTF-8: \xff":          "no UTF-8: \ufffd",
		strings.Repeat("a", 300):  strings.Repeat("a", 300),
		strings.Repeat("a", 301):  strings.Repeat("a", 300) + "…",
	} {
		assert.Equal(t, want, Printable(text))
	}
	long := Printable(strings.Repeat("é", 1000))
	require.LessOrEqual(t, len(long), 303)
	require.True(t, strings.HasSuffix(long, "é…"))
	for _, r := range long {
		require.True(t, unicode.IsPrint(r))
	}
}
