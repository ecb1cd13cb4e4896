package oautherror_test

import (
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/piecesauth/piecesauth/internal/exchange"
	"github.com/piecesauth/piecesauth/internal/oautherror"
)

func TestRead(t *testing.T) {
	from := &url.URL{Scheme: "https", Host: "auth.example", Path: "/oauth/token"}
	for _, tt := range []struct {
		name               string
		status             int
		body, header, text string
		want               oautherror.Refusal
		cause              string
	}{
		{name: "an error", status: 400, body: `{"error":"invalid_grant","error_description":"d","error_uri":"u"}`, want: oautherror.Refusal{Code: "invalid_grant", Description: "d", URI: "u"}},
		{name: "an error in a 200", status: 200, body: `{"error":"invalid_grant"}`, want: oautherror.Refusal{Code: "invalid_grant"}},
		{name: "a challenge", status: 401, header: "Www-Authenticate", text: `Bearer error="invalid_token", error_description="d"`, want: oautherror.Refusal{Code: "invalid_token", Description: "d"}},
		{name: "the body before the challenge", status: 401, body: `{"error":"a"}`, header: "Www-Authenticate", text: `Bearer error="b"`, want: oautherror.Refusal{Code: "a"}},
		{name: "an object", status: 403, body: `{"error":{"code":"a"},"error_description":1}`},
		{name: "a page", status: 502, body: "<html>"},
		{name: "a page with status 400", status: 400, body: "<html>", cause: "auth.example/oauth/token says no more: is it the right server?"},
		{name: "nothing with status 404", status: 404, cause: "auth.example/oauth/token says no more: is it the right server?"},
		{name: "a page with status 200", status: 200, body: "<html>", cause: "the answer is not what was asked for"},
		{name: "an error that can't be printed", status: 200, body: `{"error":"\u0000"}`, want: oautherror.Refusal{Code: "\x00"}, cause: "the answer is not what was asked for"},
		{name: "a redirect", status: 302, header: "Location", text: "https://s3cr3t.example", cause: "redirects are refused here"},
		{name: "a proxy's", status: 407, cause: "a proxy asks for credentials: see HTTPS_PROXY"},
		{name: "to wait", status: 429, header: "Retry-After", text: "60", want: oautherror.Refusal{RetryAfter: time.Minute}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			answer := &exchange.Answer{StatusCode: tt.status, Body: []byte(tt.body), Header: http.Header{}}
			if tt.header != "" {
				answer.Header.Set(tt.header, tt.text)
			}
			got := oautherror.Read(answer, from)
			cause := got.Cause
			got.Cause = nil
			require.Equal(t, tt.want, got)
			if tt.cause == "" {
				require.NoError(t, cause)
			} else {
				require.EqualError(t, cause, tt.cause)
			}
		})
	}
}
