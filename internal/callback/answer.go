package callback

import (
	"encoding/json"
	"errors"
	"mime"
	"net/url"
	"strings"

	"github.com/piecesauth/piecesauth/internal/exchange"
	"github.com/piecesauth/piecesauth/internal/strictjson"
)

// ErrRedirect means that the URL of a redirect can't be parsed.
var ErrRedirect = errors.New("the answer is a redirect that can't be read")

// Answered returns the result in an answer to an authorization request that was
// sent without a browser. It returns nil for a page, or for a redirect to one.
func Answered(answer *exchange.Answer, from *url.URL, redirectURI string) (url.Values, error) {
	location := answer.Location()
	if location == "" {
		return parseBody(answer)
	}
	to, err := from.Parse(location)
	if err != nil {
		return nil, ErrRedirect
	}
	// Any other URL, such as that of a login page, may contain our state too.
	registered, err := url.Parse(redirectURI)
	if err != nil || !exchange.SameEndpoint(to, registered) {
		return nil, nil //nolint:nilerr // a redirect URI that can't be parsed matches none
	}
	values := Of(to)
	if values == nil {
		return nil, ErrNone
	}
	return values, nil
}

// parseBody reads the body of a 200 answer, by its content rather than its media
// type. It returns nil for a page.
func parseBody(answer *exchange.Answer) (url.Values, error) {
	text := strings.TrimSpace(string(answer.Body))
	mediaType, _, _ := mime.ParseMediaType(answer.Header.Get("Content-Type"))
	switch {
	case strings.HasPrefix(text, "{"):
		var fields map[string]any
		if err := strictjson.Unmarshal(answer.Body, &fields); err != nil {
			return nil, err
		}
		v := url.Values{}
		for name, field := range fields {
			switch field := field.(type) {
			case string:
				v.Set(name, field)
			case map[string]any:
				object, err := json.Marshal(field)
				if err != nil {
					return nil, err
				}
				v.Set(name, string(object))
			}
		}
		if isResult(v) {
			return v, nil
		}
	case strings.HasPrefix(text, "<"), mediaType == "text/html" && !strings.Contains(text, "code="):
		return nil, nil
	default:
		if v, err := url.ParseQuery(text); err == nil && isResult(v) {
			return v, nil
		}
	}
	return nil, ErrNone
}
