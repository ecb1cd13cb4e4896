package piecesauthtest

import (
	"encoding/json"
	"net/http"
	"strings"
)

// GetAuth0UserInfo answers with the claims that the scopes of the access token
// cover.
func (h *handler) GetAuth0UserInfo(w http.ResponseWriter, r *http.Request) {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	switch {
	case scheme == "":
		challenge(w, http.StatusUnauthorized, "", "")
		return
	case !strings.EqualFold(scheme, "Bearer") || token == "":
		challenge(w, http.StatusUnauthorized, "invalid_request", "The Authorization header has to be Bearer and the access token.")
		return
	}
	o := h.settings()
	now := o.now()
	h.mu.Lock()
	t := h.accessTokens[token]
	good := t != nil && !t.Revoked && t.number > t.ended && now.Before(t.expires)
	h.mu.Unlock()
	if !good {
		challenge(w, http.StatusUnauthorized, "invalid_token", "The access token is unknown, expired or revoked.")
		return
	}
	person, known := o.person(t.Sub)
	switch {
	case !known:
		challenge(w, http.StatusUnauthorized, "invalid_token", "The person is no longer known.")
	case !t.Scopes.Contains("openid"):
		challenge(w, http.StatusForbidden, "insufficient_scope", "The scope openid was not granted.")
	default:
		writeJSON(w, http.StatusOK, covered(person.claims(), t.Scopes))
	}
}

// challenge answers as RFC 6750 §3 requires: without a code if no token was
// sent.
func challenge(w http.ResponseWriter, status int, code, description string) {
	if code == "" {
		w.Header().Set("WWW-Authenticate", `Bearer realm="piecesauthtest"`)
		writeJSON(w, status, struct{}{})
		return
	}
	w.Header().Set("WWW-Authenticate", `Bearer realm="piecesauthtest", error="`+code+`", error_description="`+description+`"`)
	oauthError(w, status, code, description)
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil { // claims of a person
		http.Error(w, "piecesauthtest: "+err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if w.Header().Get("Cache-Control") == "" {
		w.Header().Set("Cache-Control", "no-store")
	}
	w.WriteHeader(status)
	_, _ = w.Write(body)
}
