package callback

import (
	"net/http"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/piecesauth/piecesauth/internal/exchange"
)

func TestStateFault(t *testing.T) {
	for want, got := range map[string][]string{
		"": {"s"}, "it has no state": {""}, "it has state more than once": {"s", "s"}, "its state is another": {"S"},
	} {
		require.Equal(t, want, StateFault(got, "s"))
	}
	require.Equal(t, "it has no state", StateFault(nil, "s"))
}

func TestPasted(t *testing.T) {
	right := url.Values{"code": {"a+b"}, "state": {"s"}}
	for _, text := range []string{
		"http://127.0.0.1/cb?code=a%2Bb&state=s", "  <https://a.example/?code=a%2Bb&state=s>\n", "app:/cb?code=a%2Bb&state=s", "https://a.example/#code=a%2Bb&state=s",
		"code=a%2Bb&state=s", "“code=a%2Bb&state=s”",
	} {
		got, err := Pasted(text)
		require.NoError(t, err, text)
		require.Equal(t, right, got, text)
	}
	got, err := Pasted("https://a.example/?x=1&code=a%2Bb&state=s")
	require.NoError(t, err)
	require.Equal(t, url.Values{"x": {"1"}, "code": {"a+b"}, "state": {"s"}}, got, "the address is no part of a name")
	const none = "the URL has no code and no error that can be read, so it is not the one a sign-in ended at"
	for text, want := range map[string]string{
		"": none, "code=a": none, "https://a.example/": none, "http://%zz/?code=a": none, "https://a.example/?state=s": none,
		"https://a.example/?code=%zz&state=s": "the URL's code can't be read: copy the whole address again",
	} {
		_, err := Pasted(text)
		require.EqualError(t, err, want, text)
	}
}

func TestAnswered(t *testing.T) {
	from := &url.URL{Scheme: "https", Host: "auth.example", Path: "/authorize"}
	right := url.Values{"code": {"c"}, "state": {"s"}}
	for _, tt := range []struct {
		name, location, body, mediaType string
		want                            url.Values
		err                             error
	}{
		{name: "a redirect", location: "https://app.example/cb?code=c&state=s", want: right},
		{name: "a redirect with a fragment", location: "HTTPS://APP.example:443/cb#code=c&state=s", want: right},
		{name: "a redirect to a login page", location: "/login?code=c&state=s"},
		{name: "a redirect to elsewhere", location: "https://other.example/cb?code=c&state=s"},
		{name: "a redirect without a result", location: "https://app.example/cb?x=y", err: ErrNone},
		{name: "a redirect to nowhere", location: "http://%zz/", err: ErrRedirect},
		{name: "a form", body: " code=c&state=s\n", want: right},
		{name: "JSON, whatever it is called", body: `{"code":"c","state":"s","n":1}`, mediaType: "text/html", want: right},
		{name: "JSON with an object", body: `{"code":"c","schema":{"migration":0}}`, want: url.Values{"code": {"c"}, "schema": {`{"migration":0}`}}},
		{name: "a page", body: "<html>"},
		{name: "text that is called a page", body: "please sign in", mediaType: "text/html; charset=utf-8"},
		{name: "text", body: "please sign in", err: ErrNone},
		{name: "nothing", err: ErrNone},
	} {
		t.Run(tt.name, func(t *testing.T) {
			answer := &exchange.Answer{StatusCode: 200, Header: http.Header{"Content-Type": {tt.mediaType}}, Body: []byte(tt.body)}
			if tt.location != "" {
				answer.StatusCode = 302
				answer.Header.Set("Location", tt.location)
			}
			got, err := Answered(answer, from, "https://app.example/cb")
			require.ErrorIs(t, err, tt.err)
			require.Equal(t, tt.want, got)
		})
	}
}
