package strictjson_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/piecesauth/piecesauth/internal/strictjson"
)

const secret = "s3cr3t-planted"

var errPlain = errors.New("plain " + secret)

const errFixed = strictjson.FixedError("the JSON has a moment that is no moment")

// moment is a type that reads JSON itself, and may quote it in its errors.
type moment struct{ time.Time }

func (m *moment) UnmarshalJSON(b []byte) error {
	if string(b) == `"plain"` {
		return errPlain
	}
	if json.Unmarshal(b, &m.Time) != nil {
		return errFixed
	}
	return nil
}

type level string

type identity struct {
	Provider string `json:"provider"`
	UserID   string `json:"user_id,omitempty"`
	Social   bool   `json:"isSocial"`
}

type profile struct {
	Sub        string         `json:"sub"`
	Name       string         `json:"name"`
	Verified   bool           `json:"email_verified"`
	Logins     int            `json:"logins_count"`
	Share      *float64       `json:"share"`
	Updated    moment         `json:"updated_at,omitzero"`
	Identities []identity     `json:"identities"`
	Blocked    []string       `json:"blocked_for"`
	Counts     map[string]int `json:"counts"`
	Level      level          `json:"level"`
	Meta       *identity      `json:"user_metadata"`
	Any        any            `json:"any"`
	Raw        []byte         `json:"raw"`
}

func TestUnmarshal(t *testing.T) {
	for in, says := range map[string]string{
		`{"sub":"a","name":null}`:                  "",
		"\xef\xbb\xbf \n{\"sub\":\"a\"}":           "",
		`{"sub":"a","SUB":"b"}`:                    "",
		`{"sub":"a","unknown":{"x":[1]}}`:          "",
		`{"sub":"a","identities":[{}]}`:            "",
		``:                                         "the answer is not a JSON object",
		`null`:                                     "the answer is not a JSON object",
		` ["` + secret + `"]`:                      "the answer is not a JSON object",
		`{"sub":"a","sub":"` + secret + `"}`:       "the JSON has a name twice",
		`{"` + secret + `":1,"` + secret + `":1}`:  "the JSON has a name twice",
		`{"x":{"a":1,"a":2}}`:                      "the JSON has a name twice",
		`{"sub":"a","name":"` + secret + "\xff\"}": "the answer is not UTF-8",
		`{"sub":"a"`:                               "the JSON is malformed",
		`{"sub":"a"} {}`:                           "the JSON is malformed",
		`{"sub":"a",}`:                             "the JSON is malformed",
		`{"sub":` + secret + `}`:                   "the JSON is malformed",
		`{"sub":"\u0000` + secret + "\x00\"}":      "the JSON is malformed",
		`{"sub":1234567}`:                          "the JSON has a number where sub cannot be one",
		`{"logins_count":"` + secret + `"}`:        "the JSON has a string where logins_count cannot be one",
		`{"logins_count":1.5}`:                     "the JSON has a number where logins_count cannot be one",
		`{"email_verified":"true"}`:                "the JSON has a string where email_verified cannot be one",
		`{"identities":[{"user_id":1234567}]}`:     "the JSON has a number where identities.user_id cannot be one",
		`{"counts":{"` + secret + `":true}}`:       "the JSON has a bool where counts cannot be one",
		`{"user_metadata":[]}`:                     "the JSON has an array where user_metadata cannot be one",
		`{"name":{"` + secret + `":1}}`:            "the JSON has an object where name cannot be one",
		`{"raw":"` + secret + `!"}`:                "the JSON has a string where raw cannot be one",
		`{"updated_at":"` + secret + `"}`:          errFixed.Error(),
		`{"updated_at":"plain"}`:                   "the JSON has a value that cannot be read",
	} {
		t.Run(in, func(t *testing.T) {
			var p profile
			err := strictjson.Unmarshal([]byte(in), &p)
			if says == "" {
				require.NoError(t, err)
				require.Equal(t, "a", p.Sub)
				return
			}
			require.EqualError(t, err, says)
			for _, verb := range []string{"%v", "%+v", "%#v", "%q", "%s"} {
				require.NotContains(t, fmt.Sprintf(verb, err), secret)
			}
		})
	}
	err := strictjson.Unmarshal([]byte(`{"updated_at":"x"}`), new(profile))
	require.ErrorIs(t, err, errFixed)
	err = strictjson.Unmarshal([]byte(`{"updated_at":"plain"}`), new(profile))
	require.ErrorIs(t, err, errPlain)
	require.EqualError(t, strictjson.Unmarshal([]byte(`{}`), profile{}), "the JSON cannot be read into the value")
}

