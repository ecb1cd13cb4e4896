// Command bench runs the benchmarks of the root package in interleaved
// rounds, each beside its rival, and prints the medians of their ratios beside
// the bar that each is held against. It exits 1 where a bar is missed.
//
// A ratio of two runs right after each other means something on any machine;
// nanoseconds don't.
package main

import (
	"bufio"
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/perf/benchfmt"
)

// row compares two benchmarks. A limit that is 0 is not checked, but for
// allocs, where it is checked with hasAllocs.
type row struct {
	what, ours, rival string
	ratio             float64 // at most, of the times
	allocs            int     // at most, over the rival's
	hasAllocs         bool
	inTurn            string // the benchmark that runs both in turn, a second long, and reports the ratio
	total             int    // at most, allocations of our own
	hasTotal          bool
	unit              string // of a figure that ours reports by itself, without a rival
	most              float64
}

var rows = []row{
	{what: "UserInfo, stub / by hand", ours: "UserInfo/ours", rival: "UserInfo/byhand", ratio: 0.85, allocs: -12, hasAllocs: true},
	{what: "UserInfo, stub / bare generated client", ours: "UserInfo/ours", rival: "UserInfo/generated"},
	{what: "Exchange, stub / x/oauth2", ours: "Exchange/ours", rival: "Exchange/oauth2", ratio: 0.55},
	{what: "Exchange, stub / by hand", ours: "Exchange/ours", rival: "Exchange/byhand", allocs: -18, hasAllocs: true},
	{what: "Exchange, stub / bare generated client", ours: "Exchange/ours", rival: "Exchange/generated"},
	{what: "UserInfo, loopback TCP / by hand", ours: "Loop/UserInfo/ours", rival: "Loop/UserInfo/byhand", ratio: 1.05, inTurn: "Loop/UserInfo/inturn"},
	{what: "Exchange, loopback TCP / by hand", ours: "Loop/Exchange/ours", rival: "Loop/Exchange/byhand", ratio: 1.00, inTurn: "Loop/Exchange/inturn"},
	{what: "authorization URL / x/oauth2", ours: "AuthorizationURL/ours", rival: "AuthorizationURL/oauth2", ratio: 0.10, total: 1, hasTotal: true},
	{what: "authorization URL / bare generated client", ours: "AuthorizationURL/ours", rival: "AuthorizationURL/generated"},
	{what: "a whole attempt / x/oauth2", ours: "Attempt/ours", rival: "Attempt/oauth2", ratio: 0.25, total: 10, hasTotal: true},
	{what: "valid token, 1 goroutine / ReuseTokenSource", ours: "ValidToken/goroutines=1/ours", rival: "ValidToken/goroutines=1/oauth2", ratio: 0.85, hasTotal: true},
	{what: "valid token, 8 goroutines / ReuseTokenSource", ours: "ValidToken/goroutines=8/ours", rival: "ValidToken/goroutines=8/oauth2", ratio: 0.35, hasTotal: true},
	{what: "expiry, 10,000 callers / ReuseTokenSource", ours: "Expiry/ours", rival: "Expiry/oauth2", ratio: 0.80, total: 2 * 10_000, hasTotal: true},
	{what: "token good but due, 1,000 callers, a server of 2 s: the slowest", ours: "Ahead", unit: "ms/slowest", most: 5},
	{what: "the same: refreshes", ours: "Ahead", unit: "refreshes", most: 1},
	{what: "a person in a process, over the token's strings, stored elsewhere", ours: "Person/shared", unit: "B/person", most: 600},
	{what: "a person in a process, over the token's strings, in a MemoryStore", ours: "Person/memory", unit: "B/person", most: 700},
}

type sample struct {
	ns     float64
	allocs int
	value  float64 // of the row's unit
}

func main() {
	module := flag.String("module", ".", "folder of the root module")
	rounds := flag.Int("rounds", 9, "how often each pair is run")
	benchtime := flag.String("benchtime", "150ms", "of one run")
	raw := flag.String("raw", "", "also write what the benchmarks print to this file, for benchstat")
	only := flag.String("only", "", "run the rows alone whose text has this")
	flag.Parse()
	if err := run(context.Background(), *module, *rounds, *benchtime, *raw, *only); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, module string, rounds int, benchtime, raw, only string) error {
	tmp, err := os.MkdirTemp("", "bench")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(tmp) }()
	binary := filepath.Join(tmp, "bench.test")
	build := exec.CommandContext(ctx, "go", "test", "-c", "-o", binary, ".")
	build.Dir = module
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	address, err := respond(ctx)
	if err != nil {
		return err
	}
	b := &bench{binary: binary, module: module, benchtime: benchtime, address: address}
	missed := 0
	fmt.Println("| ours / rival | time | bar | allocations | bar |\n|---|---|---|---|---|")
	for _, r := range rows {
		if !strings.Contains(r.what, only) {
			continue
		}
		if err := b.row(ctx, r, rounds, &missed); err != nil {
			return err
		}
	}
	fmt.Printf("\n%s, %s, %s/%s, %d cores, medians of %d rounds\n", b.processor, runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), rounds)
	if raw != "" {
		if err := os.WriteFile(raw, b.log.Bytes(), 0o600); err != nil {
			return err
		}
	}
	if missed > 0 {
		return fmt.Errorf("\n%d bars are missed", missed)
	}
	return nil
}

