package strictjson_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/piecesauth/piecesauth/internal/strictjson"
)

type Embedded struct {
	X int `json:"x"`
}

// TestCallersFields holds which field of a caller's struct a member is for: one
// with a tag takes the very name alone, and neither a field that JSON can't be
// read into nor an embedded struct stands in for it.
func TestCallersFields(t *testing.T) {
	type hidden struct {
		sub string
		S   string `json:"SUB"`
	}
	type embedding struct {
		Embedded

		S string `json:"EMBEDDED"`
	}
	var h hidden
	require.NoError(t, strictjson.UnmarshalCaller([]byte(`{"sub":"a"}`), &h))
	require.Equal(t, hidden{}, h)
	require.NoError(t, strictjson.UnmarshalCaller([]byte(`{"SUB":"a"}`), &h))
	require.Equal(t, hidden{sub: "", S: "a"}, h)
	var e embedding
	require.NoError(t, strictjson.UnmarshalCaller([]byte(`{"Embedded":"a","x":1}`), &e))
	require.Equal(t, embedding{Embedded: Embedded{1}}, e)
}

func TestFieldsAreNamed(t *testing.T) {
	for _, tt := range []struct {
		in, says string
		v        any
	}{
		{`{"Name":{}}`, "an object where Name", &struct{ Name string }{}},
		{`{"userid":5}`, "a number where UserID", &struct{ UserID string }{}},
		{`{"e":{"x":"1"}}`, "a string where e.x", &struct {
			Embedded `json:"e"`
		}{}},
		{`{"x":"1"}`, "a string where x", &struct{ Embedded }{}},
	} {
		require.EqualError(t, strictjson.UnmarshalCaller([]byte(tt.in), tt.v), "the JSON has "+tt.says+" cannot be one")
	}
}

// text reads text alone, and is a struct for that.
type text struct{ s string }

func (t *text) UnmarshalText(b []byte) error { t.s = strings.ToUpper(string(b)); return nil }

func TestUnmarshalLenientLeavesTypesTheirMethods(t *testing.T) {
	var v struct {
		Text text     `json:"text"`
		Meta Embedded `json:"meta"`
		Raw  []byte   `json:"raw"`
	}
	// x is strict as a member of the whole alone, and bytes are read once.
	require.NoError(t, strictjson.UnmarshalLenient([]byte(`{"text":"a","meta":{"x":"5"},"raw":"\"AQ==\""}`), &v, "x"))
	require.Equal(t, text{"A"}, v.Text)
	require.Equal(t, 5, v.Meta.X)
	require.Empty(t, v.Raw)
}
