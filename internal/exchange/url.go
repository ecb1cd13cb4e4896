package exchange

import (
	"errors"
	"net"
	"net/http"
	"net/url"
	"strings"
)

// CheckURL refuses URLs that would be sent in the clear: it accepts https, and
// http to this machine only.
func CheckURL(u *url.URL) error {
	scheme := strings.ToLower(u.Scheme)
	switch {
	case u.Host == "" || u.User != nil:
		return errors.New("is not an absolute URL of the form https://host")
	case scheme == "https" || scheme == "http" && IsLoopback(u.Hostname()):
		return nil
	case scheme == "http":
		return errors.New("is http, which only a server on this machine may have: use https")
	}
	return errors.New("is neither https nor http")
}

// IsLoopback reports whether the host, without a port, is this machine.
func IsLoopback(host string) bool {
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}

// SameOrigin reports whether both URLs have the same scheme, host and port.
func SameOrigin(a, b *url.URL) bool {
	return strings.EqualFold(a.Scheme, b.Scheme) && strings.EqualFold(a.Hostname(), b.Hostname()) && port(a) == port(b)
}

// WentAway reports whether the request follows a redirect that came from, or
// passed through, another host, or whose origin is unknown.
func WentAway(req *http.Request) bool {
	for r := req; r.Response != nil; r = r.Response.Request {
		from := r.Response.Request // nil if a transport does not set it
		if from == nil || !SameOrigin(from.URL, req.URL) {
			return true
		}
	}
	return false
}

// SameEndpoint reports whether both URLs are equal apart from their query and
// fragment, normalised according to RFC 3986 §6.2.
func SameEndpoint(a, b *url.URL) bool {
	return SameOrigin(a, b) && a.User == nil && b.User == nil && a.Opaque == b.Opaque && normalPath(a) == normalPath(b)
}

func port(u *url.URL) string {
	if p := u.Port(); p != "" {
		return p
	}
	switch strings.ToLower(u.Scheme) {
	case "http":
		return "80"
	case "https":
		return "443"
	}
	return ""
}

// normalPath returns the path without dot segments, with its escapes in upper
// case and only where needed; for a bare host it returns "/".
func normalPath(u *url.URL) string {
	var b strings.Builder
	escaped := u.ResolveReference(u).EscapedPath()
	for i := 0; i < len(escaped); i++ {
		if escaped[i] != '%' || i+2 >= len(escaped) {
			b.WriteByte(escaped[i])
			continue
		}
		hex := strings.ToUpper(escaped[i : i+3])
		if c, err := url.PathUnescape(hex); err == nil && isUnreserved(c) {
			hex = c
		}
		b.WriteString(hex)
		i += 2
	}
	if b.Len() == 0 && u.Host != "" {
		return "/"
	}
	return b.String()
}

func isUnreserved(c string) bool {
	return len(c) == 1 && (c[0] >= '0' && c[0] <= '9' || c[0] >= 'a' && c[0] <= 'z' || c[0] >= 'A' && c[0] <= 'Z' || strings.Contains("-._~", c))
}
