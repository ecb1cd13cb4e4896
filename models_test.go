package piecesauth

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestScopes(t *testing.T) {
	for text, want := range map[string]Scopes{
		"":                       nil,
		"openid":                 {"openid"},
		" openid \temail\n":      {"openid", "email"},
		"openid email read:a/b?": {"openid", "email", "read:a/b?"},
	} {
		var got Scopes
		require.NoError(t, got.UnmarshalText([]byte(text)))
		require.ElementsMatch(t, want, got)
		require.Equal(t, strings.Join(strings.Fields(text), " "), got.String())
		wire, err := json.Marshal(got)
		require.NoError(t, err)
		require.JSONEq(t, `"`+got.String()+`"`, string(wire))
		require.NoError(t, json.Unmarshal(wire, &got))
		require.ElementsMatch(t, want, got)
	}
	require.True(t, Scopes{"openid", "email"}.Contains("email"))
	require.False(t, Scopes{"openid"}.Contains("open"))
	require.False(t, Scopes(nil).Contains(""))
}

func TestSeconds(t *testing.T) {
	for text, want := range map[string]Seconds{
		"86400": 86400, "86400.0": 86400, `"86400"`: 86400, `"3600.0"`: 3600, "8.64e4": 86400, "0": 0, "-5": -5, "null": 0, `""`: 0,
		"9223372036854775807": math.MaxInt64, "1e300": maxSeconds, "-1e300": -maxSeconds, "12.9": 12,
	} {
		got := Seconds(1)
		require.NoError(t, json.Unmarshal([]byte(text), &got), text)
		if text == "null" {
			require.NoError(t, got.UnmarshalJSON([]byte(text))) // which package json spares it
		}
		require.Equal(t, want, got, text)
	}
	for _, text := range []string{`"soon"`, `{}`, `[]`, `true`, `"1h"`, `"NaN"`} {
		var got Seconds
		require.Error(t, json.Unmarshal([]byte(text), &got), text)
	}
	require.Equal(t, 90*time.Second, Seconds(90).Duration())
	require.Equal(t, 99*365*24*time.Hour, Seconds(99*365*24*60*60).Duration())
	require.Equal(t, maxSeconds*time.Second, Seconds(math.MaxInt64).Duration())
	require.Equal(t, -maxSeconds*time.Second, Seconds(math.MinInt64).Duration())
}

func TestTimestamp(t *testing.T) {
	second := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for text, want := range map[string]time.Time{
		`"2026-01-02T03:04:05Z"`:      second,
		`"2026-01-02T04:04:05+01:00"`: second,
		`"2026-01-02T03:04:05.500Z"`:  second.Add(500 * time.Millisecond),
		`"2026-01-02T03:04:05"`:       second,
		`"2026-01-02 03:04:05"`:       second,
		`"2026-01-02"`:                second.Truncate(24 * time.Hour),
		`1767323045`:                  second,
		`"1767323045"`:                second,
		`1767323045.5`:                second.Add(500 * time.Millisecond),
		`0`:                           time.Unix(0, 0),
		`253402300799`:                time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC),
		`253402300800`:                time.UnixMilli(253402300800),
		`1767323045000`:               second,
		`null`:                        {},
		`""`:                          {},
	} {
		got := Timestamp{second}
		require.NoError(t, got.UnmarshalJSON([]byte(text)), text)
		require.True(t, want.Equal(got.Time), "%s: %s", text, got)
		wire, err := json.Marshal(got)
		require.NoError(t, err)
		var again Timestamp
		require.NoError(t, json.Unmarshal(wire, &again))
		require.True(t, got.Equal(again.Time))
	}
	for _, text := range []string{`"yesterday"`, `{}`, `true`, `-1`, `253402300800000`, `1e300`, `"NaN"`} {
		var got Timestamp
		require.Error(t, json.Unmarshal([]byte(text), &got), text)
	}
	out, err := json.Marshal(Auth0User{Sub: "s"})
	require.NoError(t, err)
	require.JSONEq(t, `{"sub":"s"}`, string(out), "no zero dates")
}
