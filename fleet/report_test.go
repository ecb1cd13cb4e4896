package fleet_test

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/piecesauth/piecesauth"
	"github.com/piecesauth/piecesauth/seal"
	"github.com/piecesauth/piecesauth/tokenkv"
)

// The benchmarks, each beside its rival in interleaved rounds.
var (
	reportTo     = flag.String("report", "", "measure, and write the page of benchmarks to this file")
	reportRounds = flag.Int("report-rounds", 9, "how often each is measured")
)

func median[T int64 | float64 | time.Duration](all []T) T {
	all = slices.Clone(all)
	slices.Sort(all)
	return all[len(all)/2]
}

func TestReport(t *testing.T) {
	if *reportTo == "" {
		t.Skip("no -report says where to write the page; make bench-fleet does")
	}
	var page strings.Builder
	fmt.Fprintf(&page, `# Benchmarks: tokens of many people

Made by `+"`make bench-fleet`"+` on %s: %s, %d cores, %s, with the databases on the same machine.
Each figure is the median of %d rounds, in which we and the rival take turns.
PostgreSQL and MariaDB as Debian ships them, every write on disk; Redis with appendonly and appendfsync everysec; SQLite with the write-ahead log and synchronous FULL.

`, time.Now().Format("2 January 2006"), processor(), runtime.NumCPU(), runtime.Version(), *reportRounds)
	missed := reportExpiry(t, &page)
	missed = append(missed, reportReads(t, &page)...)
	reportCosts(t, &page)
	require.NoError(t, os.WriteFile(*reportTo, []byte(page.String()), 0o644))
	require.Empty(t, missed, "bars that are missed")
}

func processor() string {
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return runtime.GOARCH
	}
	_, rest, _ := strings.Cut(string(info), "model name\t: ")
	name, _, _ := strings.Cut(rest, "\n")
	return name
}

// verdict says whether a bar is met.
func verdict(missed *[]string, what string, met bool, bar string) string {
	if met {
		return bar
	}
	*missed = append(*missed, what)
	return "**misses** " + bar
}

// contender is one store that people's tokens expire in.
type contender struct {
	what     string
	db       database
	rowLock  bool
	bar      time.Duration
	auth     *authServer
	replicas []*process
	took     []time.Duration
}

func reportExpiry(t *testing.T, page *strings.Builder) (missed []string) {
	all := []*contender{
		{what: "PostgreSQL, a row's lock held through the refresh (the rival)", db: the(t, "postgres"), rowLock: true},
		{what: "PostgreSQL", db: the(t, "postgres"), bar: 2 * time.Second},
		{what: "MariaDB", db: the(t, "mariadb"), bar: 2 * time.Second},
		{what: "Redis", db: the(t, "redis"), bar: 1500 * time.Millisecond},
	}
	for _, c := range all {
		c.auth = startAuth(t, authConfig{Lifetime: time.Hour, Before: 500 * time.Millisecond})
		c.replicas = startReplicas(t, fleetReplicas, replicaConfig{DB: c.db, RowLock: c.rowLock}, c.auth)
	}
	for range *reportRounds {
		for _, c := range all {
			if c.rowLock {
				signInBare(t, c.db, c.auth, fleetPeople)
			} else {
				signIn(t, c.db, c.auth, fleetPeople)
			}
			c.took = append(c.took, expire(t, c.replicas, c.auth, fleetPeople))
		}
	}
	fmt.Fprintf(page, `## Everybody's token expires at once

%d people, %d replicas with %d connections each, an authorization server that takes 0.5 s: until all replicas have everybody's new token.
Each round had exactly %d refreshes.

| store | median | slowest | of the rival's time | bar |
|---|---|---|---|---|
`, fleetPeople, fleetReplicas, all[0].db.Pool, fleetPeople)
	rival := median(all[0].took)
	for _, c := range all {
		bar := ""
		took := median(c.took)
		if c.bar != 0 {
			bar = verdict(&missed, c.what+": "+took.String(), took <= c.bar, "≤ "+c.bar.String())
		}
		fmt.Fprintf(page, "| %s | %.2f s | %.2f s | %.2f× | %s |\n", c.what, took.Seconds(), slices.Max(c.took).Seconds(), took.Seconds()/rival.Seconds(), bar)
	}
	page.WriteString("\n")
	return missed
}

