// Package valid checks the values of a configuration. Its errors say what is
// wrong; the caller puts the name of the field before them.
package valid

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"unicode"

	"github.com/piecesauth/piecesauth/internal/exchange"
)

// Server parses the URL of a server: https, or http to this machine, without a
// query or a fragment.
func Server(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		return nil, errors.New("is not a URL") // the reason given would repeat it
	case u.RawQuery != "" || u.Fragment != "":
		return nil, errors.New("has a query or fragment")
	}
	return u, exchange.CheckURL(u)
}

// Redirect checks a redirection endpoint (RFC 6749 §3.1.2): absolute, without a
// fragment, and not open to listeners (RFC 9700 §2.6).
func Redirect(raw string) error {
	u, err := url.Parse(raw)
	switch {
	case err != nil || u.Scheme == "":
		return errors.New("is not an absolute URL")
	case strings.Contains(raw, "#"):
		return errors.New("has a fragment (RFC 6749 §3.1.2)")
	}
	switch u.Scheme {
	case "http", "https":
		return exchange.CheckURL(u)
	case "javascript", "data", "vbscript", "file", "blob", "about", "mailto", "ftp", "ws", "wss":
		return fmt.Errorf("has the scheme %s, which no application can receive", u.Scheme)
	}
	return nil // a scheme of the application's own (RFC 8252 §7.1)
}

// Text refuses a text that can't be one word of a header or a parameter.
func Text(s string) error {
	if strings.ContainsFunc(s, func(r rune) bool { return unicode.IsControl(r) || unicode.IsSpace(r) || r == unicode.ReplacementChar }) {
		return errors.New("has a space or a character that can't be printed")
	}
	return nil
}

// Scopes refuses an item that is not a scope-token (RFC 6749 §3.3), or that holds
// several.
func Scopes(scopes []string) error {
	for _, scope := range scopes {
		switch {
		case scope == "" || strings.ContainsAny(scope, " \t\r\n,"):
			return fmt.Errorf("has an item that is empty, or several in one: %q", scope)
		case strings.ContainsFunc(scope, func(r rune) bool { return r < '!' || r > '~' || r == '"' || r == '\\' }):
			return fmt.Errorf("has %q, with a character that no scope has (RFC 6749 §3.3)", scope)
		}
	}
	return nil
}

// Algorithms refuses algorithms that don't sign with a key pair (RFC 7518 §3.1,
// RFC 8037 §3.1).
func Algorithms(names []string) error {
	for _, name := range names {
		if !strings.Contains(" RS256 RS384 RS512 PS256 PS384 PS512 ES256 ES384 ES512 EdDSA ", " "+name+" ") {
			return fmt.Errorf("has %q, which is no signature with a public key", name)
		}
	}
	return nil
}