func TestTooLarge(t *testing.T) {
	for commas, want := range map[int]error{10_000: nil, 10_001: strictjson.ErrTooLarge} {
		in := []byte(`{"any":[0` + strings.Repeat(",0", commas) + `]}`)
		require.ErrorIs(t, strictjson.Unmarshal(in, new(profile)), want)
		require.ErrorIs(t, strictjson.UnmarshalLenient(in, new(profile)), want)
		require.ErrorIs(t, strictjson.UnmarshalCaller(in, new(profile)), want)
	}
}

func TestUnmarshalLenient(t *testing.T) {
	share := 0.5
	for in, want := range map[string]profile{
		`{"sub":"a"}`: {Sub: "a"},
		`{"sub":"a","identities":[{"user_id":1234567}]}`:                                      {Sub: "a", Identities: []identity{{UserID: "1234567"}}},
		`{"name":12345678901234567890.50,"sub":"a"}`:                                          {Sub: "a", Name: "12345678901234567890.50"},
		`{"email_verified":"true","sub":"a"}`:                                                 {Sub: "a", Verified: true},
		`{"email_verified":1,"sub":"a"}`:                                                      {Sub: "a"},
		`{"email_verified":"yes","sub":"a"}`:                                                  {Sub: "a"},
		`{"logins_count":"12","share":"0.5","sub":"a"}`:                                       {Sub: "a", Logins: 12, Share: &share},
		`{"logins_count":"null","share":"x","sub":"a"}`:                                       {Sub: "a"},
		`{"logins_count":"","sub":"a"}`:                                                       {Sub: "a"},
		`{"logins_count":1e99,"sub":"a"}`:                                                     {Sub: "a"},
		`{"name":{"x":"y"},"level":true,"sub":"a"}`:                                           {Sub: "a"},
		`{"level":3,"sub":"a"}`:                                                               {Sub: "a", Level: "3"},
		`{"user_metadata":[],"sub":"a"}`:                                                      {Sub: "a"},
		`{"user_metadata":{"provider":"p","user_id":[]},"sub":"a"}`:                           {Sub: "a", Meta: &identity{Provider: "p"}},
		`{"updated_at":"yesterday","sub":"a"}`:                                                {Sub: "a"},
		`{"updated_at":"plain","sub":"a","any":{"x":[1,"2",null]}}`:                           {Sub: "a", Any: map[string]any{"x": []any{1.0, "2", nil}}},
		`{"identities":{},"sub":"a"}`:                                                         {Sub: "a"},
		`{"identities":[1,{"provider":"p","isSocial":"false"},"x",null],"sub":"a"}`:           {Sub: "a", Identities: []identity{{Provider: "p"}, {}}},
		`{"blocked_for":["1.2.3.4",5,{},["x"],null],"sub":"a"}`:                               {Sub: "a", Blocked: []string{"1.2.3.4", "5", ""}},
		`{"counts":{"a":1,"b":"2","c":"x","d":{}},"sub":"a"}`:                                 {Sub: "a", Counts: map[string]int{"a": 1, "b": 2}},
		`{"raw":7,"SUB":"b","sub":"a"}`:                                                       {Sub: "a"},
		`{"logins_count":7,"blocked_for":["x"],"raw":"AQ==","name":false,"sub":"a"}`:          {Sub: "a", Logins: 7, Blocked: []string{"x"}, Raw: []byte{1}},
		"\xef\xbb\xbf" + `{"share":null,"counts":null,"identities":null,"name":[],"sub":"a"}`: {Sub: "a"},
	} {
		t.Run(in, func(t *testing.T) {
			var p profile
			require.NoError(t, strictjson.UnmarshalLenient([]byte(in), &p, "sub"))
			require.Equal(t, want, p)
		})
	}
}

