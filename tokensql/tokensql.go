// Package tokensql keeps the tokens of many people in PostgreSQL, MySQL or
// MariaDB, or SQLite. It is a database for package tokenkv: any number of
// machines share the tokens, and each token is refreshed once.
//
//	pool, err := sql.Open("pgx", os.Getenv("DATABASE_URL"))
//	db, err := tokensql.New(pool, tokensql.Options{Dialect: tokensql.Postgres})
//	err = db.Migrate(ctx)
//	tokens, err := tokenkv.New(db, tokenkv.Options{Sealer: sealer})
//
// It imports no driver. It is tested with pgx (package stdlib),
// go-sql-driver/mysql and modernc.org/sqlite. Reading a row is one statement,
// and so is writing one. No connection is held in between, so a pool of one is
// enough.
//
// # Drivers and servers
//
// PostgreSQL 9.5 or later. Behind a pooler that keeps no prepared statements,
// such as PgBouncer in transaction mode, add default_query_exec_mode=exec to
// the connection string of pgx. With synchronous_commit off, a crash loses the
// last moments, and the refresh tokens that were stored in them.
//
// MySQL 5.7 or MariaDB 10.2 or later. Add interpolateParams=true to the
// connection string: without it each statement costs two round trips. With
// innodb_flush_log_at_trx_commit other than 1, a crash loses the last second.
//
// SQLite 3.42 or later, for processes on one machine. Migrate requires a busy
// timeout and the write-ahead log on each connection. For modernc.org/sqlite:
//
//	sql.Open("sqlite", "file:tokens.db?_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)")
//
// # Replicas
//
// Reads and writes have to reach the same server, the primary. After a failover
// to a replica that lags, a refresh token that was already spent comes back. A
// server that rotates refresh tokens treats its use as theft, unless it happens
// within the server's leeway, and the person has to sign in again. Synchronous
// replication avoids that.
package tokensql

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/piecesauth/piecesauth/tokenkv"
)

// Dialect is the SQL dialect of a database.
type Dialect int

// The dialects. MySQL is for MariaDB too.
const (
	Postgres Dialect = iota + 1
	MySQL
	SQLite
)

// Options are the options of [New]. Dialect is required.
type Options struct {
	// Dialect is the dialect of the database.
	Dialect Dialect
	// Table is the name of the table, by default "piecesauth_tokens": up to 48
	// ASCII letters, digits and underscores, not beginning with a digit. It may
	// be preceded by the name of a schema or database, of the same form, and a
	// dot.
	Table string
}

// DB is a [tokenkv.DB] in a table. It is safe for concurrent use.
type DB struct {
	db      *sql.DB
	dialect Dialect
	statements
}

var _ tokenkv.DB = (*DB)(nil)

const maxKey = 512 // bytes

var tableName = regexp.MustCompile(`^(?:([A-Za-z_][A-Za-z0-9_]{0,47})\.)?([A-Za-z_][A-Za-z0-9_]{0,47})$`)

// New returns a DB that uses the pool, which the caller has to close. It does
// not connect to the database; see [DB.Migrate].
func New(db *sql.DB, o Options) (*DB, error) {
	if o.Table == "" {
		o.Table = "piecesauth_tokens"
	}
	name := tableName.FindStringSubmatch(o.Table)
	build := dialects[o.Dialect]
	switch {
	case db == nil:
		return nil, errors.New("tokensql: the *sql.DB is nil")
	case build == nil:
		return nil, errors.New("tokensql: Options.Dialect has to be Postgres, MySQL or SQLite")
	case name == nil:
		return nil, errors.New("tokensql: Options.Table may have 48 ASCII letters, digits and underscores, not beginning with a digit, and a schema in front of it")
	}
	return &DB{db: db, dialect: o.Dialect, statements: build(name[1], name[2])}, nil
}

// Migrate creates the table and its index, unless they exist. All replicas may
// call it at the same time, and at each start. Once the table exists, it needs
// no right to create one. For SQLite it also checks how the database was
// opened.
func (d *DB) Migrate(ctx context.Context) error {
	if d.dialect != SQLite {
		return d.makeTable(ctx)
	}
	// While another connection switches to the write-ahead log, SQLite reports
	// at once that it is busy, whatever the busy timeout.
	patience := time.NewTimer(busyFor)
	defer patience.Stop()
	for {
		err := d.checkSQLite(ctx)
		if err == nil {
			err = d.makeTable(ctx)
		}
		if !busy(err) {
			return err
		}
		select {
		case <-time.After(busyPause):
		case <-patience.C:
			return err
		case <-ctx.Done():
			return failed("migrate", ctx.Err())
		}
	}
}

// How long Migrate asks a busy SQLite again, and how often.
const (
	busyFor   = 10 * time.Second
	busyPause = 10 * time.Millisecond
)

