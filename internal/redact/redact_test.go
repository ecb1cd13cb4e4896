package redact

import (
	"html"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
)

func TestWrite(t *testing.T) {
	type inner struct {
		Password string `secret:"true"`
	}
	text := "shown"
	for _, tt := range []struct {
		v    any
		want string
	}{
		{inner{}, "inner{}"},
		{inner{"hush"}, "inner{Password:[redacted]}"},
		{struct{ A, b string }{"a", "hidden"}, "{A:a}"},
		{struct{ A *string }{&text}, "{A:shown}"},
		{struct{ A *string }{nil}, "{}"},
		{struct{ A, b, C, D string }{"", "hidden", "c", "d"}, "{C:c D:d}"},
		{struct{ Body []byte }{[]byte("raw")}, "{Body:[redacted]}"},
	} {
		var b strings.Builder
		Write(&b, tt.v)
		assert.Equal(t, tt.want, b.String())
		assert.Equal(t, tt.want, Value(tt.v).String())
	}
}

func TestCut(t *testing.T) {
	const secret = `a/b+c "d"<é`
	for name, form := range map[string]string{
		"as it is":             secret,
		"in a query":           "a%2Fb%2Bc+%22d%22%3C%C3%A9",
		"in a query, in small": "a%2fb%2bc+%22d%22%3c%c3%a9",
		"in a path":            "a%2Fb+c%20%22d%22%3C%C3%A9",
		"in HTML":              "a/b+c &#34;d&#34;&lt;é",
		"in JSON":              `a/b+c \"d\"\u003cé`,
	} {
		assert.Equal(t, "x [redacted] y", Cut("x "+form+" y", 4, []string{"", secret}), name)
	}
	assert.Equal(t, "x [redacted] y", Cut(`x v1.a\/b y`, 4, []string{"v1.a/b"}), "in JSON of PHP")
	assert.Equal(t, "the state", Cut("the state", 8, []string{"state"}), "shorter than it must be")
	assert.Equal(t, "the [redacted]", Cut("the state", 5, []string{"state"}))
}

// TestCutEscapes spells a secret in ways that mix, and texts that are almost one.
func TestCutEscapes(t *testing.T) {
	const secret = `a\%/+b=é"`
	for _, form := range []string{
		`a\%/+b=é"`, `a\\%/+b=é\"`, `a%5c%25%2f%2bb%3d%c3%A9%22`, `a%5C%/+b=é%22`, `a&#92;&#37;&#x2F;&#x2B;b&#61;&eacute;&quot;`,
		`a\u005c\u0025\u002F\u002bb=\u00e9\u0022`, `a\\%25\/+b&#x3d;é&#034;`, `a\%/+b=é&#000000034;`,
	} {
		assert.Equal(t, "x[redacted]y", Cut("x"+form+"y", 4, []string{secret}), form)
		assert.Equal(t, "[redacted]", Cut(form, 4, []string{secret}), form)
	}
	for _, text := range []string{
		"", "a", `a\`, `a\%/+b=é`, `a\%/+b=é&quot`, `a\%/+b=é%2`, `a\%/+b=é\u002`, `a\%/+b=é\u0023`, `a\%/+b=é%zz`, `a\%/+b=é&`, `a\%/+b=é\`,
		`a\%/+b=é&#x22` + "00000000000;",
	} {
		assert.Equal(t, text, Cut(text, 4, []string{secret}))
	}
	assert.Equal(t, "[redacted][redacted]", Cut("ab cab+c", 3, []string{"ab c"}))
	assert.Equal(t, "\xff[redacted]", Cut("\xff%ff%fe", 1, []string{"\xff\xfe"}), "no UTF-8")
}

// TestReferences holds the character references to what package html reads.
func TestReferences(t *testing.T) {
	for named := range strings.SplitSeq(references, " ") {
		char, size := utf8.DecodeRuneInString(named)
		assert.Equal(t, string(char), html.UnescapeString("&"+named[size:]+";"), named)
		assert.True(t, reference(named[size:], string(char)), named)
	}
	for _, name := range []string{"#34", "#034", "#x22", "#X22", "#x0022", "quot"} {
		assert.Equal(t, `"`, html.UnescapeString("&"+name+";"))
		assert.True(t, reference(name, `"`), name)
	}
	for _, name := range []string{"", "#", "#x", "#xx22", "#-34", "#+34", "#x2_2", "34", "#33", "#x34", "Quot", "quot #num", "#9999999999"} {
		assert.False(t, reference(name, `"`), name)
	}
}
