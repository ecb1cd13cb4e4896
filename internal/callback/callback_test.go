package callback

import (
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestParse(t *testing.T) {
	right := url.Values{"code": {"c"}, "state": {"s"}}
	with := func(name string, values ...string) url.Values {
		v := url.Values{"code": {"c"}, "state": {"s"}}
		v[name] = values
		return v
	}
	for _, tt := range []struct {
		name, raw  string
		want       url.Values
		unreadable string
	}{
		{"nothing", "", url.Values{}, ""},
		{"code and state", "code=c&state=s", right, ""},
		{"escapes", "c%6fde=c&state=%73", right, ""},
		{"a space either way", "code=c&state=s&scope=a+b%20c", with("scope", "a b c"), ""},
		{"a semicolon, as Keycloak and ADFS send", "session_state=a;b&code=c&state=s", with("session_state", "a;b"), ""},
		{"a semicolon at the end", "code=c&state=s&x=;", with("x", ";"), ""},
		{"a percent sign alone", "hd=100%&code=c&state=s", right, ""},
		{"a broken escape in an unknown name", "100%=x&code=c&state=s", right, ""},
		{"a broken escape in a text for people", "error_description=100%&code=c&state=s", with("error_description", "100%"), ""},
		{"a broken escape in error_uri", "error_uri=%u0041&code=c&state=s", with("error_uri", "%u0041"), ""},
		{"an unknown parameter twice", "x=1&x=2&code=c&state=s", with("x", "1", "2"), ""},
		{"a name in capitals is unknown", "CODE=%&code=c&state=s", right, ""},
		{"empty pairs", "&&code=c&&state=s&", right, ""},
		{"a value without a name", "=x&code=c&state=s", right, ""},
		{"no value", "code=c&state=s&error", with("error", ""), ""},
		{"an equals sign in the value", "code=c&state=s&x=a==", with("x", "a=="), ""},
		{"a code twice", "code=c&code=d&state=s", with("code", "c", "d"), ""},
		{"a code many times", "code=c&code=d&code=e&state=s", with("code", "c", "d"), ""},
		{"a broken escape in the code", "code=%zz&state=s", url.Values{"state": {"s"}}, "code"},
		{"in the state", "code=c&state=%z", url.Values{"code": {"c"}}, "state"},
		{"in iss", "code=c&state=s&iss=%", right, "iss"},
		{"in the error", "state=s&error=%", url.Values{"state": {"s"}}, "error"},
	} {
		values, unreadable := Parse(tt.raw)
		assert.Equal(t, tt.want, values, tt.name)
		assert.Equal(t, tt.unreadable, unreadable, tt.name)
	}

	var many strings.Builder
	for i := range 1000 {
		_, _ = fmt.Fprintf(&many, "x%d=1&", i)
	}
	values, unreadable := Parse(many.String() + "code=c&state=s")
	require.Len(t, values, maxUnknown+2)
	require.Equal(t, []string{"c"}, values["code"])
	require.Empty(t, unreadable)
}

func TestRepeated(t *testing.T) {
	for _, name := range known() {
		assert.Equal(t, name, Repeated(url.Values{"code": {"c"}, "state": {"s"}, "x": {"1", "2"}, name: {"a", "a"}}))
	}
	assert.Empty(t, Repeated(url.Values{"code": {"c"}, "state": {"s"}, "x": {"1", "2"}}))
}

// FuzzParse: where net/url reads all of it, so does Parse, and to the same.
func FuzzParse(f *testing.F) {
	for _, raw := range []string{"code=c&state=s", "session_state=a;b&hd=100%", "code=%zz", "&=&", "code=c&code=c&code=c", "x=%zz"} {
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		got, unreadable := Parse(raw)
		want, err := url.ParseQuery(raw)
		if err != nil || strings.Count(raw, "&") > maxUnknown {
			return
		}
		require.Empty(t, unreadable)
		delete(want, "")
		for _, name := range known() {
			if len(want[name]) > 2 {
				want[name] = want[name][:2]
			}
		}
		require.Equal(t, want, got)
	})
}