func (d *DB) makeTable(ctx context.Context) error {
	rows, err := d.db.QueryContext(ctx, d.probe)
	if err == nil {
		err = errors.Join(rows.Err(), rows.Close())
	}
	if err == nil {
		return nil
	}
	tx, err := d.db.BeginTx(ctx, nil)
	if err != nil {
		return failed("migrate", err)
	}
	defer func() { _ = tx.Rollback() }() // after Commit nothing happens
	for _, statement := range d.migrate {
		if _, err := tx.ExecContext(ctx, statement); err != nil {
			return failed("migrate", err)
		}
	}
	if err := tx.Commit(); err != nil {
		return failed("migrate", err)
	}
	return nil
}

func (d *DB) checkSQLite(ctx context.Context) error {
	conn, err := d.db.Conn(ctx)
	if err != nil {
		return failed("migrate", err)
	}
	defer func() { _ = conn.Close() }() // back to the pool
	var timeout int
	if err := conn.QueryRowContext(ctx, "PRAGMA busy_timeout").Scan(&timeout); err != nil {
		return failed("migrate", err)
	}
	var journal string
	if err := conn.QueryRowContext(ctx, "PRAGMA journal_mode").Scan(&journal); err != nil {
		return failed("migrate", err)
	}
	switch {
	case timeout == 0:
		return errors.New("tokensql: SQLite was opened without a busy timeout: set PRAGMA busy_timeout on each connection, by the address")
	case journal != "wal" && journal != "memory":
		return errors.New("tokensql: SQLite was opened without the write-ahead log: set PRAGMA journal_mode to WAL on each connection, by the address")
	}
	return nil
}

// readAgain is how often an unanswered read is repeated: when connections
// break, a pool may hold several that are dead.
const readAgain = 3

// Get returns the row of the key, and its age by the database's clock. If there
// is none, Version is empty.
func (d *DB) Get(ctx context.Context, key string) (tokenkv.Row, error) {
	if err := checkKey(key); err != nil {
		return tokenkv.Row{}, err
	}
	var row tokenkv.Row
	var age float64
	ask := func() error {
		return d.db.QueryRowContext(ctx, d.get, []byte(key)).Scan(&row.Value, &row.Version, &age)
	}
	err := ask()
	for range readAgain {
		if err == nil || errors.Is(err, sql.ErrNoRows) || ctx.Err() != nil || code(err) != "" {
			break
		}
		err = ask()
	}
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return tokenkv.Row{}, nil
	case err != nil:
		return tokenkv.Row{}, failed("get", err)
	}
	row.Age = max(0, d.age(age)) // a clock that was set back
	return row, nil
}

// Swap stores the value, or deletes the row if value is nil, provided that the
// row still has the version or, if version is empty, that there is no row.
// After an error, it may or may not have happened.
func (d *DB) Swap(ctx context.Context, key, version string, value []byte) (newVersion string, ok bool, err error) {
	if err := checkKey(key); err != nil {
		return "", false, err
	}
	id, old := []byte(key), []byte(version)
	if value != nil {
		newVersion = rand.Text()
	}
	var result sql.Result
	switch {
	case value == nil && version == "":
		row, err := d.Get(ctx, key)
		return "", err == nil && row.Version == "", err
	case value == nil:
		result, err = d.db.ExecContext(ctx, d.remove, id, old)
	case version == "":
		result, err = d.db.ExecContext(ctx, d.insert, id, value, []byte(newVersion))
	default:
		result, err = d.db.ExecContext(ctx, d.update, value, []byte(newVersion), id, old)
	}
	if err != nil {
		return "", false, failed("swap", err)
	}
	changed, err := result.RowsAffected()
	if err != nil {
		return "", false, failed("swap", err)
	}
	if changed == 0 {
		return "", false, nil
	}
	return newVersion, true, nil
}

// purgeAtOnce is how many rows one statement of Purge deletes: few enough not
// to keep others waiting.
const purgeAtOnce = 500

// Purge deletes the rows that were last written more than olderThan ago, by the
// database's clock, and returns their number. These belong to people who did
// not come back. olderThan must be longer than the authorization server keeps
// an unused refresh token; otherwise people are signed out needlessly. Rows are
// written only when a token is refreshed, so it must also be longer than an
// access token lives. Purge deletes 500 rows at a time. After an error, the
// rows deleted so far stay deleted, and are counted.
func (d *DB) Purge(ctx context.Context, olderThan time.Duration) (int64, error) {
	if olderThan <= 0 {
		return 0, errors.New("tokensql: olderThan has to be more than zero")
	}
	var total int64
	for {
		result, err := d.db.ExecContext(ctx, d.purge, d.limit(olderThan)...)
		if err != nil {
			return total, failed("purge", err)
		}
		n, err := result.RowsAffected()
		if err != nil {
			return total, failed("purge", err)
		}
		total += n
		if n < purgeAtOnce {
			return total, nil
		}
	}
}

func checkKey(key string) error {
	if len(key) > maxKey {
		return fmt.Errorf("tokensql: the id is longer than %d bytes", maxKey)
	}
	return nil
}
