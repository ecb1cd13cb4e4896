// Package jsonvalue reads durations and times from JSON in the forms that servers
// use. Its errors hold no text of the input.
package jsonvalue

import (
	"bytes"
	"encoding/json"
	"math"
	"strconv"
	"time"

	"github.com/piecesauth/piecesauth/internal/strictjson"
)

// MaxSeconds is a hundred years, which keeps sums of times far from overflow.
const MaxSeconds = 100 * 365 * 24 * 60 * 60

const (
	errSeconds = strictjson.FixedError("the JSON has a lifetime that is not a number of seconds")
	errMoment  = strictjson.FixedError("the JSON has a moment that is neither a date-time nor a number of seconds")
)

// Seconds reads a number, or a string that holds one; null and "" are 0.
func Seconds(data []byte) (int64, error) {
	text, err := scalar(data)
	if err != nil || text == "" {
		return 0, err
	}
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		return n, nil
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsNaN(f) {
		return 0, errSeconds
	}
	return int64(max(-MaxSeconds, min(f, MaxSeconds))), nil
}

// Duration converts seconds, capped at a hundred years either way.
func Duration(seconds int64) time.Duration {
	return time.Duration(max(-MaxSeconds, min(seconds, MaxSeconds))) * time.Second
}

// Moment reads a date-time, a date, or a number of seconds or, where it would be
// thousands of years from now, of milliseconds since 1970 (OpenID Connect Core
// §5.1 has seconds); null and "" are the zero time.
func Moment(data []byte) (time.Time, error) {
	text, err := scalar(data)
	if err != nil || text == "" {
		return time.Time{}, err
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", time.DateTime, time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil {
			if _, err := t.MarshalText(); err != nil { // as of the zone +24:00, which is read
				return t, errMoment
			}
			return t, nil
		}
	}
	const year10000 = 253402300800 // the first second that cannot be written as a date-time
	f, err := strconv.ParseFloat(text, 64)
	if err == nil && f >= year10000 {
		f /= 1000
	}
	if err != nil || !(f >= 0 && f < year10000) {
		return time.Time{}, errMoment
	}
	whole, part := math.Modf(f)
	return time.Unix(int64(whole), int64(math.Round(part*1e6))*1000).UTC(), nil
}

// scalar returns the text of a JSON string, "" for null, and anything else as it is.
func scalar(data []byte) (string, error) {
	switch {
	case string(data) == "null":
		return "", nil
	case bytes.HasPrefix(data, []byte{'"'}):
		var s string
		err := json.Unmarshal(data, &s)
		return s, err
	}
	return string(data), nil
}
