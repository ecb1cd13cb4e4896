package piecesauth

import (
	"bytes"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestNilPointers prints and logs a nil pointer of every type that prints
// itself, as after a call that failed or that went well.
//
// package fmt prints each as <nil>. slog does so too, but for the types whose
// values have to hide secrets from it: its JSON handler would marshal a value
// whose LogValue has a pointer for its receiver, secrets and all, and LogValue
// of a value can't be called by a nil pointer (Go specification, Method values).
// slog catches that, and logs what it caught.
func TestNilPointers(t *testing.T) {
	types := []reflect.Type{
		reflect.TypeFor[Error](), reflect.TypeFor[Authenticator](), reflect.TypeFor[TokenSource](), reflect.TypeFor[MemoryStore](),
		reflect.TypeFor[Config](), reflect.TypeFor[BeginOptions](), reflect.TypeFor[LogoutResult](),
		reflect.TypeFor[Token](), reflect.TypeFor[Attempt](), reflect.TypeFor[User](),
	}
	for _, v := range secretValues(t) {
		if v != nil && reflect.TypeOf(v).Kind() == reflect.Struct {
			types = append(types, reflect.TypeOf(v))
		}
	}
	caught := map[string]bool{}
	for _, typ := range types {
		t.Run(typ.Name(), func(t *testing.T) {
			null := reflect.Zero(reflect.PointerTo(typ)).Interface()
			for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d"} {
				for _, v := range []any{null, []any{null}, struct{ V any }{null}} {
					text := fmt.Sprintf(verb, v)
					require.NotContains(t, strings.ToLower(text), "panic", verb)
					require.NotEmpty(t, text)
				}
			}
			var text, json bytes.Buffer
			require.NotPanics(t, func() {
				slog.New(slog.NewTextHandler(&text, nil)).Info("done", "v", null)
				slog.New(slog.NewJSONHandler(&json, nil)).Info("done", "v", null)
			})
			require.Equal(t, 1, strings.Count(text.String(), "\n"))
			require.Equal(t, 1, strings.Count(json.String(), "\n"))
			_, hides := reflect.Zero(typ).Interface().(slog.LogValuer)
			for _, log := range []string{text.String(), json.String()} {
				require.Equal(t, hides, strings.Contains(log, "LogValue panicked"), log)
			}
			if !hides {
				require.NotContains(t, text.String()+json.String(), "panic")
			}
			caught[typ.Name()] = hides
			// What SECURITY.md says to log instead.
			text.Reset()
			slog.New(slog.NewTextHandler(&text, nil)).Info("done", "v", fmt.Sprint(null))
			require.NotContains(t, text.String(), "panic")
		})
	}
	for name, want := range map[string]bool{
		"Token": true, "Attempt": true, "User": true, "OAuthToken": true, "TokenizedPKCE": true,
		"Error": false, "TokenSource": false, "MemoryStore": false, "Authenticator": false,
	} {
		require.Equal(t, want, caught[name], name)
	}
}
