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
)

// session is the session of one browser that has signed in.
type session struct {
	sub      string
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
	if code, problem := checkAuthorization(params, h.settings()); code != "" {
		to.fail(w, r, code, problem)
		return
	}
	var who *session
	switch {
	case r.Method == http.MethodPost:
		who = h.login(w, r, to)
	case r.URL.Path == "/login":
		h.showLogin(w, r)
	default:
		who = h.signedIn(w, r, params, to)
	}
	if who != nil { // else there was an answer
		to.deliver(w, r, url.Values{"code": {h.newCode(who, params)}})
	}
}

// checkAuthorization returns what is wrong with a request whose answer can be
// delivered.
func checkAuthorization(params piecesauth.AuthorizeAuth0Params, o *Options) (code, problem string) {
	challenge, err := base64.RawURLEncoding.DecodeString(params.CodeChallenge)
	prompts := strings.Fields(value(params.Prompt))
	code = "invalid_request"
	switch {
	case params.ResponseType != piecesauth.ResponseTypeCode:
		return "unsupported_response_type", "response_type has to be code"
	case !slices.Contains(responseModes, params.ResponseMode):
		return code, "response_mode is none of form_post, fragment, query and web_message"
	case params.CodeChallengeMethod != piecesauth.CodeChallengeMethodS256:
		return code, "code_challenge_method has to be S256 (RFC 7636 §4.2)"
	case err != nil || len(challenge) != 32:
		return code, "code_challenge is not the base64url form of a SHA-256 (RFC 7636 §4.2)"
	case len(params.Scope) == 0:
		return code, "scope is empty"
	case slices.Contains(prompts, "none") && len(prompts) > 1:
		return code, "prompt none goes with no other (OpenID Connect Core §3.1.2.1)"
	case params.MaxAge != nil && *params.MaxAge < 0:
		return code, "max_age is negative"
	case o.StrictAudience && params.Audience != o.Audience:
		return "access_denied", "Service not found: " + params.Audience
	}
	return "", ""
}

// signedIn returns the session of a browser that needs no page. Otherwise it
// redirects to the page, or back without a code.
func (h *handler) signedIn(w http.ResponseWriter, r *http.Request, params piecesauth.AuthorizeAuth0Params, to *receiver) *session {
	o := h.settings()
	who := h.session(r)
	if who != nil {
		if _, known := o.person(who.sub); !known {
			who = nil
		}
	}
	prompts := strings.Fields(value(params.Prompt))
	silent := slices.Contains(prompts, "none")
	asks := len(prompts) > 0 && !silent // login, consent, select_account: a page in any case
	tooOld := who != nil && params.MaxAge != nil &&
		o.now().Sub(who.authTime) >= time.Duration(*params.MaxAge)*time.Second
	switch {
	case who != nil && !asks && !tooOld:
		return who
	case silent:
		to.fail(w, r, "login_required", "Login required")
	default:
		// Our state and all travels in the query, as at real servers.
		w.Header().Set("Location", "/login?"+r.URL.RawQuery)
		w.WriteHeader(http.StatusFound)
	}
	return nil
}

// showLogin answers with the sign-in page.
func (h *handler) showLogin(w http.ResponseWriter, r *http.Request) {
	type choice struct{ Sub, Label string }
	var choices []choice
	for _, person := range h.settings().people() {
		choices = append(choices, choice{person.Sub, person.label()})
	}
	render(w, http.StatusOK, loginPage, struct {
		Action string
		People []choice
	}{"/login?" + r.URL.RawQuery, choices})
}

// login reads the form of the sign-in page, and starts a session unless the
// person refuses.
func (h *handler) login(w http.ResponseWriter, r *http.Request, to *receiver) *session {
	o := h.settings()
	person, known := o.person(r.PostForm.Get("person"))
	switch action := r.PostForm.Get("action"); {
	case action == "deny":
		to.fail(w, r, "access_denied", "The person refused.")
		return nil
	case action != "signin":
		errorPage(w, "action is neither signin nor deny")
		return nil
	case !known:
		errorPage(w, "person is unknown")
		return nil
	}
	started := &session{sub: person.Sub, authTime: o.now()}
	id := random()
	h.mu.Lock()
	h.sessions[id] = started
	h.mu.Unlock()
	h.setCookie(w, id, 0)
	return started
}

// newCode makes a code for what the person grants, and starts a family.
func (h *handler) newCode(who *session, params piecesauth.AuthorizeAuth0Params) string {
	o := h.settings()
	text := random()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.codes[text] = &code{
		family:      h.newFamily(who.sub, params.Scope, who.authTime),
		nonce:       value(params.Nonce),
		challenge:   params.CodeChallenge,
		redirectURI: value(params.RedirectURI),
		expires:     o.now().Add(o.CodeLifetime),
	}
	return text
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

func (h *handler) setCookie(w http.ResponseWriter, id string, maxAge int) {
	http.SetCookie(w, &http.Cookie{
		Name: sessionCookie, Value: id, Path: "/", MaxAge: maxAge,
		HttpOnly: true, SameSite: http.SameSiteLaxMode, Secure: h.Certificate() != nil,
	})
}

// Auth0Logout ends the session.
func (h *handler) Auth0Logout(w http.ResponseWriter, r *http.Request, params piecesauth.Auth0LogoutParams) {
	returnTo := value(params.ReturnTo)
	switch {
	case params.ClientID != nil && *params.ClientID != h.ClientID:
		errorPage(w, "client_id is unknown")
		return
	case returnTo != "" && !slices.ContainsFunc(h.settings().ReturnToURLs, func(allowed string) bool {
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

// withoutPort removes the port from a URL on loopback, and returns "" for any
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

// receiver is where the result of a sign-in is sent.
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

// receiver checks the client and the redirect URI. Unless both are valid,
// nothing may be sent there (RFC 6749 §4.1.2.1).
func (s *Server) receiver(r *http.Request) (*receiver, error) {
	o := s.settings()
	query := r.URL.Query()
	if id := query.Get("client_id"); id != s.ClientID {
		return nil, errors.New("client_id is missing or unknown")
	}
	uri := query.Get("redirect_uri")
	if uri == "" && len(o.RedirectURLs) > 0 {
		uri = o.RedirectURLs[0]
	}
	u, err := url.Parse(uri)
	switch {
	case err != nil || u.Scheme == "" || strings.Contains(uri, "#"):
		return nil, errors.New("redirect_uri is missing, or not an absolute URL without a fragment")
	case slices.Contains(o.RedirectURLs, uri):
	case o.StrictRedirects || !loopback(u):
		return nil, errors.New("redirect_uri is not registered")
	}
	to := &receiver{s, uri, piecesauth.ResponseMode(query.Get("response_mode")), query["state"]}
	if !slices.Contains(responseModes, to.mode) {
		to.mode = piecesauth.ResponseModeQuery
	}
	return to, nil
}

// refuseAuthorization answers with an error, at the redirect URI if that is
// valid.
func (h *handler) refuseAuthorization(w http.ResponseWriter, r *http.Request, code, problem string) {
	to, err := h.receiver(r)
	if err != nil {
		errorPage(w, err.Error())
		return
	}
	to.fail(w, r, code, problem)
}

// fail delivers an error.
func (to *receiver) fail(w http.ResponseWriter, r *http.Request, code, problem string) {
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
			status = s.settings().FormPostErrorStatus
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

func value(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
