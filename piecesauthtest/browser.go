package piecesauthtest

import (
	"context"
	"crypto/tls"
	"crypto/x509"
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
// pages. It can make any number of visits, one after another.
//
// In handling cookies, Origin and Sec-Fetch-Site it is as strict as browsers
// are between an application and a server on different sites, although here
// both are on loopback: a form posted to another origin brings only
// SameSite=None cookies, and those only if they are Secure.
type Browser struct {
	// Deny makes the person refuse on the sign-in page.
	Deny bool

	server  *Server
	person  *Person    // nil: whoever the sign-in page suggests
	mu      sync.Mutex // held during a visit
	cookies []*http.Cookie
	trusted []*x509.Certificate
	shown   *step // what led to the page that is shown
}

// Page is what a browser shows in the end.
type Page struct {
	URL    string // as in the address bar, including the fragment
	Status int
	Body   string
}

// Browser returns a browser without cookies. Its owner is the first person who
// can sign in.
func (s *Server) Browser() *Browser { return &Browser{server: s} }

// BrowserAs returns a browser without cookies, whose owner signs in as person.
// A person whose Sub the server does not know is added to its people.
func (s *Server) BrowserAs(person Person) *Browser {
	s.meet(person)
	return &Browser{server: s, person: &person}
}

// Trust makes the browser trust these certificates besides the server's, such
// as the one of an application that httptest.NewTLSServer serves.
func (b *Browser) Trust(certificates ...*x509.Certificate) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.trusted = append(b.trusted, certificates...)
}

// SignIn opens an authorization URL, or a URL of an application that leads to
// one, signs in if asked, and returns the values that the redirect URI would
// receive: a code, or an error, in any response mode. It does not deliver them.
// Its error is what the server finds wrong with the request.
func (b *Browser) SignIn(ctx context.Context, rawURL string) (url.Values, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	_, callback, err := b.visit(ctx, nil, http.MethodGet, rawURL, nil, false)
	if err == nil && callback == nil {
		err = errors.New("piecesauthtest: the visit ended without a callback")
	}
	return callback, err
}

// Open opens any URL, signs in if asked, delivers the callback to the redirect
// URI by GET or by form POST, follows the application from there, and returns
// the last page, whatever its status. Pass it to code that opens a browser.
func (b *Browser) Open(ctx context.Context, rawURL string) (*Page, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	page, _, err := b.visit(ctx, nil, http.MethodGet, rawURL, nil, true)
	return page, err
}

// Post sends a form from the page that Open or Post ended at, as a button there
// does, and then continues like Open. rawURL may be relative to the page.
func (b *Browser) Post(ctx context.Context, rawURL string, form url.Values) (*Page, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.shown == nil {
		return nil, errors.New("piecesauthtest: no page is open")
	}
	page, _, err := b.visit(ctx, b.shown, http.MethodPost, rawURL, form, true)
	return page, err
}

// visit goes from page to page. Without deliver it ends at the callback.
func (b *Browser) visit(
	ctx context.Context, from *step, method, rawURL string, form url.Values, deliver bool,
) (page *Page, callback url.Values, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("piecesauthtest: %w", err)
		}
	}()
	at, err := b.step(from, method, rawURL, form)
	const most = 20
	for range most {
		if err != nil {
			return nil, nil, err
		}
		if !deliver && at.leavesServer {
			values, err := at.callback()
			return nil, values, err
		}
		response, body, err := b.send(ctx, at) //nolint:bodyclose // send has closed it
		if err != nil {
			return nil, nil, err
		}
		page := &Page{URL: at.url.String(), Status: response.StatusCode, Body: string(body)}
		next, err := b.onward(at, page, response.Header.Get("Location"))
		if err != nil {
			return nil, nil, err
		}
		if next == nil {
			b.shown = at
			return b.end(at, page, deliver)
		}
		at = next
	}
	return nil, nil, fmt.Errorf("no end after %d pages", most)
}

// onward returns where a page leads by itself, or by a form of the server that
// the person fills in, or nil.
func (b *Browser) onward(at *step, page *Page, location string) (*step, error) {
	if location != "" && page.Status/100 == 3 {
		method, form := http.MethodGet, url.Values(nil)
		if page.Status == http.StatusTemporaryRedirect || page.Status == http.StatusPermanentRedirect {
			method, form = at.method, at.form
		}
		next, err := b.step(at, method, location, form)
		if err == nil {
			// The page that began the redirects counts.
			next.typed = at.typed
			next.crossSite = next.crossSite || at.crossSite
		}
		return next, err
	}
	if origin(at.url) != b.server.URL {
		return nil, nil
	}
	action, form := readForm(page.Body)
	switch {
	case strings.Contains(page.Body, `<form id="login"`):
		form.Set("action", "signin")
		if b.Deny {
			form.Set("action", "deny")
		}
		if b.person != nil && b.person.Sub == "" {
			return nil, errors.New("the person has no sub")
		} else if b.person != nil {
			form.Set("person", b.person.Sub)
		}
	case !strings.Contains(page.Body, `<form id="form_post"`):
		return nil, nil
	}
	return b.step(at, http.MethodPost, action, form)
}

