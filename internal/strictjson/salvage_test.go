package strictjson_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/piecesauth/piecesauth/internal/strictjson"
)

func TestSalvage(t *testing.T) {
	const twice, malformed, no = "the JSON has a name twice", "the JSON is malformed", "the answer is not a JSON object"
	for in, want := range map[string]struct{ members, lost string }{
		`{"a":1,"b":[2]}`:                 {`{"a":1,"b":[2]}`, ""},
		"\ufeff" + `{"a":1}`:              {`{"a":1}`, ""},
		`{"a":1,"x":{"y":1,"y":2},"x":3}`: {`{"a":1}`, ""},
		`{"a":1,"b":2,"b":2}`:             {`{"a":1}`, ""},
		`{"a":1,"b":2,"a":1}`:             {`{"b":2}`, twice},
		`{"a":1,"b":2,"\u0061":1}`:        {`{"b":2}`, twice},
		`{"a":1,"A":2}`:                   {`{"a":1}`, ""},
		`{"a":1,"b":{"c":1,"c":1}}`:       {`{"a":1}`, ""},
		"{\"a\":1,\"b\":\"\xff\"}":        {`{"a":1}`, ""},
		"{\"a\":\"\xff\",\"b\":1}":        {`{"b":1}`, ""},
		"{\"\xff\":1,\"b\":1}":            {`{"b":1}`, ""},
		`{"a":1} behind`:                  {`{"a":1}`, ""},
		`{"a":1}{"a":2}`:                  {`{"a":1}`, "the answer has another JSON object behind the first"},
		`{"a":1,`:                         {`{"a":1}`, malformed},
		`{"a":1,"b":`:                     {`{"a":1}`, malformed},
		`{"a":1,"b":tru}`:                 {`{"a":1}`, malformed},
		`{"a":1,"b"}`:                     {`{"a":1}`, malformed},
		`{"a":1,b:2}`:                     {`{"a":1}`, malformed},
		`{`:                               {`{}`, malformed},
		`{}`:                              {`{}`, ""},
		``:                                {`{}`, no},
		`[{"a":1}]`:                       {`{}`, no},
		`<html>`:                          {`{}`, no},
		`{"a":1,"x":[` + strings.Repeat("{},", 20_000) + `{}]}`: {`{"a":1}`, ""},
	} {
		members, err := strictjson.Salvage([]byte(in), []string{"a"}, "b")
		require.JSONEq(t, want.members, string(members), in)
		var read map[string]json.RawMessage
		require.NoError(t, strictjson.Unmarshal(members, &read), in)
		if want.lost == "" {
			require.NoError(t, err, in)
		} else {
			require.EqualError(t, err, want.lost, in)
		}
	}
}
