// Package callback reads the parameters of an authorization response, as
// servers, proxies and people really send them. Only the parameters that the
// specifications define matter; others may have been added on the way, and are
// kept as far as they can be read.
package callback

import (
	"net/url"
	"slices"
	"strings"
)

// maxUnknown limits how many unknown parameters are kept; real servers send up
// to ten.
const maxUnknown = 64

// known lists the parameters of RFC 6749 §4.1.2 and §4.1.2.1 and RFC 9207 §2.
// Those after the first four are for people to read.
func known() []string {
	return []string{"code", "state", "iss", "error", "error_description", "error_uri", "scope"}
}

// Parse reads a query, a fragment or a form, pair by pair, and never fails as a
// whole: a semicolon is an ordinary character, and an unknown parameter that
// can't be read is left out. If a code, state, iss or error can't be read,
// Parse returns its name, and the values lack it. A known parameter is kept at
// most twice, which is enough to refuse it.
func Parse(raw string) (values url.Values, unreadable string) {
	values = url.Values{}
	for unknown := 0; raw != ""; {
		var pair string
		pair, raw, _ = strings.Cut(raw, "&")
		rawName, rawValue, _ := strings.Cut(pair, "=")
		name, err := url.QueryUnescape(rawName)
		if err != nil || name == "" {
			continue
		}
		value, err := url.QueryUnescape(rawValue)
		switch i := slices.Index(known(), name); {
		case i >= 0 && i < 4 && err != nil:
			unreadable = name
			continue
		case i >= 0 && err != nil:
			value = rawValue
		case i < 0 && err != nil, i >= 0 && len(values[name]) == 2:
			continue
		case i < 0:
			if unknown++; unknown > maxUnknown {
				continue
			}
		}
		values[name] = append(values[name], value)
	}
	return values, unreadable
}

// Repeated returns the name of a known parameter that occurs more than once,
// which RFC 6749 §3.1 forbids, or "" if there is none.
func Repeated(values url.Values) string {
	for _, name := range known() {
		if len(values[name]) > 1 {
			return name
		}
	}
	return ""
}

// Equal reports whether two callbacks agree in all known parameters.
func Equal(a, b url.Values) bool {
	return !slices.ContainsFunc(known(), func(name string) bool { return !slices.Equal(a[name], b[name]) })
}
