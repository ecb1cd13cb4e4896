package exchange

import (
	"errors"
	"net/http"
	"strconv"
	"time"
)

// RetryAfter reads how long to wait: Retry-After in seconds or as a date
// (RFC 9110 §10.2.3), else x-ratelimit-reset, which Auth0 sends as a moment, and
// with every answer: it counts unless x-ratelimit-remaining has some left. It is
// a day at most; ok is false if the answer doesn't say.
func RetryAfter(h http.Header) (wait time.Duration, ok bool) {
	const most = 24 * time.Hour
	if v := h.Get("Retry-After"); v != "" {
		if n, err := strconv.ParseInt(v, 10, 64); err == nil || errors.Is(err, strconv.ErrRange) { // n is the nearest
			wait = time.Duration(max(0, min(n, int64(most/time.Second)))) * time.Second
		} else if at, err := http.ParseTime(v); err == nil {
			wait = time.Until(at)
		}
	}
	if left := h.Get("X-Ratelimit-Remaining"); wait <= 0 && (left == "" || left == "0") {
		if n, err := strconv.ParseInt(h.Get("X-Ratelimit-Reset"), 10, 64); err == nil {
			wait = time.Until(time.Unix(min(max(n, 0), 1<<40), 0))
		}
	}
	return max(0, min(wait, most)), wait > 0
}
