package piecesauthtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// Browser is a person at a browser, for tests that have neither. It keeps
// cookies, follows redirects, and fills in and posts the forms of the server's
// pages. One after the other, it can be used for any number of visits.
//
// With cookies it is as strict as browsers are between an application and a
// server on different sites, although here both are on loopback: what arrives
// at another origin by a posted form brings SameSite=None cookies alone, and
// those only if Secure.
type Browser struct {
	// Deny has the person refuse on the sign-in page.
	Deny bool

	server  *Server
	mu      sync.Mutex // held during a visit
	cookies []*http.Cookie
}

// Page is what a browser shows in the end.
type Page struct {
	URL    string // as in the address bar, fragment included
	Status int
	Body   string
}

// Browser gives a browser with no cookies.
func (s *Server) Browser() *Browser { return &Browser{server: s} }

// SignIn opens an authorization URL, or one of an application that leads there,
// signs in where asked, and gives what the redirect URI would get: a code, or
// an error, in whichever response mode. It delivers nothing.
// Its error says what the server has against the request.
func (b *Browser) SignIn(ctx context.Context, rawURL string) (url.Values, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	_, callback, err := b.visit(ctx, rawURL, false)
	if err == nil && callback == nil {
		err = errors.New("piecesauthtest: the visit ended without a callback")
	}
	return callback, err
}

// Open opens any URL, signs in where asked, delivers the callback to the
// redirect URI by GET or by form POST, follows the application from there, and
// gives the page that it all ends at, whatever its status. It is what to give
// to code that opens a browser.
func (b *Browser) Open(ctx context.Context, rawURL string) (*Page, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	page, _, err := b.visit(ctx, rawURL, true)
	return page, err
}

// visit goes from page to page. Without deliver it ends at the callback.
func (b *Browser) visit(ctx context.Context, rawURL string, deliver bool) (*Page, url.Values, error) {
	next, err := b.step(nil, http.MethodGet, rawURL, nil)
	const most = 20
	for range most {
		if err != nil {
			return nil, nil, fmt.Errorf("piecesauthtest: %w", err)
		}
		from := next
		if !deliver && from.leavesServer {
			values := from.url.Query()
			if from.form != nil {
				values = from.form
			} else if from.url.Fragment != "" {
				values, err = url.ParseQuery(from.url.EscapedFragment())
			}
			return nil, values, err
		}
		var response *http.Response
		var body []byte
		if response, body, err = b.send(ctx, from); err != nil { //nolint:bodyclose // send has closed it
			continue
		}
		page := &Page{URL: from.url.String(), Status: response.StatusCode, Body: string(body)}
		if location := response.Header.Get("Location"); location != "" && response.StatusCode/100 == 3 {
			method, form := http.MethodGet, url.Values(nil)
			if response.StatusCode == http.StatusTemporaryRedirect || response.StatusCode == http.StatusPermanentRedirect {
				method, form = from.method, from.form
			}
			if next, err = b.step(from, method, location, form); err == nil && from.crossSite {
				next.crossSite = true // whoever began the redirects counts
			}
			continue
		}
		if origin(from.url) != b.server.URL {
			return page, nil, nil
		}
		switch action, form := readForm(page.Body); {
		case strings.Contains(page.Body, `<form id="login"`):
			form.Set("action", "signin")
			if b.Deny {
				form.Set("action", "deny")
			}
			next, err = b.step(from, http.MethodPost, action, form)
		case strings.Contains(page.Body, `<form id="form_post"`):
			next, err = b.step(from, http.MethodPost, action, form)
		case webMessage.MatchString(page.Body):
			message := map[string]string{}
			err := json.Unmarshal([]byte(webMessage.FindStringSubmatch(page.Body)[1]), &message)
			values := url.Values{}
			for name, value := range message {
				values.Set(name, value)
			}
			return page, values, err
		case !deliver && page.Status >= 400:
			problem := strings.TrimSpace(page.Body)
			if match := problemText.FindStringSubmatch(page.Body); match != nil {
				problem = html.UnescapeString(match[1])
			}
			return nil, nil, fmt.Errorf("piecesauthtest: status %d: %s", page.Status, problem)
		default:
			return page, nil, nil
		}
	}
	if err != nil {
		return nil, nil, fmt.Errorf("piecesauthtest: %w", err)
	}
	return nil, nil, fmt.Errorf("piecesauthtest: no end after %d pages", most)
}

// step is one request of a visit.
type step struct {
	method       string
	url          *url.URL
	form         url.Values // of a POST
	crossSite    bool
	leavesServer bool
}

