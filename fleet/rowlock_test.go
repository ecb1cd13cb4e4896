package fleet_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"

	"github.com/piecesauth/piecesauth"
)

// rowLock is the rival: the store that most people write first, with a row's
// lock, and so a connection, held through the refresh.
type rowLock struct {
	db *connected
	id string
}

func (r rowLock) Load(ctx context.Context) (*piecesauth.Token, error) {
	row, err := r.db.Get(ctx, r.id)
	if err != nil {
		return nil, err
	}
	if row.Version == "" {
		return nil, piecesauth.ErrNoToken
	}
	return decodeBare(row.Value)
}

func (r rowLock) Update(ctx context.Context, fn func(context.Context, *piecesauth.Token) (*piecesauth.Token, error)) error {
	tx, err := r.db.sql.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // after Commit nothing happens
	var value []byte
	var stored *piecesauth.Token
	err = tx.QueryRowContext(ctx, `SELECT value FROM `+r.db.Table+` WHERE id = $1 FOR UPDATE`, []byte(r.id)).Scan(&value)
	switch {
	case errors.Is(err, sql.ErrNoRows):
	case err != nil:
		return err
	default:
		if stored, err = decodeBare(value); err != nil {
			return err
		}
	}
	token, err := fn(ctx, stored)
	if err != nil {
		return err
	}
	if value, err = json.Marshal(bare{Token: token}); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, `UPDATE `+r.db.Table+` SET value = $1 WHERE id = $2`, value, []byte(r.id)); err != nil { //nolint:gosec // G202: the test made up the name
		return err
	}
	return tx.Commit()
}

// bare is the token as it stands in a row of tokenkv that isn't sealed.
type bare struct {
	Token *piecesauth.Token `json:"token"`
}

func decodeBare(value []byte) (*piecesauth.Token, error) {
	var b bare
	err := json.Unmarshal(value, &b)
	return b.Token, err
}