// bench runs benchmarks of the test binary, and keeps what they print.
type bench struct {
	binary, module, benchtime, address string
	log                                bytes.Buffer
	processor                          string
}

// row runs the benchmarks of a row in interleaved rounds, and prints it.
func (b *bench) row(ctx context.Context, r row, rounds int, missed *int) error {
	var ratios, values []float64
	var ours, rival []int
	if r.unit != "" {
		rounds = min(rounds, 3)
	}
	for range rounds {
		mine, err := b.one(ctx, r.ours, r.unit, b.benchtime)
		if err != nil {
			return err
		}
		values = append(values, mine.value)
		if r.unit != "" {
			continue
		}
		theirs, err := b.one(ctx, r.rival, "", b.benchtime)
		if err != nil {
			return err
		}
		ratio := mine.ns / theirs.ns
		if r.inTurn != "" {
			both, err := b.one(ctx, r.inTurn, "ours/rival", "1s")
			if err != nil {
				return err
			}
			ratio = both.value
		}
		ratios = append(ratios, ratio)
		ours, rival = append(ours, mine.allocs), append(rival, theirs.allocs)
	}
	if r.unit != "" {
		r.printFigure(median(values), missed)
		return nil
	}
	r.print(median(ratios), median(ours), median(rival), missed)
	return nil
}

func (b *bench) one(ctx context.Context, name, unit, benchtime string) (sample, error) {
	cmd := exec.CommandContext(ctx, b.binary, "-test.run=^$", "-test.benchmem", "-test.benchtime="+benchtime, "-test.bench="+pattern(name))
	cmd.Dir = b.module
	cmd.Env = append(os.Environ(), "PIECESAUTH_BENCH_RESPONDER="+b.address)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return sample{}, fmt.Errorf("%s: %w\n%s", name, err, out)
	}
	b.log.Write(out)
	s, processor, err := measured(out, unit)
	b.processor = processor
	return s, err
}

func (r row) print(ratio float64, ours, rival int, missed *int) {
	timeBar, allocBar := "", ""
	if r.ratio != 0 {
		timeBar = verdict(ratio <= r.ratio, fmt.Sprintf("≤ %.2f×", r.ratio), missed)
	}
	switch {
	case r.hasAllocs:
		allocBar = verdict(ours <= rival+r.allocs, fmt.Sprintf("≤ %+d", r.allocs), missed)
	case r.hasTotal:
		allocBar = verdict(ours <= r.total, fmt.Sprintf("≤ %d", r.total), missed)
	}
	fmt.Printf("| %s | %.2f× | %s | %d / %d | %s |\n", r.what, ratio, timeBar, ours, rival, allocBar)
}

func (r row) printFigure(value float64, missed *int) {
	bar := verdict(value <= r.most, fmt.Sprintf("≤ %g", r.most), missed)
	fmt.Printf("| %s | %.3g %s | %s | | |\n", r.what, value, r.unit, bar)
}

func verdict(met bool, bar string, missed *int) string {
	if met {
		return bar
	}
	*missed++
	return "**" + bar + ": missed**"
}

// pattern matches the benchmark of this name alone.
func pattern(name string) string {
	parts := strings.Split("Benchmark"+name, "/")
	for i, p := range parts {
		parts[i] = "^" + regexp.QuoteMeta(p) + "$"
	}
	return strings.Join(parts, "/")
}

// measured reads what one benchmark printed, and which processor it ran on.
func measured(out []byte, unit string) (s sample, processor string, err error) {
	results := benchfmt.NewReader(bytes.NewReader(out), "")
	for results.Scan() {
		if r, ok := results.Result().(*benchfmt.Result); ok {
			seconds, _ := r.Value("sec/op")
			allocs, _ := r.Value("allocs/op")
			value, ok := r.Value(unit)
			if unit != "" && !ok {
				return sample{}, "", fmt.Errorf("no %s in:\n%s", unit, out)
			}
			return sample{seconds * 1e9, int(allocs), value}, r.GetConfig("cpu"), nil
		}
	}
	return sample{}, "", fmt.Errorf("no result in:\n%s", out)
}

func median[T int | float64](v []T) T {
	slices.Sort(v)
	return v[len(v)/2]
}

const (
	token = `{"access_token":"eyJhbGciOiJSUzI1NiJ9.e30.c2ln","token_type":"Bearer","expires_in":86400,"scope":"openid email profile offline_access","refresh_token":"v1.MRjA8Tf3cGZQ"}`
	user  = `{"sub":"auth0|507f1f77bcf86cd799439011","name":"Ada Lovelace","email":"ada@example.com","email_verified":true,"updated_at":"2026-01-02T03:04:05Z"}`
)

// respond answers every request on a loopback port from a canned text.
func respond(ctx context.Context) (string, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go serve(conn)
		}
	}()
	return listener.Addr().String(), nil
}

func serve(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	r := bufio.NewReader(conn)
	for {
		req, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		if _, err := io.Copy(io.Discard, req.Body); err != nil {
			return
		}
		body := user
		if req.Method == http.MethodPost {
			body = token
		}
		if _, err := fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body); err != nil {
			return
		}
	}
}
