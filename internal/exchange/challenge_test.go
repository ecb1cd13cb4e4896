package exchange

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestChallenges(t *testing.T) {
	type parameters = map[string]string
	for _, tt := range []struct {
		lines []string
		want  []Challenge
	}{
		{nil, nil},
		{[]string{""}, nil},
		{[]string{"Bearer"}, []Challenge{{"bearer", parameters{}}}},
		{[]string{`Bearer error="invalid_token"`}, []Challenge{{"bearer", parameters{"error": "invalid_token"}}}},
		{
			[]string{`Bearer error_description="set error=none to pass", error="insufficient_scope"`},
			[]Challenge{{"bearer", parameters{"error_description": "set error=none to pass", "error": "insufficient_scope"}}},
		},
		{
			[]string{`Bearer realm="say \"error=\\x\", please", ERROR = "invalid_token" , scope=openid`},
			[]Challenge{{"bearer", parameters{"realm": `say "error=\x", please`, "error": "invalid_token", "scope": "openid"}}},
		},
		{
			[]string{`Basic realm="a, Bearer error=x", BEARER error=first, error=second, DPoP algs="ES256 PS256"`},
			[]Challenge{{"basic", parameters{"realm": "a, Bearer error=x"}}, {"bearer", parameters{"error": "first"}}, {"dpop", parameters{"algs": "ES256 PS256"}}},
		},
		{
			[]string{`Basic realm="r"`, `Bearer error="invalid_token"`, `Bearer error="second"`},
			[]Challenge{{"basic", parameters{"realm": "r"}}, {"bearer", parameters{"error": "invalid_token"}}, {"bearer", parameters{"error": "second"}}},
		},
		{[]string{"Negotiate dG9rZW4=="}, []Challenge{{"negotiate", parameters{"dg9rzw4": "="}}}},
		{[]string{`Bearer error="invalid_token`}, []Challenge{{"bearer", parameters{"error": "invalid_token"}}}},
		{[]string{`Bearer error="x\`}, []Challenge{{"bearer", parameters{"error": `x\`}}}},
		{[]string{`Bearer error=`}, []Challenge{{"bearer", parameters{"error": ""}}}},
		{[]string{`Bearer error= , scope=openid`, "Basic realm=\tx=y"}, []Challenge{{"bearer", parameters{"error": "", "scope": "openid"}}, {"basic", parameters{"realm": "x=y"}}}},
		{[]string{"Bearer !#$%&'*+-.^_`|~09azAZ=x"}, []Challenge{{"bearer", parameters{"!#$%&'*+-.^_`|~09azaz": "x"}}}},
		{[]string{`error="of no scheme"`}, nil},
		{[]string{`,, ;"loose" Bearer,error=x`}, []Challenge{{"bearer", parameters{"error": "x"}}}},
		{[]string{"Bearer\terror=x\t,\trealm=y"}, []Challenge{{"bearer", parameters{"error": "x", "realm": "y"}}}},
		{[]string{"\xff\xfe Bearer é error=x"}, []Challenge{{"bearer", parameters{"error": "x"}}}},
	} {
		t.Run(strings.Join(tt.lines, "|"), func(t *testing.T) {
			require.Equal(t, tt.want, Challenges(http.Header{"Www-Authenticate": tt.lines}))
		})
	}
}

// TestChallengesLong takes time in proportion to what there is.
func TestChallengesLong(t *testing.T) {
	start := time.Now()
	for _, piece := range []string{`"`, `\`, ",", "a ", "a=", `a="`, "=", "\xff"} {
		Challenges(http.Header{"Www-Authenticate": {strings.Repeat(piece, 64<<10)}})
	}
	require.Less(t, time.Since(start), 5*time.Second)
}
