package piecesauth

import (
	"encoding/json"
	"fmt"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestSecretsOfInput: what the caller gives, or a browser brings, is repeated in
// no error either.
func TestSecretsOfInput(t *testing.T) {
	a, err := New(Config{BaseURL: "https://auth.example", ClientID: "client", RedirectURL: faultRedirect, Audience: "audience"})
	require.NoError(t, err)
	state, code, idToken := planted["state"], planted["code"], planted["ID token"]
	attempt := &Attempt{State: state, Nonce: planted["nonce"], Verifier: planted["verifier"], RedirectURL: faultRedirect}
	complete := func(v url.Values) error {
		_, err := a.Complete(t.Context(), attempt, v)
		return err
	}
	profile, err := json.Marshal(secretUser())
	require.NoError(t, err)
	var user User
	require.NoError(t, json.Unmarshal(profile, &user))
	checked := &Token{AccessToken: "a", IDToken: idToken, checked: idToken}
	for name, fail := range map[string]func() error{
		"state":       func() error { return complete(url.Values{"state": {"x"}, "code": {code}}) },
		"state twice": func() error { return complete(url.Values{"state": {state, state}, "code": {code}}) },
		"code twice":  func() error { return complete(url.Values{"state": {state}, "code": {code, code}}) },
		"error that echoes": func() error {
			return complete(url.Values{"state": {state}, "error": {code + " " + state}, "code": {code}, "error_description": {planted["verifier"] + " " + planted["nonce"]}, "error_uri": {"https://x.example/?" + url.QueryEscape(state)}})
		},
		"pasted":       func() error { _, err := ParseCallback("http://127.0.0.1:3000/%zz?code=" + code); return err },
		"pasted query": func() error { _, err := ParseCallback("http://127.0.0.1:3000/?code=%zz" + code); return err },
		"pasted other": func() error { _, err := ParseCallback("http://127.0.0.1:3000/?cod=" + code); return err },
		"base URL": func() error {
			_, err := New(Config{ClientID: "c", BaseURL: "https://user:" + planted["api_key"] + "@auth.example"})
			return err
		},
		"base URL malformed": func() error {
			_, err := New(Config{ClientID: "c", BaseURL: "https://%zz" + planted["api_key"]})
			return err
		},
		"redirect URL": func() error {
			_, err := New(Config{ClientID: "c", RedirectURL: "http://x.example/?k=" + planted["api_key"]})
			return err
		},
		"issuer": func() error {
			_, err := New(Config{ClientID: "c", Issuer: "https://x.example/?k=" + planted["api_key"]})
			return err
		},
		"extra":       func() error { _, err := a.Begin(&BeginOptions{Extra: url.Values{"state": {state}}}); return err },
		"extra twice": func() error { _, err := a.Begin(&BeginOptions{Extra: url.Values{"x": {state, state}}}); return err },
		"exchange": func() error {
			_, err := a.Exchange(t.Context(), TokenizedPKCE{Code: code, RefreshToken: planted["refresh token"]})
			return err
		},
		"grant type": func() error {
			_, err := a.Exchange(t.Context(), TokenizedPKCE{GrantType: GrantType(planted["refresh token"])})
			return err
		},
		"refresh": func() error {
			_, err := a.Refresh(t.Context(), &Token{RefreshToken: planted["refresh token"], IDToken: code})
			return err
		},
		"user": func() error {
			_, err := a.UserInfo(t.Context(), &Token{AccessToken: planted["access token"], IDToken: code + ".."})
			return err
		},
		"verify": func() error {
			_, err := a.Verify(t.Context(), &Token{AccessToken: "a", IDToken: code + ".x.y"})
			return err
		},
		"verify claims": func() error {
			_, err := a.Verify(t.Context(), &Token{AccessToken: "a", IDToken: rawJWT(`{"alg":"RS256"}`, `{"iss":{"`+code+`":1}}`)})
			return err
		},
		"verify audience": func() error {
			_, err := a.Verify(t.Context(), &Token{AccessToken: "a", IDToken: rawJWT(`{"alg":"RS256"}`, `{"iss":"`+code+`","sub":"`+code+`","aud":["client","`+code+`"]}`)})
			return err
		},
		"not verified":       func() error { return (&Token{IDToken: idToken}).Claims(new(any)) },
		"claims' type":       func() error { return checked.Claims(&struct{ Nonce int }{}) },
		"claims as a time":   func() error { return checked.Claims(&struct{ Nonce time.Time }{}) },
		"claims as a number": func() error { return checked.Claims(&struct{ Nonce json.Number }{}) },
		"claims as a string's number": func() error {
			return checked.Claims(&struct {
				Nonce int `json:"nonce,string"`
			}{})
		},
		"claims by a method": func() error { return checked.Claims(&struct{ Nonce picky }{}) },
		"profile's type": func() error {
			return user.Claims(&struct {
				Identities []struct {
					AccessToken time.Time `json:"access_token"`
				}
			}{})
		},
		"profile read": func() error {
			return json.Unmarshal([]byte(`{"sub":{"`+code+`":1},"identities":[{"access_token":{"`+code+`":1}}]}`), new(User))
		},
		"expiry read": func() error {
			return json.Unmarshal([]byte(`{"access_token":7,"refresh_token":"`+code+`"}`), new(Token))
		},
	} {
		t.Run(name, func(t *testing.T) {
			err := fail()
			require.Error(t, err)
			requireCleanChain(t, err)
		})
	}
}

// picky is a type of the caller's whose error repeats what it was given.
type picky string

func (p *picky) UnmarshalJSON(b []byte) error { return fmt.Errorf("can't take %s", b) }
