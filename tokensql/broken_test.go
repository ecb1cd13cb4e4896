package tokensql_test

import (
	"context"
	"database/sql/driver"
)

// broken is a driver whose connections all fail with one error.
type broken struct{ err error }

func (b broken) Connect(context.Context) (driver.Conn, error) { return nil, b.err }
func (b broken) Driver() driver.Driver                        { return nil }
