// Package tokensql keeps the tokens of many people in PostgreSQL, MySQL or
// MariaDB, or SQLite, for package tokenkv: any number of machines share them,
// and refresh each token once.
//
//	pool, err := sql.Open("pgx", os.Getenv("DATABASE_URL"))
//	db, err := tokensql.New(pool, tokensql.Options{Dialect: tokensql.Postgres})
//	err = db.Migrate(ctx)
//	tokens, err := tokenkv.New(db, tokenkv.Options{Sealer: sealer})
//
// It imports no driver. It is tested with pgx (package stdlib),
// go-sql-driver/mysql and modernc.org/sqlite. Reading a row is one statement,
// and so is writing one; no connection is held in between, and a pool of one is
// enough.
//
// # Drivers and servers
//
// PostgreSQL 9.5 or later. Behind a pooler that keeps no prepared statements,
// such as PgBouncer by transaction, add default_query_exec_mode=exec to the
// address for pgx. With synchronous_commit off, the last moments before a crash
// are lost, and with them the refresh tokens that came then.
//
// MySQL 5.7 or MariaDB 10.2 or later. Add interpolateParams=true to the
// address: without it each statement costs two round trips. With
// innodb_flush_log_at_trx_commit other than 1, a crash loses the last second.
//
// SQLite 3.42 or later, for processes of one machine. Migrate demands a busy
// timeout and the write-ahead log, on each connection: for modernc.org/sqlite
//
//	sql.Open("sqlite", "file:tokens.db?_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)")
//
// # Replicas
//
// Reading and writing have to reach the same server, the primary. After a
// failover to a replica that lags, a refresh token that was spent already comes
// back: a server that rotates takes its use for theft, unless it happens within
// the server's leeway, and the person signs in again. Synchronous replication
// avoids that.
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

// Dialect is the SQL that a database speaks.
type Dialect int

// The dialects. MySQL is MariaDB's as well.
const (
	Postgres Dialect = iota + 1
	MySQL
	SQLite
)

// Options says how rows are kept. Dialect has to be set.
type Options struct {
	// Dialect is the database's.
	Dialect Dialect
	// Table is the name of the table, default "piecesauth_tokens": up to 48 ASCII
	// letters, digits and underscores, not beginning with a digit. In front of it
	// there may be a schema or a database, of the same kind, and a dot.
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

// New returns a DB over the pool, which stays the caller's to close. It does
// not ask the database for anything; see [DB.Migrate].
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

// Migrate makes the table and its index, unless they are there. All replicas
// may call it at once, and each time they start; once the table is there it
// needs no right to make one. For SQLite it also checks how the database was
// opened.
func (d *DB) Migrate(ctx context.Context) error {
	if d.dialect != SQLite {
		return d.makeTable(ctx)
	}
	// While another connection turns the write-ahead log on, SQLite answers at
	// once that it is busy, whatever the busy timeout.
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

// readAgain is how often a read is repeated that the database has not answered:
// when its connections break, a pool has several that don't know yet.
const readAgain = 3

// Get returns the row of the key, and its age by the database's clock. Where
// there is none, Version is empty.
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

// Swap stores the value, or with a nil value deletes the row, if the row still
// has the version; with an empty version, if there is no row. An error says
// nothing about whether it happened.
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

// Purge deletes the rows that were last written longer ago than olderThan, by
// the database's clock, and returns how many. Nobody came back for those:
// olderThan must be longer than a refresh token lives at the authorization
// server, counted from its last use, else people are signed out who need not
// be. Rows are written only when a token is refreshed, so it must be longer
// than an access token lives as well. It deletes 500 rows at a time; what was
// deleted before an error stays so, and is counted.
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
