package exchange

import (
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestRetryAfter(t *testing.T) {
	date := func(in time.Duration) string { return time.Now().Add(in).UTC().Format(http.TimeFormat) }
	unix := func(in time.Duration) string { return strconv.FormatInt(time.Now().Add(in).Unix(), 10) }
	const day = 24 * time.Hour
	for _, tt := range []struct {
		name   string
		header func() string // lines
		want   time.Duration // 0 where the answer doesn't say
	}{
		{"nothing", func() string { return "" }, 0},
		{"seconds", func() string { return "Retry-After: 7" }, 7 * time.Second},
		{"a day", func() string { return "Retry-After: 86400" }, day},
		{"years", func() string { return "Retry-After: 999999999" }, day},
		{"beyond any number", func() string { return "Retry-After: 999999999999999999999999" }, day},
		{"none", func() string { return "Retry-After: 0" }, 0},
		{"negative", func() string { return "Retry-After: -7" }, 0},
		{"negative beyond any number", func() string { return "Retry-After: -999999999999999999999999" }, 0},
		{"a fraction", func() string { return "Retry-After: 1.5" }, 0},
		{"words", func() string { return "Retry-After: soon" }, 0},
		{"empty", func() string { return "Retry-After: " }, 0},
		{"a date", func() string { return "Retry-After: " + date(time.Minute) }, time.Minute},
		{"a date gone by", func() string { return "Retry-After: " + date(-time.Minute) }, 0},
		{"a date years ahead", func() string { return "Retry-After: " + date(400*day) }, day},
		{"a date of RFC 850", func() string { return "Retry-After: " + time.Now().Add(time.Minute).UTC().Format(time.RFC850) }, time.Minute},
		{"a date of C", func() string { return "Retry-After: " + time.Now().Add(time.Minute).UTC().Format(time.ANSIC) }, time.Minute},
		{"a date of another kind", func() string { return "Retry-After: " + time.Now().Add(time.Minute).UTC().Format(time.RFC3339) }, 0},
		{"two, of which the first counts", func() string { return "Retry-After: 7\nRetry-After: 9" }, 7 * time.Second},
		{"a moment", func() string { return "X-Ratelimit-Reset: " + unix(time.Minute) }, time.Minute},
		{"a moment with nothing left", func() string { return "X-Ratelimit-Remaining: 0\nX-Ratelimit-Reset: " + unix(time.Minute) }, time.Minute},
		{"a moment with some left", func() string { return "X-Ratelimit-Remaining: 9\nX-Ratelimit-Reset: " + unix(time.Minute) }, 0},
		{"a moment gone by", func() string { return "X-Ratelimit-Reset: " + unix(-time.Minute) }, 0},
		{"a moment years ahead", func() string { return "X-Ratelimit-Reset: " + unix(400*day) }, day},
		{"a moment beyond any calendar", func() string { return "X-Ratelimit-Reset: 9223372036854775807" }, day},
		{"a moment before any calendar", func() string { return "X-Ratelimit-Reset: -9223372036854775808" }, 0},
		{"a moment in words", func() string { return "X-Ratelimit-Reset: tomorrow" }, 0},
		{"seconds before a moment", func() string { return "Retry-After: 7\nX-Ratelimit-Reset: " + unix(time.Minute) }, 7 * time.Second},
		{"garbage and a moment", func() string { return "Retry-After: soon\nX-Ratelimit-Reset: " + unix(time.Minute) }, time.Minute},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := http.Header{}
				for line := range strings.Lines(tt.header()) {
					name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
					h.Add(name, strings.TrimSpace(value))
				}
				wait, ok := RetryAfter(h)
				require.Equal(t, tt.want, wait)
				require.Equal(t, tt.want > 0, ok)
			})
		})
	}
}
