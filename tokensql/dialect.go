package tokensql

import (
	"fmt"
	"strings"
	"time"
)

// statements are the SQL statements of one dialect, for one table. Ids, values
// and versions are bytes, because text would be compared by a collation, and
// can't hold every string.
type statements struct {
	get     string // by id: value, version, and what age understands
	insert  string // id, value, version
	update  string // value, version, id, version before
	remove  string // id, version before
	purge   string // by age and limit
	probe   string // fails if there is no table
	migrate []string

	age   func(got float64) time.Duration
	limit func(olderThan time.Duration) []any
}

func microseconds(age float64) time.Duration { return time.Duration(age) * time.Microsecond }

var dialects = map[Dialect]func(schema, table string) statements{
	Postgres: postgres,
	MySQL:    mysql,
	SQLite:   sqlite,
}

// quoted returns the names of table and schema between the given quotes.
func quoted(quote, schema, table string) string {
	name := quote + table + quote
	if schema != "" {
		name = quote + schema + quote + "." + name
	}
	return name
}

// The clock is clock_timestamp(), because now() is the time when the
// transaction began, before any wait for a lock.
func postgres(schema, table string) statements {
	t := quoted(`"`, schema, table)
	return statements{
		get:    `SELECT value, version, date_part('epoch', clock_timestamp() - stored_at) * 1000000 FROM ` + t + ` WHERE id = $1`,
		insert: `INSERT INTO ` + t + ` (id, value, version, stored_at) VALUES ($1, $2, $3, clock_timestamp()) ON CONFLICT (id) DO NOTHING`,
		update: `UPDATE ` + t + ` SET value = $1, version = $2, stored_at = clock_timestamp() WHERE id = $3 AND version = $4`,
		remove: `DELETE FROM ` + t + ` WHERE id = $1 AND version = $2`,
		purge: fmt.Sprintf(`DELETE FROM %[1]s WHERE id IN (SELECT id FROM %[1]s WHERE stored_at < clock_timestamp() - $1::float8 * interval '1 second' LIMIT %[2]d)`+
			` AND stored_at < clock_timestamp() - $1::float8 * interval '1 second'`, t, purgeAtOnce),
		probe: `SELECT id, value, version, stored_at FROM ` + t + ` WHERE 1 = 0`,
		migrate: []string{
			// CREATE … IF NOT EXISTS fails if two run at once.
			`SELECT pg_advisory_xact_lock(hashtext('` + t + `'))`,
			`CREATE TABLE IF NOT EXISTS ` + t + ` (id bytea PRIMARY KEY, value bytea NOT NULL, version bytea NOT NULL, stored_at timestamptz NOT NULL)`,
			`CREATE INDEX IF NOT EXISTS "` + table + `_stored_at" ON ` + t + ` (stored_at)`,
		},
		age:   microseconds,
		limit: func(olderThan time.Duration) []any { return []any{olderThan.Seconds()} },
	}
}

// The clock is SYSDATE(6), because NOW(6) is the time when the statement began,
// before any wait for a lock. SYSDATE is in the session's time zone, which
// differs between clients and jumps twice a year, so only its distance to NOW
// is used.
func mysql(schema, table string) statements {
	const now = `TIMESTAMPADD(MICROSECOND, TIMESTAMPDIFF(MICROSECOND, NOW(6), SYSDATE(6)), UTC_TIMESTAMP(6))`
	t := quoted("`", schema, table)
	return statements{
		get: `SELECT value, version, TIMESTAMPDIFF(MICROSECOND, stored_at, ` + now + `) FROM ` + t + ` WHERE id = ?`,
		// IGNORE, because ON DUPLICATE KEY UPDATE counts rows in a way that a client
		// can change. The other errors that it ignores can't happen: the id's length
		// was checked.
		insert: `INSERT IGNORE INTO ` + t + ` (id, value, version, stored_at) VALUES (?, ?, ?, ` + now + `)`,
		update: `UPDATE ` + t + ` SET value = ?, version = ?, stored_at = ` + now + ` WHERE id = ? AND version = ?`,
		remove: `DELETE FROM ` + t + ` WHERE id = ? AND version = ?`,
		purge:  fmt.Sprintf(`DELETE FROM %s WHERE stored_at < TIMESTAMPADD(MICROSECOND, -?, UTC_TIMESTAMP(6)) LIMIT %d`, t, purgeAtOnce),
		probe:  `SELECT id, value, version, stored_at FROM ` + t + ` WHERE 1 = 0`,
		migrate: []string{
			`CREATE TABLE IF NOT EXISTS ` + t + ` (id VARBINARY(512) NOT NULL PRIMARY KEY, value MEDIUMBLOB NOT NULL, version VARBINARY(32) NOT NULL, ` +
				`stored_at DATETIME(6) NOT NULL, INDEX ` + "`" + table + "_stored_at`" + ` (stored_at)) ENGINE=InnoDB ROW_FORMAT=DYNAMIC`,
		},
		age:   microseconds,
		limit: func(olderThan time.Duration) []any { return []any{olderThan.Microseconds()} },
	}
}

// Times are in milliseconds, like SQLite's clock, which is this machine's. So an age
// is computed without SQL, which would double the cost of a read. The stored time
// comes from SQL, because it must be the time after any wait for a lock.
func sqlite(schema, table string) statements {
	const now = `CAST(round(unixepoch('subsec') * 1000) AS INTEGER)`
	t := quoted(`"`, schema, table)
	index := quoted(`"`, schema, table+"_stored_at")
	return statements{
		get:    `SELECT value, version, stored_at FROM ` + t + ` WHERE id = ?`,
		insert: `INSERT INTO ` + t + ` (id, value, version, stored_at) VALUES (?, ?, ?, ` + now + `) ON CONFLICT (id) DO NOTHING`,
		update: `UPDATE ` + t + ` SET value = ?, version = ?, stored_at = ` + now + ` WHERE id = ? AND version = ?`,
		remove: `DELETE FROM ` + t + ` WHERE id = ? AND version = ?`,
		purge:  fmt.Sprintf(`DELETE FROM %[1]s WHERE id IN (SELECT id FROM %[1]s WHERE stored_at < %[2]s - ? LIMIT %[3]d)`, t, now, purgeAtOnce),
		probe:  `SELECT id, value, version, stored_at FROM ` + t + ` WHERE 1 = 0`,
		migrate: []string{
			`CREATE TABLE IF NOT EXISTS ` + t + ` (id BLOB NOT NULL PRIMARY KEY, value BLOB NOT NULL, version BLOB NOT NULL, stored_at INTEGER NOT NULL)`,
			strings.Join([]string{`CREATE INDEX IF NOT EXISTS`, index, `ON "` + table + `" (stored_at)`}, " "),
		},
		age:   func(stored float64) time.Duration { return time.Since(time.UnixMilli(int64(stored))) },
		limit: func(olderThan time.Duration) []any { return []any{olderThan.Milliseconds()} },
	}
}
