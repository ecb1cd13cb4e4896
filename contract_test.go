package piecesauth

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// noOption are the optional parameters of the authorization request that no
// field of BeginOptions is for, and why.
var noOption = map[string]string{
	"state": "made for each attempt",
	"nonce": "made for each attempt",
}

// optionField are the fields of BeginOptions that aren't called as their parameter.
var optionField = map[string]string{"redirect_uri": "RedirectURL"}

// A parameter that the contract gains is a field of BeginOptions, or noOption
// says why it isn't. It is sent when it is set, and only then.
func TestOptionalParameters(t *testing.T) {
	params := reflect.TypeFor[AuthorizeAuth0Params]()
	var optional []string
	for i := range params.NumField() {
		name, omit, _ := strings.Cut(params.Field(i).Tag.Get("json"), ",") // which headers have too
		if omit != "omitempty" {
			continue
		}
		optional = append(optional, name)
		t.Run(name, func(t *testing.T) {
			value := AuthorizeAuth0Params{CodeChallenge: "challenge"}
			unset := parametersSent(t, value)
			require.NotContains(t, unset, name, "sent although it is not set")
			param := reflect.ValueOf(&value).Elem().Field(i)
			if param.Kind() == reflect.Pointer && param.Type().Elem().Kind() == reflect.String {
				param.Set(reflect.New(param.Type().Elem()))
				assert.Equal(t, unset, parametersSent(t, value), "sent although it is empty: omit it in authorizeRequest of operations.go")
			}
			setSample(t, param)
			set := parametersSent(t, value)
			require.Len(t, set[name], 1, "not sent although it is set")
			set.Del(name)
			require.Equal(t, unset, set, "something else is sent along")

			_, err := newAuth(t, LiveBaseURL).Begin(&BeginOptions{Extra: url.Values{name: {"sample"}}})
			require.ErrorContains(t, err, fmt.Sprintf("Extra has %q", name), "add it to ownParameters of signin.go")

			var options BeginOptions
			field := reflect.ValueOf(&options).Elem().FieldByNameFunc(func(field string) bool {
				return field == optionField[name] || strings.EqualFold(field, strings.ReplaceAll(name, "_", ""))
			})
			if noOption[name] != "" {
				require.False(t, field.IsValid(), "in noOption, and a field of BeginOptions")
				return
			}
			require.Truef(t, field.IsValid(), "%s is in the contract: make it a field of BeginOptions, or say in noOption why it is none", name)
			without := parametersBegun(t, options)
			if name != "redirect_uri" { // which every attempt has
				require.NotContains(t, without, name, "sent although the option is not set")
			}
			setSample(t, field)
			with := parametersBegun(t, options)
			require.Len(t, with[name], 1)
			require.NotEqual(t, without[name], with[name], "not sent although the option is set")
		})
	}
	require.NotEmpty(t, optional)
	for name := range noOption {
		assert.Contains(t, optional, name, "in noOption, and not in the contract")
	}
}

// setSample sets a field, or what it points to, to something.
func setSample(t *testing.T, v reflect.Value) {
	t.Helper()
	if v.Kind() == reflect.Pointer {
		v.Set(reflect.New(v.Type().Elem()))
		v = v.Elem()
	}
	switch {
	case v.Kind() == reflect.String:
		v.SetString("http://localhost:9/sample")
	case v.CanInt():
		v.SetInt(7e9)
	case v.Kind() == reflect.Bool:
		v.SetBool(true)
	case v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.String:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		v.Index(0).SetString("sample")
	default:
		require.Failf(t, "no sample", "of %s: add one to setSample", v.Type())
	}
}

type contractTransport func(*http.Request) (*http.Response, error)

func (f contractTransport) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// parametersSent returns what Authorize sends, without a redirect URL in the
// configuration.
func parametersSent(t *testing.T, params AuthorizeAuth0Params) (sent url.Values) {
	t.Helper()
	refuse := contractTransport(func(r *http.Request) (*http.Response, error) {
		sent = r.URL.Query()
		return nil, errors.New("not sent any further")
	})
	a, err := New(Config{ClientID: "client", Audience: "https://api.example", HTTPClient: &http.Client{Transport: refuse}})
	require.NoError(t, err)
	_, err = a.Authorize(t.Context(), params)
	require.Error(t, err)
	require.NotNil(t, sent, err)
	return sent
}

// parametersBegun returns what is in the URL of an attempt.
func parametersBegun(t *testing.T, options BeginOptions) url.Values {
	t.Helper()
	a, err := New(Config{ClientID: "client", Audience: "https://api.example", RedirectURL: "http://localhost:3000/callback"})
	require.NoError(t, err)
	attempt, err := a.Begin(&options)
	require.NoError(t, err)
	u, err := url.Parse(attempt.URL)
	require.NoError(t, err)
	return u.Query()
}
