package exchange

import (
	"net/http"
	"strings"
)

// Challenge is one challenge of a WWW-Authenticate header (RFC 9110 §11.3).
type Challenge struct {
	// Scheme is in lower case: "bearer".
	Scheme string
	// Parameters has lower-case names; if a name is repeated, the first value
	// counts.
	Parameters map[string]string
}

// Challenges returns all challenges of an answer. It skips malformed parts,
// because the rest may still be useful.
func Challenges(h http.Header) []Challenge {
	var all []Challenge
	for _, line := range h.Values("WWW-Authenticate") {
		all = parseChallenges(all, line)
	}
	return all
}

func parseChallenges(all []Challenge, rest string) []Challenge {
	for {
		rest = strings.TrimLeft(rest, " \t,")
		name, after := cutToken(rest)
		if name == "" {
			if rest == "" {
				return all
			}
			rest = skipItem(rest)
			continue
		}
		value, found := strings.CutPrefix(strings.TrimLeft(after, " \t"), "=")
		if !found { // no parameter, so a scheme
			all = append(all, Challenge{Scheme: strings.ToLower(name), Parameters: map[string]string{}})
			rest = after
			continue
		}
		var text string
		text, rest = cutValue(strings.TrimLeft(value, " \t"))
		if len(all) > 0 {
			of, name := all[len(all)-1].Parameters, strings.ToLower(name)
			if _, taken := of[name]; !taken {
				of[name] = text
			}
		}
	}
}

// cutToken cuts a token (RFC 9110 §5.6.2) off the front of s.
func cutToken(s string) (token, rest string) {
	end := strings.IndexFunc(s, func(r rune) bool {
		return !(r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || strings.ContainsRune("!#$%&'*+-.^_`|~", r))
	})
	if end < 0 {
		end = len(s)
	}
	return s[:end], s[end:]
}

// cutValue cuts a token or a quoted string (RFC 9110 §5.6.4) off the front of s.
func cutValue(s string) (value, rest string) {
	if !strings.HasPrefix(s, `"`) {
		end := strings.IndexAny(s, ", \t")
		if end < 0 {
			end = len(s)
		}
		return s[:end], s[end:]
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == '"':
			return b.String(), s[i+1:]
		case s[i] == '\\' && i+1 < len(s):
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String(), ""
}

// skipItem skips what is neither a scheme nor a parameter.
func skipItem(s string) string {
	if strings.HasPrefix(s, `"`) {
		_, rest := cutValue(s)
		return rest
	}
	return s[1:]
}
