package tokensql_test

import (
	"context"
	"database/sql"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"modernc.org/sqlite"

	"github.com/piecesauth/piecesauth/piecesauthtest"
	"github.com/piecesauth/piecesauth/tokenkv"
	"github.com/piecesauth/piecesauth/tokensql"
)

const pragmas = "?_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)&_pragma=synchronous(OFF)"

func open(t *testing.T, path string) *sql.DB {
	t.Helper()
	pool, err := sql.Open("sqlite", "file:"+path+pragmas)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, pool.Close()) })
	return pool
}

func newDB(t *testing.T) (*tokensql.DB, *sql.DB) {
	t.Helper()
	pool := open(t, filepath.Join(t.TempDir(), "tokens.db"))
	db, err := tokensql.New(pool, tokensql.Options{Dialect: tokensql.SQLite})
	require.NoError(t, err)
	require.NoError(t, db.Migrate(t.Context()))
	return db, pool
}

func put(t *testing.T, db *tokensql.DB, key, version, value string) string {
	t.Helper()
	newVersion, ok, err := db.Swap(t.Context(), key, version, []byte(value))
	require.NoError(t, err)
	require.True(t, ok)
	return newVersion
}

func TestSQLite(t *testing.T) {
	piecesauthtest.TestDB(t, func(t *testing.T) tokenkv.DB {
		db, _ := newDB(t)
		return db
	})
}

// A pool of one connection is enough.
func TestSQLiteWithOneConnection(t *testing.T) {
	piecesauthtest.TestDB(t, func(t *testing.T) tokenkv.DB {
		db, pool := newDB(t)
		pool.SetMaxOpenConns(1)
		return db
	})
}

func TestNewRefuses(t *testing.T) {
	pool := open(t, filepath.Join(t.TempDir(), "unused.db"))
	for _, c := range []struct {
		pool    *sql.DB
		options tokensql.Options
		text    string
	}{
		{nil, tokensql.Options{Dialect: tokensql.SQLite}, "the *sql.DB is nil"},
		{pool, tokensql.Options{}, "Options.Dialect"},
		{pool, tokensql.Options{Dialect: tokensql.SQLite + 1}, "Options.Dialect"},
		{pool, tokensql.Options{Dialect: tokensql.SQLite, Table: "1st"}, "Options.Table"},
		{pool, tokensql.Options{Dialect: tokensql.SQLite, Table: "a b"}, "Options.Table"},
		{pool, tokensql.Options{Dialect: tokensql.SQLite, Table: "a\n"}, "Options.Table"},
		{pool, tokensql.Options{Dialect: tokensql.SQLite, Table: `a";drop table b;--`}, "Options.Table"},
		{pool, tokensql.Options{Dialect: tokensql.SQLite, Table: "a.b.c"}, "Options.Table"},
		{pool, tokensql.Options{Dialect: tokensql.SQLite, Table: ".b"}, "Options.Table"},
		{pool, tokensql.Options{Dialect: tokensql.SQLite, Table: strings.Repeat("x", 49)}, "Options.Table"},
	} {
		_, err := tokensql.New(c.pool, c.options)
		assert.ErrorContains(t, err, c.text, "%+v", c.options)
	}
}

// The names are words of SQL, which only quotes make names.
func TestTables(t *testing.T) {
	pool := open(t, filepath.Join(t.TempDir(), "tokens.db"))
	for _, table := range []string{"", "select", "main.order", "main.Group", strings.Repeat("x", 48)} {
		db, err := tokensql.New(pool, tokensql.Options{Dialect: tokensql.SQLite, Table: table})
		require.NoError(t, err)
		require.NoError(t, db.Migrate(t.Context()), table)
		put(t, db, "ada", "", table+" value") // each is empty
		n, err := db.Purge(t.Context(), time.Hour)
		require.NoError(t, err)
		assert.Zero(t, n)
		name := table[strings.LastIndex(table, ".")+1:]
		if name == "" {
			name = "piecesauth_tokens"
		}
		var sources int
		require.NoError(t, pool.QueryRowContext(t.Context(), `SELECT count(*) FROM sqlite_master WHERE (type, name) = ('table', ?) OR (type, name) = ('index', ?)`,
			name, name+"_stored_at").Scan(&sources))
		assert.Equal(t, 2, sources, "the table and its index")
	}
}

func TestMigrateAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens.db")
	var wg sync.WaitGroup
	for range 8 {
		pool := open(t, path)
		wg.Go(func() {
			db, err := tokensql.New(pool, tokensql.Options{Dialect: tokensql.SQLite})
			if assert.NoError(t, err) {
				assert.NoError(t, db.Migrate(t.Context()))
				assert.NoError(t, db.Migrate(t.Context()))
			}
		})
	}
	wg.Wait()
}

