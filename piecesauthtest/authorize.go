package piecesauthtest

import (
	"encoding/base64"
	"errors"
	"html/template"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/piecesauth/piecesauth"
	"github.com/piecesauth/piecesauth/piecesauthtest/internal/routes"
)

// handler answers the operations. ServerInterface stands for operations that
// the document may gain; the router lets no request through to it.
type handler struct {
	*Server
	routes.ServerInterface
}

// session is one browser's, signed in.
type session struct {
	user     map[string]any
	authTime time.Time
}

const sessionCookie = "piecesauthtest"

// AuthorizeAuth0 answers /authorize and, with the same query, the sign-in page.
func (h *handler) AuthorizeAuth0(w http.ResponseWriter, r *http.Request, params piecesauth.AuthorizeAuth0Params) {
	to, err := h.receiver(r)
	if err != nil {
		errorPage(w, err.Error())
		return
	}
	// The generated code splits the value at commas, which a scope may contain.
	_ = params.Scope.UnmarshalText([]byte(r.URL.Query().Get("scope")))
	challenge, err := base64.RawURLEncoding.DecodeString(params.CodeChallenge)
	prompts := strings.Fields(value(params.Prompt))
	silent := slices.Contains(prompts, "none")
	problem := ""
	switch {
	case params.ResponseType != piecesauth.ResponseTypeCode:
		to.deliver(w, r, url.Values{"error": {"unsupported_response_type"}, "error_description": {"response_type has to be code"}})
		return
	case !slices.Contains(responseModes, params.ResponseMode):
		problem = "response_mode is none of form_post, fragment, query and web_message"
	case params.CodeChallengeMethod != piecesauth.CodeChallengeMethodS256:
		problem = "code_challenge_method has to be S256 (RFC 7636 §4.2)"
	case err != nil || len(challenge) != 32:
		problem = "code_challenge is not the base64url form of a SHA-256 (RFC 7636 §4.2)"
	case len(params.Scope) == 0:
		problem = "scope is empty"
	case silent && len(prompts) > 1:
		problem = "prompt none goes with no other (OpenID Connect Core §3.1.2.1)"
	case params.MaxAge != nil && *params.MaxAge < 0:
		problem = "max_age is negative"
	}
	if problem != "" {
		to.deliver(w, r, url.Values{"error": {"invalid_request"}, "error_description": {problem}})
		return
	}

	who := h.session(r)
	switch {
	case r.Method == http.MethodPost && r.PostForm.Get("action") == "deny":
		to.deliver(w, r, url.Values{"error": {"access_denied"}, "error_description": {"The person refused."}})
		return
	case r.Method == http.MethodPost && r.PostForm.Get("action") == "signin":
		who = h.startSession(w)
	case r.Method == http.MethodPost:
		errorPage(w, "action is neither signin nor deny")
		return
	case r.URL.Path == "/login":
		render(w, http.StatusOK, loginPage, struct {
			Action string
			User   map[string]any
		}{"/login?" + r.URL.RawQuery, h.options.User})
		return
	case who == nil,
		len(prompts) > 0 && !silent, // login, consent, select_account: a page in any case
		params.MaxAge != nil && h.options.Now().Sub(who.authTime) >= time.Duration(*params.MaxAge)*time.Second:
		if silent {
			to.deliver(w, r, url.Values{"error": {"login_required"}, "error_description": {"Login required"}})
			return
		}
		// Our state and all travels in the query, as at real servers.
		w.Header().Set("Location", "/login?"+r.URL.RawQuery)
		w.WriteHeader(http.StatusFound)
		return
	}

	c := &code{
		grant:       &grant{user: who.user, scopes: params.Scope, authTime: who.authTime},
		nonce:       value(params.Nonce),
		challenge:   params.CodeChallenge,
		redirectURI: value(params.RedirectURI),
		expires:     h.options.Now().Add(h.options.CodeLifetime),
	}
	text := random()
	h.mu.Lock()
	h.codes[text] = c
	h.mu.Unlock()
	to.deliver(w, r, url.Values{"code": {text}})
}

