package callback

import (
	"cmp"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"unicode"
)

// ErrNone means that an answer holds no result of an authorization.
var ErrNone = errors.New("the answer has neither code nor error")

// StateFault compares the states of a callback with the attempt's (RFC 6749
// §10.12), in constant time. It returns what is wrong, or "".
func StateFault(got []string, want string) string {
	switch {
	case len(got) == 0 || len(got) == 1 && got[0] == "":
		return "it has no state"
	case len(got) > 1:
		return "it has state more than once"
	case subtle.ConstantTimeCompare([]byte(got[0]), []byte(want)) != 1:
		return "its state is another"
	}
	return ""
}

// Pasted reads a callback from the text that a person copies out of a browser:
// the URL, with the result in its query or its fragment, or the code and the
// state alone. It ignores surrounding white space, quotes and angle brackets.
func Pasted(text string) (url.Values, error) {
	address, fragment, _ := strings.Cut(strings.TrimFunc(text, Surrounds), "#")
	if name, _, found := strings.Cut(address, "="); found && !strings.ContainsAny(name, ":/?") {
		if v, _ := read(address, ""); v.Has("state") {
			return v, nil
		}
	}
	unreadable := ""
	if u, err := url.Parse(address); err == nil { // the error would repeat the address
		var v url.Values
		if v, unreadable = read(u.RawQuery, fragment); v != nil {
			return v, nil
		}
	}
	if unreadable != "" {
		return nil, fmt.Errorf("the URL's %s can't be read: copy the whole address again", unreadable)
	}
	return nil, errors.New("the URL has no code and no error that can be read, so it is not the one a sign-in ended at")
}

// Surrounds reports whether r may be copied along with a URL without being part
// of it.
func Surrounds(r rune) bool {
	return unicode.IsSpace(r) || strings.ContainsRune("\"'`<>“”‘’«»", r)
}

// Of returns the values of a callback, or nil if there are none that can be read.
func Of(u *url.URL) url.Values {
	// EscapedFragment alone takes "%2B" for "+" beside what it would escape.
	v, _ := read(u.RawQuery, cmp.Or(u.RawFragment, u.EscapedFragment()))
	return v
}

// read returns the values of a callback, or nil if there are none; unreadable
// names a parameter that matters and can't be read.
func read(query, fragment string) (v url.Values, unreadable string) {
	for _, raw := range []string{query, fragment} {
		values, broken := Parse(raw)
		if isResult(values) && broken == "" {
			return values, ""
		}
		unreadable = cmp.Or(unreadable, broken)
	}
	return nil, unreadable
}

func isResult(v url.Values) bool { return v.Has("code") || v.Has("error") }