// A busy database is asked again, for as long as the caller waits.
func TestMigrateBusy(t *testing.T) {
	address := "file:" + filepath.Join(t.TempDir(), "tokens.db") + "?_pragma=busy_timeout(1)&_pragma=journal_mode(WAL)"
	pool, err := sql.Open("sqlite", address)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, pool.Close()) })
	lock, err := pool.Conn(t.Context())
	require.NoError(t, err)
	_, err = lock.ExecContext(t.Context(), "BEGIN IMMEDIATE")
	require.NoError(t, err)
	db, err := tokensql.New(pool, tokensql.Options{Dialect: tokensql.SQLite})
	require.NoError(t, err)

	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, db.Migrate(ctx), context.DeadlineExceeded)

	migrated := make(chan error)
	go func() { migrated <- db.Migrate(t.Context()) }()
	_, err = lock.ExecContext(t.Context(), "ROLLBACK")
	require.NoError(t, err)
	require.NoError(t, <-migrated)
	require.NoError(t, lock.Close())
}

// Where the table is there already, a reader of it needs no right to make one.
func TestMigrateChangesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens.db")
	migrate := func(address string) error {
		pool, err := sql.Open("sqlite", address)
		require.NoError(t, err)
		defer func() { assert.NoError(t, pool.Close()) }()
		db, err := tokensql.New(pool, tokensql.Options{Dialect: tokensql.SQLite})
		require.NoError(t, err)
		return db.Migrate(t.Context())
	}
	readOnly := "file:" + path + "?mode=ro&_pragma=busy_timeout(1000)&_pragma=query_only(1)"
	require.NoError(t, migrate("file:"+path+pragmas))
	require.NoError(t, migrate(readOnly))
	readOnly = strings.Replace(readOnly, path, path+"2", 1)
	require.Error(t, migrate(readOnly))
}

func TestMigrateChecksHowSQLiteWasOpened(t *testing.T) {
	for address, text := range map[string]string{
		"?_pragma=journal_mode(WAL)":                            "busy timeout",
		"?_pragma=busy_timeout(100)":                            "write-ahead log",
		"?_pragma=busy_timeout(100)&_pragma=journal_mode(WAL)":  "",
		"?mode=memory&_pragma=busy_timeout(100)":                "",
		"?mode=memory&_pragma=busy_timeout(0)&cache=shared&a=b": "busy timeout",
	} {
		pool, err := sql.Open("sqlite", "file:"+filepath.Join(t.TempDir(), "tokens.db")+address)
		require.NoError(t, err)
		db, err := tokensql.New(pool, tokensql.Options{Dialect: tokensql.SQLite})
		require.NoError(t, err)
		if err = db.Migrate(t.Context()); text == "" {
			assert.NoError(t, err, address)
		} else {
			assert.ErrorContains(t, err, text, address)
		}
		assert.NoError(t, pool.Close())
	}
}

// Rows are made older, for nobody can wait for them.
func age(t *testing.T, pool *sql.DB, key string, by time.Duration) {
	t.Helper()
	_, err := pool.ExecContext(t.Context(), `UPDATE piecesauth_tokens SET stored_at = stored_at - ? WHERE id = ?`, by.Milliseconds(), []byte(key))
	require.NoError(t, err)
}

func TestAge(t *testing.T) {
	db, pool := newDB(t)
	version := put(t, db, "ada", "", "value")
	for _, by := range []time.Duration{0, 1500 * time.Millisecond, 3 * time.Hour, -5 * time.Hour} {
		age(t, pool, "ada", by)
		row, err := db.Get(t.Context(), "ada")
		require.NoError(t, err)
		assert.InDelta(t, max(by, 0), row.Age, float64(time.Second), "%v", by)
		assert.GreaterOrEqual(t, row.Age, time.Duration(0))
		version = put(t, db, "ada", version, "value") // which makes it new
	}
}

func TestPurge(t *testing.T) {
	db, pool := newDB(t)
	for _, key := range []string{"young", "hour", "day"} {
		put(t, db, key, "", "value")
	}
	age(t, pool, "hour", time.Hour)
	age(t, pool, "day", 24*time.Hour)
	_, err := db.Purge(t.Context(), 0)
	require.ErrorContains(t, err, "olderThan")
	for _, c := range []struct {
		olderThan time.Duration
		want      int64
	}{{25 * time.Hour, 0}, {23 * time.Hour, 1}, {23 * time.Hour, 0}, {time.Minute, 1}} {
		n, err := db.Purge(t.Context(), c.olderThan)
		require.NoError(t, err)
		assert.Equal(t, c.want, n, "%v", c.olderThan)
	}
	row, err := db.Get(t.Context(), "young")
	require.NoError(t, err)
	assert.NotEmpty(t, row.Version)

	tx, err := pool.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	for i := range 1234 {
		_, err := tx.ExecContext(t.Context(), `INSERT INTO piecesauth_tokens VALUES (?, x'00', x'00', 0)`, []byte{byte(i), byte(i >> 8), 0})
		require.NoError(t, err)
	}
	require.NoError(t, tx.Commit())
	n, err := db.Purge(t.Context(), time.Hour)
	require.NoError(t, err)
	assert.Equal(t, int64(1234), n)

	_, err = pool.ExecContext(t.Context(), `DROP TABLE piecesauth_tokens`)
	require.NoError(t, err)
	_, err = db.Purge(t.Context(), time.Hour)
	require.ErrorContains(t, err, "tokensql: purge failed: SQLite's code 1")
}

