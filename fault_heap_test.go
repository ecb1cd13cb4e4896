package piecesauth

import (
	"fmt"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// TestFaultHeap bounds what an answer can make of the heap. It counts all that
// is allocated meanwhile, which is never less than the heap's growth. It must
// not run in parallel.
func TestFaultHeap(t *testing.T) {
	skipIfShort(t)
	fill := func(head, part, tail string) string {
		return head + strings.Repeat(part, (faultCap-len(head)-len(tail))/len(part)) + tail
	}
	manyPairs := func() string {
		var b strings.Builder
		for i := 0; b.Len() < faultCap-10; i++ {
			fmt.Fprintf(&b, "%x=&", i)
		}
		return b.String()
	}
	idToken := func() string {
		claims := fill(`{"iss":"i","sub":"s","aud":[""`, `,""`, `]}`)[:faultCap*3/4-1000]
		return `{"access_token":"a","token_type":"Bearer","id_token":"` + rawJWT(`{"alg":"RS256"}`, claims) + `"}`
	}
	rows := map[string]func(*faultConn){}
	for name, play := range floods() {
		rows[name] = play
	}
	for name, body := range map[string]string{
		"many identities":   fill(`{"sub":"x","identities":[{}`, `,{}`, `]}`),
		"many keys":         fill(`{"sub":"x","keys":[{}`, `,{}`, `]}`),
		"many members":      fill(`{"a":0`, `,"a":0`, `}`),
		"deep objects":      fill("", `{"a":`, ""),
		"deep arrays":       fill(`{"a":`, `[`, ""),
		"deep arrays whole": `{"a":` + strings.Repeat("[", 9000) + strings.Repeat("]", 9000) + "}",
		"long escapes":      fill(`{"sub":"`, `\u0041`, `"}`),
		"long error":        fill(`{"error":"`, `\u00e4`, `"}`),
		"form of one name":  fill("code=x", "&code=x", ""),
		"form of names":     manyPairs(),
		"ID token":          idToken(),
	} {
		right, refused := []byte(rawAnswer(200, "", body)), []byte(rawAnswer(400, "", body))
		rows["within the cap: "+name] = func(x *faultConn) { x.write(right) }
		switch name {
		case "many members", "deep arrays whole", "long error":
			rows["within the cap, refused: "+name] = func(x *faultConn) { x.write(refused) }
		}
	}
	for name, play := range rows {
		t.Run(name, func(t *testing.T) {
			for i := range operations {
				op := &operations[i]
				t.Run(op.name, func(t *testing.T) {
					inCap := strings.HasPrefix(name, "within")
					most := uint64(4 << 20)
					switch {
					case inCap:
						most = 16 << 20
					case floodWant(name).is == nil:
						most = 1 << 20 // of headers no more than 64 KiB
					case name == "1 GiB body": // whose Content-Length says so
						most = 100 << 10
					}
					l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
					require.NoError(t, err)
					s := &faultServer{t: t, f: &fault{play: play}, op: op, url: "http://" + l.Addr().String(), guard: 20 * time.Second}
					go func() {
						if conn, err := l.Accept(); err == nil {
							s.serve(conn)
						}
						_ = l.Close()
					}()
					// The default client, whose headers are bounded too.
					a, err := New(Config{BaseURL: s.url, ClientID: "client", RedirectURL: faultRedirect, Audience: "audience"})
					require.NoError(t, err)
					op.asksIssuer(t, &a, s.url)

					var before, after runtime.MemStats
					runtime.ReadMemStats(&before)
					_, err = op.call(t.Context(), a)
					runtime.ReadMemStats(&after)
					a.client.CloseIdleConnections()
					s.wg.Wait()
					goleak.VerifyNone(t)

					grown := after.TotalAlloc - before.TotalAlloc
					assert.LessOrEqual(t, grown, most)
					t.Logf("%d KiB", grown>>10)
					if !inCap {
						require.ErrorAs(t, err, new(*Error))
						if want := floodWant(name); want.is != nil {
							require.ErrorIs(t, err, want.is)
						}
					}
					if name == "within the cap: many identities" && op.name != "Logout" {
						require.ErrorIs(t, err, ErrTooLarge)
					}
				})
			}
		})
	}
}
