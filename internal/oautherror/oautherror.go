// Package oautherror reads the OAuth error of an answer: from its body (RFC 6749
// §5.2), or from its challenge (RFC 6750 §3).
package oautherror

import (
	"errors"
	"net/http"
	"net/url"
	"time"

	"github.com/piecesauth/piecesauth/internal/exchange"
	"github.com/piecesauth/piecesauth/internal/strictjson"
)

// Refusal is what an unexpected answer says. Its texts are the server's, unchanged.
type Refusal struct {
	Code, Description, URI string
	RetryAfter             time.Duration // 0 if the server doesn't say
	Cause                  error         // what is wrong, or nil if Code says it
}

// Read reads the answer to a request to the URL from.
func Read(answer *exchange.Answer, from *url.URL) Refusal {
	r := inBody(answer.Body)
	for _, c := range exchange.Challenges(answer.Header) {
		if r.Code == "" {
			r = Refusal{Code: c.Parameters["error"], Description: c.Parameters["error_description"], URI: c.Parameters["error_uri"]}
		}
	}
	r.RetryAfter, _ = exchange.RetryAfter(answer.Header)
	switch {
	case answer.StatusCode/100 == 3:
		r.Cause = errors.New("redirects are refused here")
	case answer.StatusCode == http.StatusProxyAuthRequired:
		r.Cause = errors.New("a proxy asks for credentials: see HTTPS_PROXY")
	case exchange.Printable(r.Code) != "":
	case answer.StatusCode < 300:
		r.Cause = errors.New("the answer is not what was asked for")
	case answer.StatusCode == http.StatusNotFound, answer.StatusCode == http.StatusBadRequest:
		r.Cause = errors.New(exchange.Printable(from.Host+from.EscapedPath()) + " says no more: is it the right server?")
	}
	return r
}

// inBody reads the members of an error that are text: some servers send HTML, or
// an object in "error".
func inBody(body []byte) Refusal {
	var w struct {
		Error       any `json:"error"`
		Description any `json:"error_description"`
		URI         any `json:"error_uri"`
	}
	_ = strictjson.Unmarshal(body, &w)
	text := func(v any) string { s, _ := v.(string); return s }
	return Refusal{Code: text(w.Error), Description: text(w.Description), URI: text(w.URI)}
}