func TestUnmarshalLenientRefuses(t *testing.T) {
	for in, says := range map[string]string{
		`{"name":1,"sub":1234567}`:                             "the JSON has a number where sub cannot be one",
		`{"sub":["` + secret + `"]}`:                           "the JSON has an array where sub cannot be one",
		`{"sub":"a","name":1,"name":"x"}`:                      "the JSON has a name twice",
		`{"sub":"a","name":{"x":1,"x":2}}`:                     "the JSON has a name twice",
		`{"sub":"a","counts":{"x":"a","x":2}}`:                 "the JSON has a name twice",
		`{"sub":"a","identities":[{"user_id":1,"user_id":2}]}`: "the JSON has a name twice",
		`{"sub":"a","name":1,"x":"` + "\xff" + `"}`:            "the answer is not UTF-8",
		`{"sub":"a","name":1`:                                  "the JSON is malformed",
		`{"sub":"a","blocked_for":[{},`:                        "the JSON is malformed",
		`{"sub":"a","counts":{"x":"y",`:                        "the JSON is malformed",
		`{"sub":"a","name":1}x`:                                "the JSON is malformed",
		`[]`:                                                   "the answer is not a JSON object",
	} {
		p := profile{}
		err := strictjson.UnmarshalLenient([]byte(in), &p, "sub")
		require.EqualError(t, err, says, in)
	}
	// A strict member is strict at any depth.
	err := strictjson.UnmarshalLenient([]byte(`{"identities":[{"user_id":1}]}`), new(profile), "identities")
	require.EqualError(t, err, "the JSON has a number where identities.user_id cannot be one")
	require.Error(t, strictjson.UnmarshalLenient([]byte(`{}`), profile{}))
	require.Error(t, strictjson.UnmarshalLenient([]byte(`{}`), (*profile)(nil)))
}

func TestUnmarshalCaller(t *testing.T) {
	type tagged struct {
		Sub string `json:"sub"`
	}
	type untagged struct{ Sub, UserID string }
	type nested struct {
		tagged
		In   struct{ A tagged }
		List []tagged
		Map  map[string]*tagged
	}
	for _, tt := range []struct {
		in   string
		v    any
		want any // nil: refused
	}{
		{`{"sub":"auth0|2"}`, &tagged{}, &tagged{"auth0|2"}},
		{`{"SUB":"auth0|1"}`, &tagged{}, &tagged{}},
		{`{"sub":"auth0|2","Sub":{}}`, &tagged{}, nil},
		{`{"sub":"auth0|2","sub":"auth0|1"}`, &tagged{}, nil},
		{`{"sub":"a","userid":"b"}`, &untagged{}, &untagged{"a", "b"}},
		{`{"sub":"a","Sub":"b"}`, &untagged{}, nil},
		{`{"sub":"a","SUB":"b"}`, &untagged{}, nil},
		{`{"SUB":"a","in":{"A":{"Sub":"x"}},"LIST":[{"sub":"1"},{"SUB":"2"}],"map":{"sub":{"sub":"3"},"SUB":{"Sub":"4"}}}`, &nested{},
			&nested{List: []tagged{{"1"}, {}}, Map: map[string]*tagged{"sub": {"3"}, "SUB": {}}}},
		{`{"sub":"a","n":1}`, new(any), any(map[string]any{"sub": "a", "n": 1.0})},
		{`{"sub":"a"}`, &map[string]any{}, map[string]any{"sub": "a"}},
		{`{"d":60,"when":"2026-01-02T03:04:05Z","n":12,"s":"5","a":[1,2],"m":"2026-01-02T03:04:05Z"}`, &struct {
			D    time.Duration
			When time.Time
			N    json.Number
			S    int `json:"s,string"`
			A    [1]int
			M    moment
			Raw  json.RawMessage
		}{}, nil},
		{`{"n":"` + secret + `"}`, &struct{ N json.Number }{}, nil},
		{`{"sub":"` + secret + `"}`, &[]string{}, nil},
		{`{"n":"` + secret + `"}`, &struct{ N int }{}, nil},
		{`{"` + secret + `":1}`, &map[string]string{}, nil},
		{`{"m":"plain"}`, &struct{ M moment }{}, nil},
		{`{"sub":"` + secret + "\xff" + `"}`, &tagged{}, nil},
		{`{"sub":"` + secret + `"`, &tagged{}, nil},
		{`{}`, tagged{}, nil},
	} {
		t.Run(tt.in, func(t *testing.T) {
			std := reflect.New(reflect.TypeOf(tt.v)).Elem()
			if std.Kind() == reflect.Pointer {
				std.Set(reflect.New(std.Type().Elem()))
			}
			err := strictjson.UnmarshalCaller([]byte(tt.in), tt.v)
			switch {
			case strings.Contains(tt.in, `"d":60`): // as encoding/json has it
				require.NoError(t, err)
				require.NoError(t, json.Unmarshal([]byte(tt.in), std.Interface()))
				require.Equal(t, std.Interface(), tt.v)
			case tt.want == nil:
				require.Error(t, err)
				require.NotContains(t, fmt.Sprintf("%v%+v%#v", err, err, err), secret)
			default:
				require.NoError(t, err)
				got := reflect.ValueOf(tt.v)
				if reflect.TypeOf(tt.want) != got.Type() {
					got = got.Elem()
				}
				require.Equal(t, tt.want, got.Interface())
			}
		})
	}
}