// end reads the page that a visit ends at.
func (b *Browser) end(at *step, page *Page, deliver bool) (*Page, url.Values, error) {
	match := webMessage.FindStringSubmatch(page.Body)
	switch {
	case origin(at.url) != b.server.URL:
	case match != nil:
		message := map[string]string{}
		err := json.Unmarshal([]byte(match[1]), &message)
		values := url.Values{}
		for name, value := range message {
			values.Set(name, value)
		}
		return page, values, err
	case !deliver && page.Status >= http.StatusBadRequest:
		problem := strings.TrimSpace(page.Body)
		if match := problemText.FindStringSubmatch(page.Body); match != nil {
			problem = html.UnescapeString(match[1])
		}
		return nil, nil, fmt.Errorf("status %d: %s", page.Status, problem)
	}
	return page, nil, nil
}

// step is one request of a visit.
type step struct {
	method       string
	url          *url.URL
	form         url.Values // of a POST
	typed        bool       // an address that the person opened, or where it redirects to
	crossSite    bool
	leavesServer bool
}

// step leaves from, where there is one, by a link, a redirect or a form.
func (b *Browser) step(from *step, method, rawURL string, form url.Values) (*step, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return nil, errors.New("an address cannot be parsed")
	}
	next := &step{method: method, url: u, form: form, typed: from == nil}
	if from != nil {
		next.url = from.url.ResolveReference(u)
		next.crossSite = origin(from.url) != origin(next.url)
		next.leavesServer = next.crossSite && origin(from.url) == b.server.URL
	}
	return next, nil
}

// fetchSite returns the value of the header Sec-Fetch-Site.
func (next *step) fetchSite() string {
	switch {
	case next.typed:
		return "none"
	case next.crossSite:
		return "cross-site"
	}
	return "same-origin"
}

// callback returns the values that the request brings to a redirect URI.
func (next *step) callback() (url.Values, error) {
	switch {
	case next.form != nil:
		return next.form, nil
	case next.url.Fragment != "":
		return url.ParseQuery(next.url.EscapedFragment())
	}
	return next.url.Query(), nil
}

func origin(u *url.URL) string { return u.Scheme + "://" + u.Host }

// send sends the request, with the headers that a browser would send.
func (b *Browser) send(ctx context.Context, next *step) (*http.Response, []byte, error) {
	request, err := b.request(ctx, next)
	if err != nil {
		return nil, nil, err
	}
	response, err := b.client().Do(request)
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

func (b *Browser) request(ctx context.Context, next *step) (*http.Request, error) {
	var body io.Reader
	if next.method == http.MethodPost {
		body = strings.NewReader(next.form.Encode())
	}
	request, err := http.NewRequestWithContext(ctx, next.method, next.url.String(), body)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Accept", "text/html")
	request.Header.Set("Sec-Fetch-Site", next.fetchSite())
	request.Header.Set("Sec-Fetch-Mode", "navigate")
	request.Header.Set("Sec-Fetch-Dest", "document")
	if next.method == http.MethodPost {
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		request.Header.Set("Origin", "null") // what Chromium says after a redirect from elsewhere
		if !next.crossSite {
			request.Header.Set("Origin", origin(next.url))
		}
	}
	for _, cookie := range b.cookies {
		lax := cookie.SameSite != http.SameSiteNoneMode || !cookie.Secure
		withheld := next.crossSite && (cookie.SameSite == http.SameSiteStrictMode || lax && next.method != http.MethodGet)
		if cookie.Domain == b.domain(next.url) && underPath(next.url.Path, cookie.Path) && !withheld {
			request.AddCookie(&http.Cookie{Name: cookie.Name, Value: cookie.Value, Quoted: cookie.Quoted})
		}
	}
	return request, nil
}

// client follows no redirects, and trusts the certificates that the browser
// trusts.
func (b *Browser) client() *http.Client {
	client := *b.server.Client()
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	if len(b.trusted) == 0 {
		return &client
	}
	roots := x509.NewCertPool()
	for _, certificate := range append(slices.Clone(b.trusted), b.server.Certificate()) {
		if certificate != nil {
			roots.AddCert(certificate)
		}
	}
	client.Transport = &http.Transport{
		TLSClientConfig:   &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		DisableKeepAlives: true, // nobody would close idle connections
	}
	return &client
}

// domain is what distinguishes cookies. Browsers ignore the port; here only the
// server's cookies are kept from an application on the same host.
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
	ended := cookie.MaxAge < 0 || cookie.MaxAge == 0 && !cookie.Expires.IsZero() && !cookie.Expires.After(b.server.settings().Now())
	// A browser drops a SameSite=None cookie that is not Secure.
	if !ended && (cookie.SameSite != http.SameSiteNoneMode || cookie.Secure) {
		b.cookies = append(b.cookies, cookie)
	}
}

// underPath implements RFC 6265 §5.1.4.
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
