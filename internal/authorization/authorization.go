// Package authorization makes authorization requests (RFC 6749 §4.1.1): the
// state, the nonce and the PKCE verifier (RFC 7636) of each, and the URL to send
// a person to. The part that all requests of a configuration share is built once.
package authorization

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

const (
	// Entropy is how many random bytes a request takes: 32 for each of verifier,
	// state and nonce.
	Entropy = 3 * 32
	// Placeholder stands for the challenge in the URL that [NewRequest] takes. As
	// a value it stays as it is, and no challenge is like it.
	Placeholder = "~"

	length = 43 // of 32 bytes as text
)

// Request is the URL of an authorization request without the values that are new
// each time.
type Request struct {
	before, after string // the challenge goes between them, the state at the end
	nonce         bool
}

// Values holds the values of one request.
type Values struct {
	URL, State, Nonce, Verifier string
}

// NewRequest takes the URL with the parameters that every request shares, and
// with [Placeholder] for the challenge.
func NewRequest(u *url.URL, extra url.Values, nonce bool) *Request {
	before, after, _ := strings.Cut(u.String(), "code_challenge="+Placeholder)
	if len(extra) > 0 {
		after += "&" + extra.Encode()
	}
	return &Request{before: before + "code_challenge=", after: after + "&state=", nonce: nonce}
}

// Fill makes a request from random bytes.
func (r *Request) Fill(entropy *[Entropy]byte) Values {
	var text [3 * length]byte
	for i := range 3 {
		base64.RawURLEncoding.Encode(text[length*i:length*(i+1)], entropy[32*i:32*(i+1)])
	}
	sum := sha256.Sum256(text[:length])
	var challenge [length]byte
	base64.RawURLEncoding.Encode(challenge[:], sum[:])

	all := string(text[:])
	f := Values{Verifier: all[:length], State: all[length : 2*length]}
	if r.nonce {
		f.Nonce = all[2*length:]
	}
	f.URL = r.URL(string(challenge[:]), f.State, f.Nonce)
	return f
}

// URL returns the URL of a request; it omits an empty nonce.
func (r *Request) URL(challenge, state, nonce string) string {
	if nonce == "" {
		return r.before + challenge + r.after + state
	}
	return r.before + challenge + r.after + state + "&nonce=" + nonce
}

// Extra returns the parameters that have a value. Its error names a parameter
// that is sent already, or that callers may not set.
func Extra(wanted, sent url.Values, others ...string) (url.Values, error) {
	extra := url.Values{}
	for name, values := range wanted {
		values = slices.DeleteFunc(slices.Clone(values), func(v string) bool { return v == "" })
		_, ours := sent[name]
		switch {
		case name == "" || ours || slices.Contains(others, name):
			return nil, fmt.Errorf("Extra has %q, which is not for it", name)
		case len(values) > 1 && name != "resource":
			return nil, fmt.Errorf("Extra has %q more than once", name)
		case len(values) == 0:
			continue
		}
		if name == "max_age" {
			if n, err := strconv.Atoi(values[0]); err != nil || n < 0 {
				return nil, fmt.Errorf("Extra has %q, but not with a number of seconds", name)
			}
		}
		extra[name] = values
	}
	return extra, nil
}
