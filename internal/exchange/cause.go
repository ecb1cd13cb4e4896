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
	"unicode"
)

// OpaqueError hides a cause whose text may repeat what was sent or received: it
// prints Text alone, while errors.Is and errors.As still find Cause.
type OpaqueError struct {
	Text  string
	Cause error
}

// Error returns Text.
func (o *OpaqueError) Error() string { return o.Text }

// GoString returns Text, for every verb.
func (o *OpaqueError) GoString() string { return o.Text }

// Is looks into Cause.
func (o *OpaqueError) Is(target error) bool { return errors.Is(o.Cause, target) }

// As looks into Cause.
func (o *OpaqueError) As(target any) bool { return errors.As(o.Cause, target) }

// Cause returns the cause of a failed exchange in one printable line that holds
// no URL and nothing of either message: only errors that are known to be clean
// keep their own text.
func Cause(err error) error {
	var with *url.Error
	for errors.As(err, &with) {
		err = with.Err // without the URL
	}
	switch {
	case errors.Is(err, context.Canceled):
		return context.Canceled
	case errors.Is(err, context.DeadlineExceeded):
		return context.DeadlineExceeded
	}
	if cause := ofNetwork(err); cause != nil {
		return cause
	}
	for _, known := range []error{
		ErrTooLarge, io.ErrUnexpectedEOF, io.EOF, http.ErrSchemeMismatch, http.ErrServerClosed,
		syscall.ECONNRESET, syscall.ECONNREFUSED, syscall.EPIPE,
	} {
		if errors.Is(err, known) {
			return known
		}
	}
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		return &OpaqueError{"timed out", err}
	}
	return &OpaqueError{fmt.Sprintf("the HTTP exchange failed (%T)", err), err}
}

// ofNetwork recognises errors of names, certificates, proxies and sockets.
func ofNetwork(err error) error {
	var (
		op    *net.OpError
		dns   *net.DNSError
		cert  *tls.CertificateVerificationError
		host  x509.HostnameError
		proxy *proxyError
	)
	switch {
	case errors.As(err, &proxy):
		return proxy
	case err != nil && err.Error() == http.StatusText(http.StatusProxyAuthRequired): // all that net/http says of it
		return &proxyError{http.StatusProxyAuthRequired}
	case errors.As(err, &op) && op.Op == "proxyconnect":
		return &OpaqueError{"the proxy cannot be reached: " + Cause(op.Err).Error(), err}
	case errors.As(err, &dns):
		return printable(dns)
	case errors.As(err, &cert):
		return printable(cert)
	case errors.As(err, &host):
		return printable(host)
	case errors.As(err, &op) && ofSystem(op.Err):
		return op
	}
	return nil
}

// printable returns err with its text as one printable line, because a
// certificate can hold any name.
func printable(err error) error {
	text := err.Error()
	clean := Printable(text)
	if clean == text {
		return err
	}
	return &OpaqueError{clean, err}
}

// Printable returns the text as one line of at most 300 bytes.
func Printable(text string) string {
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, text)
	const most = 300
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "…"
	}
	return strings.TrimSpace(text)
}

// ofSystem reports whether err comes from the operating system and adds nothing
// to it.
func ofSystem(err error) bool {
	switch err.(type) { //nolint:errorlint // wrapped, it may come with any text
	case syscall.Errno, *os.SyscallError:
		return true
	}
	return false
}
