package tokensql

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"strconv"
)

// failure is an error of the database or its driver. It hides their text, which
// can contain an id or a value ("Duplicate entry '…' for key").
type failure struct {
	op  string
	err error
}

func failed(op string, err error) error { return &failure{op, err} }

// plain lists errors whose text is known to contain nothing of a row.
var plain = []error{
	context.Canceled, context.DeadlineExceeded, sql.ErrConnDone, sql.ErrTxDone, driver.ErrBadConn, io.EOF, io.ErrUnexpectedEOF,
}

// mysqlCode finds the number at the beginning of an error of go-sql-driver;
// lib/pq and pgx have a method for it.
var mysqlCode = regexp.MustCompile(`^Error \d+ \(\w{5}\)`)

func (f *failure) Error() string {
	text := "tokensql: " + f.op + " failed: "
	for _, known := range plain {
		if errors.Is(f.err, known) {
			return text + known.Error()
		}
	}
	if code := code(f.err); code != "" {
		return text + code + hints[code]
	}
	var network *net.OpError
	switch {
	case errors.As(f.err, &network):
		return text + network.Error()
	case f.err.Error() == "invalid connection": // of go-sql-driver/mysql
		return text + f.err.Error()
	}
	return text + fmt.Sprintf("%T", f.err)
}

// code returns the database's own name for the error, or "".
func code(err error) string {
	var state interface{ SQLState() string } // of pgx and lib/pq
	if errors.As(err, &state) && len(state.SQLState()) == 5 {
		return "SQLSTATE " + state.SQLState()
	}
	var sqlite interface{ Code() int } // of modernc.org/sqlite
	if errors.As(err, &sqlite) {
		return "SQLite's code " + strconv.Itoa(sqlite.Code())
	}
	for ; err != nil; err = errors.Unwrap(err) {
		if code := mysqlCode.FindString(err.Error()); code != "" {
			return code
		}
	}
	return ""
}

// busy reports whether SQLite refused because another connection holds the
// lock.
func busy(err error) bool {
	var sqlite interface{ Code() int }
	return errors.As(err, &sqlite) && sqlite.Code()&0xff == 5 // SQLITE_BUSY and its kinds
}

// hints says what to do about an error code.
var hints = map[string]string{
	"SQLSTATE 42P01":     " (there is no such table: call Migrate)",
	"Error 1146 (42S02)": " (there is no such table: call Migrate)",
	"SQLSTATE 42501":     " (the role lacks a right)",
	"Error 1142 (42000)": " (the user lacks a right)",
}

// Unwrap returns the driver's error, whose text may hold an id.
func (f *failure) Unwrap() error { return f.err }