// What a driver says can hold what was sent; what it is stays to be found.
func TestErrors(t *testing.T) {
	const id, value = "ada-the-secret-id", "the-secret-value"
	db, pool := newDB(t)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	late, cancel := context.WithTimeout(t.Context(), -1)
	defer cancel()
	_, err := pool.ExecContext(t.Context(), `CREATE TRIGGER t BEFORE INSERT ON piecesauth_tokens BEGIN SELECT RAISE(ABORT, 'no `+id+value+`'); END`)
	require.NoError(t, err)
	for _, c := range []struct {
		name, text string
		ctx        context.Context //nolint:containedctx // of a table
		is         error
	}{
		{"refused", "tokensql: swap failed: SQLite's code 1811", t.Context(), nil},
		{"canceled", "tokensql: swap failed: context canceled", ended, context.Canceled},
		{"too late", "tokensql: swap failed: context deadline exceeded", late, context.DeadlineExceeded},
	} {
		_, ok, err := db.Swap(c.ctx, id, "", []byte(value))
		assert.EqualError(t, err, c.text, c.name)
		assert.False(t, ok)
		if c.is != nil {
			assert.ErrorIs(t, err, c.is)
			_, err := db.Get(c.ctx, id)
			assert.ErrorIs(t, err, c.is)
			assert.ErrorIs(t, db.Migrate(c.ctx), c.is)
			_, err = db.Purge(c.ctx, time.Hour)
			assert.ErrorIs(t, err, c.is)
			continue
		}
		var of *sqlite.Error
		require.ErrorAs(t, err, &of)
		assert.Contains(t, of.Error(), id, "the driver's own text, which is not ours")
	}
	long := strings.Repeat("x", 513)
	_, err = db.Get(t.Context(), long)
	require.EqualError(t, err, "tokensql: the id is longer than 512 bytes")
	_, _, err = db.Swap(t.Context(), long, "", []byte(value))
	require.EqualError(t, err, "tokensql: the id is longer than 512 bytes")
}

// fake is an error as a driver has it.
type fake struct{ text, state string }

func (f fake) Error() string { return f.text }

type stateError struct{ fake }

func (w stateError) SQLState() string { return w.state }

func TestErrorsOfOtherDrivers(t *testing.T) {
	for _, c := range []struct {
		err  error
		text string
	}{
		{stateError{fake{"ERROR: ada (SQLSTATE 23505)", "23505"}}, "tokensql: get failed: SQLSTATE 23505"},
		{stateError{fake{"ERROR: ada", "42P01"}}, "tokensql: get failed: SQLSTATE 42P01 (there is no such table: call Migrate)"},
		{stateError{fake{"ada", "ada"}}, "tokensql: get failed: tokensql_test.stateError"},
		{fake{"Error 1062 (23000): Duplicate entry 'ada' for key 'PRIMARY'", ""}, "tokensql: get failed: Error 1062 (23000)"},
		{fake{"Error 1146 (42S02): Table 'ada' doesn't exist", ""}, "tokensql: get failed: Error 1146 (42S02) (there is no such table: call Migrate)"},
		{fake{"invalid connection", ""}, "tokensql: get failed: invalid connection"},
		{fake{"ada", ""}, "tokensql: get failed: tokensql_test.fake"},
	} {
		pool := sql.OpenDB(broken{c.err})
		db, err := tokensql.New(pool, tokensql.Options{Dialect: tokensql.Postgres})
		require.NoError(t, err)
		_, err = db.Get(t.Context(), "ada")
		assert.EqualError(t, err, c.text)
		assert.ErrorIs(t, err, c.err)
		assert.NoError(t, pool.Close())
	}
}

// A pool has several connections that don't know yet that they are broken. A
// write is not repeated: it may have happened.
func TestReadsAreRepeated(t *testing.T) {
	for _, c := range []struct {
		breaks int
		read   bool
		text   string
	}{
		{3, true, "tokensql: get failed: SQLSTATE 42P01 (there is no such table: call Migrate)"},
		{4, true, "tokensql: get failed: unexpected EOF"},
		{1, false, "tokensql: swap failed: unexpected EOF"},
	} {
		pool := sql.OpenDB(wakeful{&c.breaks})
		db, err := tokensql.New(pool, tokensql.Options{Dialect: tokensql.Postgres})
		require.NoError(t, err)
		if c.read {
			_, err = db.Get(t.Context(), "ada")
		} else {
			_, _, err = db.Swap(t.Context(), "ada", "", []byte("value"))
		}
		assert.EqualError(t, err, c.text)
		assert.NoError(t, pool.Close())
	}
}
