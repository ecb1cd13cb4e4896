package form_test

import (
	"net/url"
	"testing"

	"github.com/oapi-codegen/runtime"
	"github.com/stretchr/testify/require"

	"github.com/piecesauth/piecesauth/internal/form"
)

type name string

type sent struct {
	First  name   `json:"first"`
	Second string `json:"second,omitempty"`
	Nested *struct {
		N int `json:"n"`
	} `json:"nested,omitempty"`
}

func TestEncode(t *testing.T) {
	e := form.NewEncoder(sent{})
	nested := sent{First: "a"}
	nested.Nested = &struct {
		N int `json:"n"`
	}{1}
	for want, v := range map[string]sent{
		"":                          {},
		"first=a":                   {First: "a"},
		"first=a+%26&second=%C3%BC": {First: "a &", Second: "ü"},
		"first=a&nested%5Bn%5D=1":   nested,
	} {
		got, err := e.Encode(&v)
		require.NoError(t, err)
		require.Equal(t, want, got)
		values, err := url.ParseQuery(got)
		require.NoError(t, err)
		theirs, err := runtime.MarshalForm(&v, nil)
		require.NoError(t, err)
		for name := range theirs { // which sends some that are empty
			require.Equal(t, theirs.Get(name), values.Get(name))
		}
	}
}