func (h *handler) session(r *http.Request) *session {
	cookie, err := r.Cookie(sessionCookie)
	if err != nil {
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.sessions[cookie.Value]
}

func (h *handler) startSession(w http.ResponseWriter) *session {
	started := &session{user: h.options.User, authTime: h.options.Now()}
	id := random()
	h.mu.Lock()
	h.sessions[id] = started
	h.mu.Unlock()
	h.setCookie(w, id, 0)
	return started
}

func (h *handler) setCookie(w http.ResponseWriter, id string, maxAge int) {
	http.SetCookie(w, &http.Cookie{
		Name: sessionCookie, Value: id, Path: "/", MaxAge: maxAge,
		HttpOnly: true, SameSite: http.SameSiteLaxMode, Secure: h.options.TLS,
	})
}

// Auth0Logout ends the session.
func (h *handler) Auth0Logout(w http.ResponseWriter, r *http.Request, params piecesauth.Auth0LogoutParams) {
	returnTo := value(params.ReturnTo)
	switch {
	case params.ClientID != nil && *params.ClientID != h.ClientID:
		errorPage(w, "client_id is unknown")
		return
	case returnTo != "" && !slices.ContainsFunc(h.options.ReturnToURLs, func(allowed string) bool {
		return allowed == returnTo || allowed == withoutPort(returnTo)
	}):
		errorPage(w, "returnTo is not registered")
		return
	}
	if cookie, err := r.Cookie(sessionCookie); err == nil {
		h.mu.Lock()
		delete(h.sessions, cookie.Value)
		h.mu.Unlock()
		h.setCookie(w, "", -1)
	}
	if returnTo != "" {
		w.Header().Set("Location", returnTo)
		w.WriteHeader(http.StatusFound)
		return
	}
	render(w, http.StatusOK, logoutPage, nil)
}

// withoutPort takes the port off a URL on loopback, and gives "" for any
// other.
func withoutPort(raw string) string {
	u, err := url.Parse(raw)
	if err != nil || !loopback(u) {
		return ""
	}
	u.Host = strings.TrimSuffix(u.Host, ":"+u.Port())
	return u.String()
}

func loopback(u *url.URL) bool {
	ip := net.ParseIP(u.Hostname())
	web := u.Scheme == "http" || u.Scheme == "https"
	return web && (u.Hostname() == "localhost" || ip.String() == "127.0.0.1" || ip.String() == "::1")
}

// receiver is where the outcome of a sign-in goes.
type receiver struct {
	server      *Server
	redirectURI string
	mode        piecesauth.ResponseMode
	state       []string
}

var responseModes = []piecesauth.ResponseMode{
	piecesauth.ResponseModeFormPost, piecesauth.ResponseModeFragment,
	piecesauth.ResponseModeQuery, piecesauth.ResponseModeWebMessage,
}

// receiver checks who asks, and where the answer would go. Without both in
// order nothing may be sent there (RFC 6749 §4.1.2.1).
func (s *Server) receiver(r *http.Request) (*receiver, error) {
	query := r.URL.Query()
	if id := query.Get("client_id"); id != s.ClientID {
		return nil, errors.New("client_id is missing or unknown")
	}
	uri := query.Get("redirect_uri")
	if uri == "" && len(s.options.RedirectURLs) > 0 {
		uri = s.options.RedirectURLs[0]
	}
	u, err := url.Parse(uri)
	switch {
	case err != nil || u.Scheme == "" || strings.Contains(uri, "#"):
		return nil, errors.New("redirect_uri is missing, or not an absolute URL without a fragment")
	case !loopback(u) && !slices.Contains(s.options.RedirectURLs, uri):
		return nil, errors.New("redirect_uri is not registered")
	}
	to := &receiver{s, uri, piecesauth.ResponseMode(query.Get("response_mode")), query["state"]}
	if !slices.Contains(responseModes, to.mode) {
		to.mode = piecesauth.ResponseModeQuery
	}
	return to, nil
}

// refuseAuthorization answers with an error, at the redirect URI if there is a
// good one.
func (h *handler) refuseAuthorization(w http.ResponseWriter, r *http.Request, code, problem string) {
	to, err := h.receiver(r)
	if err != nil {
		errorPage(w, err.Error())
		return
	}
	to.deliver(w, r, url.Values{"error": {code}, "error_description": {problem}})
}

// deliver sends values, state and iss to the redirect URI.
func (to *receiver) deliver(w http.ResponseWriter, r *http.Request, values url.Values) {
	s := to.server
	values.Set("iss", s.Issuer)
	if to.state != nil {
		values["state"] = to.state
	}
	failed := values.Has("error")
	if edit := pop(s, &s.bendCallback); edit != nil {
		edit(values)
	}
	status := http.StatusFound
	if r.Method == http.MethodPost {
		status = http.StatusSeeOther // the browser goes on with a GET
	}
	w.Header().Set("Cache-Control", "no-store")
	switch to.mode {
	case piecesauth.ResponseModeFormPost:
		status = http.StatusOK
		if failed {
			status = s.options.FormPostErrorStatus
		}
		render(w, status, formPostPage, struct {
			Action template.URL // a registered address, custom schemes included
			Values url.Values
		}{template.URL(to.redirectURI), values}) //nolint:gosec // checked by receiver
	case piecesauth.ResponseModeWebMessage:
		response := map[string]string{}
		for name := range values {
			response[name] = values.Get(name)
		}
		u, _ := url.Parse(to.redirectURI) // parsed before
		render(w, http.StatusOK, webMessagePage, struct {
			Origin   string
			Response map[string]string
		}{u.Scheme + "://" + u.Host, response})
	case piecesauth.ResponseModeFragment:
		w.Header().Set("Location", to.redirectURI+"#"+values.Encode())
		w.WriteHeader(status)
	default:
		separator := "?"
		if strings.Contains(to.redirectURI, "?") {
			separator = "&"
		}
		w.Header().Set("Location", to.redirectURI+separator+values.Encode())
		w.WriteHeader(status)
	}
}

// pop takes the first of a queue that the server's lock guards.
func pop[T any](s *Server, queue *[]T) (first T) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(*queue) > 0 {
		first, *queue = (*queue)[0], (*queue)[1:]
	}
	return first
}

func value(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
