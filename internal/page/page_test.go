package page

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestPage(t *testing.T) {
	const hostile = `"><script>alert('1')</script>&`
	for name, c := range map[string]struct {
		page     Page
		has, not []string
	}{
		"all": {
			Page{"A title", "A text.", "Details.", "https://app.example.com/a?b=c&d=e", "A label"},
			[]string{
				"<title>A title</title>", "<h1>A title</h1>", "<p>A text.</p>", `<p class="why">Details.</p>`,
				`<a href="https://app.example.com/a?b=c&amp;d=e">A label</a>`,
			}, nil,
		},
		"text alone": {Page{Title: "A title", Text: "A text."}, []string{"<p>A text.</p>\n</main>"}, []string{`class="why"`, "<a "}},
		"hostile":    {Page{hostile, hostile, hostile, hostile, hostile}, []string{"&lt;script&gt;"}, []string{"<script", `"">`}},
	} {
		t.Run(name, func(t *testing.T) {
			var text strings.Builder
			c.page.Write(&text)
			for _, s := range c.has {
				assert.Contains(t, text.String(), s)
			}
			for _, s := range append(c.not, "src=", "url(", "@import") {
				assert.NotContains(t, text.String(), s)
			}
		})
	}
}

// The policy allows the style that the page has, and nothing else.
func TestSetHeaders(t *testing.T) {
	var text strings.Builder
	Page{Title: "A title"}.Write(&text)
	_, rest, found := strings.Cut(text.String(), "<style>")
	require.True(t, found)
	inPage, _, found := strings.Cut(rest, "</style>")
	require.True(t, found)
	sum := sha256.Sum256([]byte(inPage))
	h := http.Header{}
	SetHeaders(h)
	assert.Equal(t, "default-src 'none'; style-src 'sha256-"+base64.StdEncoding.EncodeToString(sum[:])+
		"'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'", h.Get("Content-Security-Policy"))
	assert.Equal(t, "no-store", h.Get("Cache-Control"))
	assert.Equal(t, "no-referrer", h.Get("Referrer-Policy"))
	assert.Equal(t, "nosniff", h.Get("X-Content-Type-Options"))
	assert.Equal(t, "text/html; charset=utf-8", h.Get("Content-Type"))
}
