package jsonvalue_test

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/piecesauth/piecesauth/internal/jsonvalue"
)

func TestSeconds(t *testing.T) {
	for in, want := range map[string]int64{
		`60`: 60, `60.9`: 60, `"60"`: 60, `"60.0"`: 60, `-1`: -1, `null`: 0, `""`: 0, `0`: 0,
		`1e300`: jsonvalue.MaxSeconds, `-1e300`: -jsonvalue.MaxSeconds, `9223372036854775807`: math.MaxInt64,
	} {
		got, err := jsonvalue.Seconds([]byte(in))
		require.NoError(t, err, in)
		require.Equal(t, want, got, in)
	}
	for seconds, want := range map[int64]time.Duration{
		0: 0, 60: time.Minute, -60: -time.Minute, math.MaxInt64: jsonvalue.MaxSeconds * time.Second, math.MinInt64: -jsonvalue.MaxSeconds * time.Second,
	} {
		require.Equal(t, want, jsonvalue.Duration(seconds), seconds)
	}
	for _, in := range []string{`{}`, `[]`, `true`, `"soon"`, `"NaN"`, `"2026-01-02"`} {
		_, err := jsonvalue.Seconds([]byte(in))
		require.EqualError(t, err, "the JSON has a lifetime that is not a number of seconds", in)
	}
}

func TestMoment(t *testing.T) {
	moment := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for in, want := range map[string]time.Time{
		`"2026-01-02T03:04:05Z"`: moment, `"2026-01-02T04:04:05+01:00"`: moment, `"2026-01-02T03:04:05"`: moment, `"2026-01-02 03:04:05"`: moment,
		`"2026-01-02"`: moment.Truncate(24 * time.Hour), `1767323045`: moment, `"1767323045"`: moment, `1767323045000`: moment,
		`1767323045.25`: moment.Add(250 * time.Millisecond), `null`: {}, `""`: {}, `0`: time.Unix(0, 0),
		`253402300799`: time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC), `253402300800`: time.UnixMilli(253402300800),
	} {
		got, err := jsonvalue.Moment([]byte(in))
		require.NoError(t, err, in)
		require.True(t, want.Equal(got), "%s: %s", in, got)
	}
	for _, in := range []string{`{}`, `true`, `"soon"`, `-1`, `1e300`, `253402300800000`, `"NaN"`, `"2026-01-02T03:04:05+24:00"`} {
		_, err := jsonvalue.Moment([]byte(in))
		require.EqualError(t, err, "the JSON has a moment that is neither a date-time nor a number of seconds", in)
	}
}
