package oidc

import (
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Expected holds the values that an ID token is compared with.
type Expected struct {
	Issuer      string        // "" accepts any
	ClientID    string        // the only client that the token may be for
	Nonce       string        // of the attempt, or "" if there was none
	MaxAge      time.Duration // since the person authenticated, or 0 for any time
	Previous    *Claims       // what a refreshed token has to continue, or nil
	AccessToken string        // that came with the token, or "" if it isn't known
	Leeway      time.Duration // allowed difference between this machine's clock and the issuer's
	Secrets     []string      // values that no error may repeat
}

// Check compares the claims with the expected ones (OpenID Connect Core
// §3.1.3.7 and §12.2). Its errors contain neither sub nor nonce.
func (t *Token) Check(e Expected) error {
	for _, check := range []func(Expected) error{t.checkIssuer, t.checkSubject, t.checkNonce, t.checkAudience, t.checkAuthTime, t.checkSigned, t.checkHash, t.checkClock} {
		if err := check(e); err != nil {
			return err
		}
	}
	return nil
}

func (t *Token) checkIssuer(e Expected) error {
	switch got := t.Claims.Issuer; {
	case got == "":
		return failed(Issuer, "iss of the ID token is missing")
	case e.Issuer != "" && got != e.Issuer:
		return failed(Issuer, "iss of the ID token is %s", Differs(got, e.Issuer))
	case e.Previous != nil && got != e.Previous.Issuer:
		return failed(Issuer, "iss of the refreshed ID token is %s", Differs(got, e.Previous.Issuer))
	}
	return nil
}

// Differs describes how two issuers differ; a slash at the end is easily
// overlooked.
func Differs(got, want string) string {
	text := quoted(got) + ", not " + quoted(want)
	if strings.TrimSuffix(got, "/") == strings.TrimSuffix(want, "/") {
		text += ": they differ in the slash at the end"
	}
	return text
}

func (t *Token) checkSubject(e Expected) error {
	switch got := t.Claims.Subject; {
	case got == "":
		return failed(Subject, "sub of the ID token is missing")
	case e.Previous != nil && got != e.Previous.Subject:
		return failed(Subject, "sub of the refreshed ID token has changed")
	}
	return nil
}

func (t *Token) checkNonce(e Expected) error {
	switch got := t.Claims.Nonce; {
	case e.Nonce != "" && got == "":
		return failed(Nonce, "nonce of the ID token is missing")
	case e.Nonce != "" && subtle.ConstantTimeCompare([]byte(got), []byte(e.Nonce)) != 1:
		return failed(Nonce, "nonce of the ID token is not the attempt's")
	case e.Previous != nil && got != "" && got != e.Previous.Nonce:
		return failed(Nonce, "nonce of the refreshed ID token has changed")
	}
	return nil
}

func (t *Token) checkAudience(e Expected) error {
	trusted := func(aud string) bool { return aud == e.ClientID }
	untrusted := func(aud string) bool { return aud != e.ClientID }
	c := &t.Claims
	switch {
	case len(c.Audience) == 0:
		return failed(Audience, "aud of the ID token is missing")
	case !slices.ContainsFunc(c.Audience, trusted):
		return failed(Audience, "aud of the ID token lacks this client, %s", quoted(e.ClientID))
	case slices.ContainsFunc(c.Audience, untrusted):
		return failed(Audience, "aud of the ID token has others than this client, %s", quoted(e.ClientID))
	case c.AuthorizedParty != "" && !trusted(c.AuthorizedParty):
		return failed(Audience, "azp of the ID token is not this client, %s", quoted(e.ClientID))
	case e.Previous != nil && !slices.Equal(c.Audience, e.Previous.Audience):
		return failed(Audience, "aud of the refreshed ID token has changed")
	}
	return nil
}

// checkAuthTime checks MaxAge by the issuer's clock only.
func (t *Token) checkAuthTime(e Expected) error {
	c := &t.Claims
	switch {
	case e.MaxAge <= 0:
		return nil
	case c.AuthTime == nil:
		return failed(AuthTime, "auth_time of the ID token is missing, which MaxAge needs")
	case c.IssuedAt == nil:
		return failed(Malformed, "iat of the ID token is missing")
	}
	if age := moment(c.IssuedAt).Sub(moment(c.AuthTime)); age > e.MaxAge {
		return failed(AuthTime, "auth_time of the ID token is %s before iat, which is longer than MaxAge, %s", age.Round(time.Second), e.MaxAge)
	}
	return nil
}

func (t *Token) checkSigned(Expected) error {
	if t.Algorithm == "" || strings.EqualFold(t.Algorithm, "none") {
		return failed(Algorithm, "the ID token is not signed")
	}
	return nil
}

func (t *Token) checkHash(e Expected) error {
	if got := t.Claims.AccessTokenHash; got != "" && e.AccessToken != "" && got != accessTokenHash(t.Algorithm, e.AccessToken) {
		return failed(Hash, "at_hash of the ID token is not the access token's")
	}
	return nil
}

// accessTokenHash returns the left half of the hash that goes with alg (OpenID
// Connect Core §3.1.3.6).
func accessTokenHash(alg, accessToken string) string {
	var sum []byte
	switch {
	case strings.HasSuffix(alg, "256"):
		h := sha256.Sum256([]byte(accessToken))
		sum = h[:]
	case strings.HasSuffix(alg, "384"):
		h := sha512.Sum384([]byte(accessToken))
		sum = h[:]
	default: // EdDSA's too
		h := sha512.Sum512([]byte(accessToken))
		sum = h[:]
	}
	return base64.RawURLEncoding.EncodeToString(sum[:len(sum)/2])
}

// checkClock runs last, because all other checks fail whatever the clock says.
func (t *Token) checkClock(e Expected) error {
	c, now := &t.Claims, time.Now()
	switch {
	case c.Expiry == nil:
		return failed(Malformed, "exp of the ID token is missing")
	case c.IssuedAt == nil:
		return failed(Malformed, "iat of the ID token is missing")
	}
	if ago := now.Sub(moment(c.Expiry)); ago >= e.Leeway {
		return failed(Clock, "exp of the ID token has passed, %s ago: it is an old one, or this machine's clock is ahead", ago.Truncate(time.Second))
	}
	if ahead := moment(c.IssuedAt).Sub(now); ahead > e.Leeway {
		return failed(Clock, "iat of the ID token is %s in the future: this machine's clock is late", ahead.Round(time.Second))
	}
	if c.NotBefore != nil {
		if ahead := moment(c.NotBefore).Sub(now); ahead > e.Leeway {
			return failed(Clock, "nbf of the ID token is %s in the future: it is not valid yet, or this machine's clock is late", ahead.Round(time.Second))
		}
	}
	return nil
}

// moment returns seconds since 1970 as a time, limited to what durations can
// hold.
func moment(seconds *float64) time.Time {
	const most = 9e9 // of the year 2255
	return time.UnixMilli(int64(max(-most, min(*seconds, most)) * 1000))
}

// quoted returns values in a form that can be shown: printable and of limited
// length.
func quoted(values ...string) string {
	texts := make([]string, 0, len(values))
	for _, v := range values[:min(len(values), 5)] {
		if len(v) > 200 {
			v = strings.ToValidUTF8(v[:200], "") + "…"
		}
		texts = append(texts, strconv.Quote(v))
	}
	return strings.Join(texts, " and ")
}