// step leaves from, where there is one, by a link, a redirect or a form.
func (b *Browser) step(from *step, method, rawURL string, form url.Values) (*step, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return nil, errors.New("an address cannot be parsed")
	}
	next := &step{method: method, url: u, form: form}
	if from != nil {
		next.url = from.url.ResolveReference(u)
		next.crossSite = origin(from.url) != origin(next.url)
		next.leavesServer = next.crossSite && origin(from.url) == b.server.URL
	}
	return next, nil
}

func origin(u *url.URL) string { return u.Scheme + "://" + u.Host }

// send sends the request, with the cookies a browser would send.
func (b *Browser) send(ctx context.Context, next *step) (*http.Response, []byte, error) {
	request, err := http.NewRequestWithContext(ctx, next.method, next.url.String(), strings.NewReader(next.form.Encode()))
	if err != nil {
		return nil, nil, err
	}
	request.Header.Set("Accept", "text/html")
	if next.method == http.MethodPost {
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		request.Header.Set("Origin", "null") // what Chromium says after a redirect from elsewhere
	} else {
		request.Body, request.ContentLength = nil, 0
	}
	for _, cookie := range b.cookies {
		crossPost := next.crossSite && next.method != http.MethodGet
		crossStrict := next.crossSite && cookie.SameSite == http.SameSiteStrictMode
		lax := cookie.SameSite != http.SameSiteNoneMode || !cookie.Secure
		if cookie.Domain == b.domain(next.url) && underPath(next.url.Path, cookie.Path) && !crossStrict && !(crossPost && lax) {
			request.AddCookie(&http.Cookie{Name: cookie.Name, Value: cookie.Value, Quoted: cookie.Quoted})
		}
	}
	client := *b.server.Client()
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	response, err := client.Do(request)
	if err != nil {
		// The text of a *url.Error has the URL, with code and state.
		var inner *url.Error
		if errors.As(err, &inner) {
			err = inner.Err
		}
		return nil, nil, err
	}
	defer func() { _ = response.Body.Close() }()
	const most = 1 << 20
	body, err := io.ReadAll(io.LimitReader(response.Body, most))
	if err != nil {
		return nil, nil, err
	}
	for _, cookie := range response.Cookies() {
		b.keep(next.url, cookie)
	}
	return response, body, nil
}

// domain is what tells cookies apart. In browsers ports don't; only the
// server's are kept from an application on the same host.
func (b *Browser) domain(u *url.URL) string {
	if origin(u) == b.server.URL {
		return u.Host
	}
	return u.Hostname()
}

// keep stores a cookie.
func (b *Browser) keep(u *url.URL, cookie *http.Cookie) {
	cookie.Domain = b.domain(u)
	if cookie.Path == "" {
		cookie.Path = "/"
		if i := strings.LastIndex(u.Path, "/"); i > 0 {
			cookie.Path = u.Path[:i]
		}
	}
	b.cookies = slices.DeleteFunc(b.cookies, func(c *http.Cookie) bool {
		return c.Name == cookie.Name && c.Domain == cookie.Domain && c.Path == cookie.Path
	})
	ended := cookie.MaxAge < 0 || cookie.MaxAge == 0 && !cookie.Expires.IsZero() && !cookie.Expires.After(b.server.options.Now())
	// A browser drops a SameSite=None cookie that is not Secure.
	if !ended && (cookie.SameSite != http.SameSiteNoneMode || cookie.Secure) {
		b.cookies = append(b.cookies, cookie)
	}
}

// underPath is RFC 6265 §5.1.4.
func underPath(path, prefix string) bool {
	return path == prefix || prefix == "/" || strings.HasPrefix(path, prefix) &&
		(strings.HasSuffix(prefix, "/") || path[len(prefix)] == '/')
}

// The pages are the server's own, so that patterns can read them.
var (
	formAction  = regexp.MustCompile(`<form [^>]*action="([^"]*)"`)
	hiddenInput = regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)">`)
	webMessage  = regexp.MustCompile(`<script id="web_message" type="application/json">(.*)</script>`)
	problemText = regexp.MustCompile(`<p id="problem">(.*)</p>`)
)

func readForm(page string) (action string, fields url.Values) {
	if match := formAction.FindStringSubmatch(page); match != nil {
		action = html.UnescapeString(match[1])
	}
	fields = url.Values{}
	for _, match := range hiddenInput.FindAllStringSubmatch(page, -1) {
		fields.Add(html.UnescapeString(match[1]), html.UnescapeString(match[2]))
	}
	return action, fields
}