// FuzzUnmarshalLenient: what Unmarshal reads, encoding/json reads alike where
// names are exact, and UnmarshalLenient reads alike; what only the lenient one
// reads is JSON.
func FuzzUnmarshalLenient(f *testing.F) {
	for _, seed := range []string{
		`{"sub":"a","name":"x","identities":[{"user_id":1234567}],"counts":{"a":1}}`, `{"sub":"a","email_verified":"true","share":"1e3"}`,
		`{"user_metadata":[],"blocked_for":[1,"a",null],"updated_at":5}`, `{"sub":"a","sub":"b"}`, `{"any":{"x":[1]},"raw":"AQ==","level":3}`, "\xef\xbb\xbf{}",
		`{"sub":"\ud800"}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		var strict, lenient, std profile
		strictErr := strictjson.Unmarshal(in, &strict)
		lenientErr := strictjson.UnmarshalLenient(in, &lenient, "sub")
		caller := strictjson.UnmarshalCaller(in, new(any))
		if lenientErr == nil {
			assert.True(t, json.Valid([]byte(strings.TrimPrefix(string(in), "\xef\xbb\xbf"))))
			assert.NoError(t, caller)
		}
		if strictErr != nil {
			return
		}
		require.NoError(t, lenientErr)
		require.Equal(t, strict, lenient)
		if names, ok := exactNames(in); ok && !strings.Contains(string(in), "null") { // encoding/json leaves in place what null is for
			require.NoError(t, json.Unmarshal(in, &std), names)
			require.Equal(t, std, strict)
		}
	})
}

// exactNames reports whether no name is a field's but for case.
func exactNames(in []byte) (names string, ok bool) {
	for _, f := range reflect.VisibleFields(reflect.TypeFor[profile]()) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		names += name
		if strings.Count(strings.ToLower(string(in)), name) != strings.Count(string(in), name) {
			return names, false
		}
	}
	return names, json.Valid(in) && !bytes.ContainsAny(in, "\\ſKK")
}

var typical = []byte(`{"sub":"auth0|5f7c8ec7c33c6c004bbafe82","name":"Ada Lovelace","given_name":"Ada","family_name":"Lovelace","nickname":"ada",
"email":"ada@example.com","email_verified":true,"picture":"https://example.com/ada.png","updated_at":"2026-01-02T03:04:05.678Z","locale":"en","logins_count":12,
"identities":[{"provider":"github","user_id":"1234567","connection":"github","isSocial":true}],"user_metadata":{"provider":"x","user_id":"y"}}`)

func BenchmarkProfile(b *testing.B) {
	type full struct {
		Sub        string     `json:"sub"`
		Name       string     `json:"name"`
		GivenName  string     `json:"given_name"`
		FamilyName string     `json:"family_name"`
		Nickname   string     `json:"nickname"`
		Email      string     `json:"email"`
		Verified   bool       `json:"email_verified"`
		Picture    string     `json:"picture"`
		Locale     string     `json:"locale"`
		Updated    time.Time  `json:"updated_at"`
		Logins     int        `json:"logins_count"`
		Identities []identity `json:"identities"`
		Meta       *identity  `json:"user_metadata"`
	}
	for name, read := range map[string]func([]byte, any) error{
		"strict": strictjson.Unmarshal, "lenient": func(b []byte, v any) error { return strictjson.UnmarshalLenient(b, v, "sub") },
		"caller": strictjson.UnmarshalCaller, "encoding/json": json.Unmarshal,
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := read(typical, new(full)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
