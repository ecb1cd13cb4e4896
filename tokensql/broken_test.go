package tokensql_test

import (
	"context"
	"database/sql/driver"
	"io"
)

// wakeful is a driver whose first connections break, and later ones answer that
// there is no table.
type wakeful struct{ breaks *int }

func (w wakeful) Connect(context.Context) (driver.Conn, error) {
	if *w.breaks--; *w.breaks >= 0 {
		return nil, io.ErrUnexpectedEOF
	}
	return nil, stateError{fake{"ERROR", "42P01"}}
}
func (w wakeful) Driver() driver.Driver { return nil }

// broken is a driver whose connections all fail with one error.
type broken struct{ err error }

func (b broken) Connect(context.Context) (driver.Conn, error) { return nil, b.err }
func (b broken) Driver() driver.Driver                        { return nil }