// signInBare stores tokens as the rival does.
func signInBare(t testing.TB, d database, a *authServer, people int) {
	t.Helper()
	db := d.open(t)
	for n, token := range a.tokens(t, people) {
		token.Expiry = time.Now().Add(-time.Minute)
		value, err := json.Marshal(bare{Token: token})
		require.NoError(t, err)
		row, err := db.Get(t.Context(), person(n))
		require.NoError(t, err)
		_, ok, err := db.Swap(t.Context(), person(n), row.Version, value)
		require.NoError(t, err)
		require.True(t, ok)
	}
}

// typicalToken is of the size that they have.
func typicalToken() *piecesauth.Token {
	return &piecesauth.Token{
		AccessToken: strings.Repeat("a", 1000), TokenType: "Bearer", RefreshToken: strings.Repeat("r", 50),
		Scopes: piecesauth.Scopes{"openid", "offline_access"}, Expiry: time.Now().Add(time.Hour).UTC(),
	}
}

// read is one token that is read in two ways.
type read struct {
	d           database
	ours, rival func(ctx context.Context) error
}

func newRead(t testing.TB, d database) read {
	t.Helper()
	d.Pool = 1
	db := d.open(t)
	sealer, err := seal.New(make([]byte, 32))
	require.NoError(t, err)
	tokens, err := tokenkv.New(db, tokenkv.Options{Sealer: sealer})
	require.NoError(t, err)
	store := tokens.Store("ada")
	save(t, store, typicalToken())
	value, err := json.Marshal(typicalToken())
	require.NoError(t, err)
	r := read{d: d, ours: func(ctx context.Context) error {
		_, err := store.Load(ctx)
		return err
	}}
	bareGet := func(ctx context.Context) (value []byte, err error) {
		return db.redis.Get(ctx, d.prefix()+"bare").Bytes()
	}
	if db.redis != nil {
		require.NoError(t, db.redis.Set(t.Context(), d.prefix()+"bare", value, 0).Err())
	} else {
		_, _, err := db.Swap(t.Context(), "bare", "", value)
		require.NoError(t, err)
		query := `SELECT value FROM ` + d.Table + ` WHERE id = ` + map[bool]string{true: "$1", false: "?"}[d.Name == "postgres"]
		bareGet = func(ctx context.Context) (value []byte, err error) {
			err = db.sql.QueryRowContext(ctx, query, []byte("bare")).Scan(&value)
			return value, err
		}
	}
	r.rival = func(ctx context.Context) error {
		value, err := bareGet(ctx)
		if err != nil {
			return err
		}
		var token piecesauth.Token
		return json.Unmarshal(value, &token)
	}
	return r
}

// atOnce is how often a way to read has its turn.
const atOnce = 500

// each measures what f takes, one after another.
func each(t testing.TB, f func(context.Context) error) time.Duration {
	t.Helper()
	ctx := t.Context()
	began := time.Now()
	for range atOnce {
		if err := f(ctx); err != nil {
			require.NoError(t, err)
		}
	}
	return time.Since(began) / atOnce
}

func reportReads(t *testing.T, page *strings.Builder) (missed []string) {
	const bar = 1.35
	page.WriteString(`## A stored token is read

A token of 1,000 characters through tokenkv, sealed, with its version and its age, beside a bare query for the same token and json.Unmarshal, over the same connection.

| database | tokenkv | bare | ratio | bar |
|---|---|---|---|---|
`)
	for _, d := range []database{the(t, "postgres"), the(t, "mariadb"), the(t, "redis"), local(t)} {
		r := newRead(t, d)
		each(t, r.ours)
		each(t, r.rival)
		var ours, rival []time.Duration
		var ratios []float64
		for range 3 * *reportRounds {
			a, b := each(t, r.ours), each(t, r.rival)
			ours, rival, ratios = append(ours, a), append(rival, b), append(ratios, float64(a)/float64(b))
		}
		limit := ""
		if d.Name != "sqlite" {
			limit = verdict(&missed, fmt.Sprintf("a read from %s: %.2f×", d.Name, median(ratios)), median(ratios) <= bar, fmt.Sprintf("≤ %.2f×", bar))
		}
		fmt.Fprintf(page, "| %s | %.0f µs | %.0f µs | %.2f× | %s |\n", d.Name, micros(median(ours)), micros(median(rival)), median(ratios), limit)
	}
	page.WriteString("\n")
	return missed
}

