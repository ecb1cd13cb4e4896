package piecesauthtest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/piecesauth/piecesauth"
)

// Person is somebody who can sign in. Its JSON is one object of claims, such as
// {"sub":"auth0|1","name":"Ada","email":"ada@example.com","email_verified":true}.
type Person struct {
	Sub   string // identifies the person; nobody else has the same
	Name  string
	Email string
	// Claims are all other claims. They may be as odd as those of real servers,
	// and one named sub, name or email is sent instead of the field.
	Claims map[string]any
}

// MarshalJSON returns the claims as one object.
func (p Person) MarshalJSON() ([]byte, error) { return json.Marshal(p.claims()) }

// UnmarshalJSON reads an object of claims. Numbers in Claims are json.Number.
func (p *Person) UnmarshalJSON(data []byte) error {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	var claims map[string]any
	if err := decoder.Decode(&claims); err != nil {
		return err
	}
	*p = personOf(claims)
	return nil
}

// personOf sorts claims into fields; those that are not strings stay in Claims.
func personOf(claims map[string]any) Person {
	p := Person{Claims: maps.Clone(claims)}
	for name, field := range map[string]*string{"sub": &p.Sub, "name": &p.Name, "email": &p.Email} {
		if text, ok := claims[name].(string); ok {
			*field = text
			delete(p.Claims, name)
		}
	}
	if p.Sub == "" && claims["sub"] != nil {
		p.Sub = fmt.Sprint(claims["sub"]) // sent as it is, and told apart by its text
	}
	return p
}

func (p Person) claims() map[string]any {
	all := map[string]any{}
	for name, text := range map[string]string{"sub": p.Sub, "name": p.Name, "email": p.Email} {
		if text != "" {
			all[name] = text
		}
	}
	maps.Copy(all, p.Claims)
	return all
}

// label is the text for the person on the sign-in page.
func (p Person) label() string {
	if p.Name != "" {
		return p.Name
	}
	return p.Sub
}

// people returns all who can sign in, User first.
func (o *Options) people() []Person {
	if o.User == nil {
		return o.People
	}
	user := o.User
	if user["sub"] == nil {
		user = maps.Clone(user)
		user["sub"] = defaultUser()["sub"]
	}
	return slices.Insert(slices.Clone(o.People), 0, personOf(user))
}

// person finds a person by sub; "" finds the first of all.
func (o *Options) person(sub string) (Person, bool) {
	people := o.people()
	i := slices.IndexFunc(people, func(p Person) bool { return sub == "" || p.Sub == sub })
	if i < 0 {
		return Person{}, false
	}
	return people[i], true
}

// meet adds person to the people, unless somebody has that sub.
func (s *Server) meet(person Person) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.options.person(person.Sub); !known && person.Sub != "" {
		s.options.People = append(slices.Clone(s.options.People), person)
	}
}

// covered returns the claims that scopes cover (OpenID Connect Core §5.4): sub
// and namespaced claims always, the address with email, all others with
// profile.
func covered(claims map[string]any, scopes piecesauth.Scopes) map[string]any {
	maps.DeleteFunc(claims, func(name string, _ any) bool {
		switch {
		case name == "sub" || strings.Contains(name, "://"):
			return false
		case name == "email" || name == "email_verified":
			return !scopes.Contains("email")
		}
		return !scopes.Contains("profile")
	})
	return claims
}

func defaultUser() map[string]any {
	const id = "auth0|507f1f77bcf86cd799439011"
	return map[string]any{
		"sub":            id,
		"user_id":        id,
		"name":           "Ada Lovelace",
		"given_name":     "Ada",
		"family_name":    "Lovelace",
		"nickname":       "ada",
		"email":          "ada@example.com",
		"email_verified": true,
		"picture":        "https://example.com/ada.png",
		"updated_at":     "2026-01-02T03:04:05Z",
		"user_metadata":  map[string]any{"global_id": "5a2b1c3d-0e4f-4a6b-8c7d-9e0f1a2b3c4d", "vanityname": "ada"},

		"https://example.com/roles": []string{"tester"},
	}
}