func micros(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 }

// reportCosts measures what capacity is computed from: how many reads and
// writes a database does in a second, asked by eight at once.
func reportCosts(t *testing.T, page *strings.Builder) {
	const clients, people = 8, 1000
	page.WriteString(`## What a database does in a second

Eight clients on the same machine, rows of 1,000 people. A refresh is two reads and two writes.

| database | reads | writes | space for a person |
|---|---|---|---|
`)
	for _, d := range []database{the(t, "postgres"), the(t, "mariadb"), the(t, "redis"), local(t)} {
		d.Pool = clients
		db := d.open(t)
		require.NoError(t, db.warm(t.Context()))
		value := []byte(strings.Repeat("v", 1300))
		var reads, writes []float64
		for range *reportRounds {
			writes = append(writes, perSecond(t, clients, func(n int, old string) (string, error) {
				version, _, err := db.Swap(t.Context(), person(n), old, value)
				return version, err
			}, db, people))
			reads = append(reads, perSecond(t, clients, func(n int, old string) (string, error) {
				_, err := db.Get(t.Context(), person(n))
				return old, err
			}, db, people))
		}
		fmt.Fprintf(page, "| %s | %.0f | %.0f | %s |\n", d.Name, median(reads), median(writes), space(t, another(t, d)))
	}
}

// another returns the same database, and an empty table.
func another(t testing.TB, d database) database {
	t.Helper()
	pool := d.Pool
	if d.Name == "sqlite" {
		d = local(t)
	} else {
		d = the(t, d.Name)
	}
	d.Pool = pool
	return d
}

// space returns what a token of 1,000 characters takes, sealed, after a refresh
// of each.
func space(t testing.TB, d database) string {
	t.Helper()
	const people = 5000
	db := d.open(t)
	sealer, err := seal.New(make([]byte, 32))
	require.NoError(t, err)
	tokens, err := tokenkv.New(db, tokenkv.Options{Sealer: sealer})
	require.NoError(t, err)
	size := func() (bytes int64) {
		ctx := t.Context()
		switch d.Name {
		case "postgres":
			require.NoError(t, db.sql.QueryRowContext(ctx, `SELECT pg_total_relation_size($1::regclass)`, d.Table).Scan(&bytes))
		case "mariadb":
			_, err := db.sql.ExecContext(ctx, `ANALYZE TABLE `+d.Table)
			require.NoError(t, err)
			require.NoError(t, db.sql.QueryRowContext(ctx, `SELECT data_length + index_length FROM information_schema.tables WHERE table_name = ?`, d.Table).Scan(&bytes))
		case "sqlite":
			require.NoError(t, db.sql.QueryRowContext(ctx, `SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()`).Scan(&bytes))
		case "redis":
			info, err := db.redis.InfoMap(ctx, "memory").Result()
			require.NoError(t, err)
			bytes, err = strconv.ParseInt(info["Memory"]["used_memory"], 10, 64)
			require.NoError(t, err)
		}
		return bytes
	}
	before := size()
	for range 2 {
		var wg sync.WaitGroup
		for client := range d.Pool {
			wg.Go(func() {
				for n := client; n < people; n += d.Pool {
					save(t, tokens.Store(fmt.Sprintf("%032x", n)), typicalToken())
				}
			})
		}
		wg.Wait()
	}
	return fmt.Sprintf("%.1f kB", float64(size()-before)/people/1000)
}

// perSecond counts how often the clients do something in half a second, each
// with people of its own.
func perSecond(t testing.TB, clients int, do func(n int, version string) (string, error), db *connected, people int) float64 {
	t.Helper()
	counts := make([]int, clients)
	errs := make([]error, clients)
	versions := make([]string, people)
	for n := range versions {
		row, err := db.Get(t.Context(), person(n))
		require.NoError(t, err)
		versions[n] = row.Version
	}
	var wg sync.WaitGroup
	began := time.Now()
	for i := range clients {
		wg.Go(func() {
			for n := i; time.Since(began) < 500*time.Millisecond; n = (n + clients) % people {
				if versions[n], errs[i] = do(n, versions[n]); errs[i] != nil {
					return
				}
				counts[i]++
			}
		})
	}
	wg.Wait()
	took := time.Since(began)
	total := 0
	for i, n := range counts {
		require.NoError(t, errs[i])
		total += n
	}
	return float64(total) / took.Seconds()
}
