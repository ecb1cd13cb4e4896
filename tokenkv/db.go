package tokenkv

import (
	"bytes"
	"context"
	"crypto/rand"
	"sync"
	"time"
)

// DB is a table of rows by key, in any database that can compare and swap.
// Packages tokensql and tokenredis have one, [MemoryDB] is another; the
// function TestDB of package piecesauthtest is the test for any other.
//
// A key is a string of 1 to 512 bytes, any bytes: NUL, spaces at its end and
// invalid UTF-8 included. Two keys are the same only if their bytes are. A value
// is of 1 byte to 1 MiB, any bytes. An error names neither key nor value.
type DB interface {
	// Get returns the row as it is now, from the primary where there are
	// replicas. Where there is no row, it returns one whose Version is "", and no
	// error.
	Get(ctx context.Context, key string) (Row, error)
	// Swap stores value if the row's version is still the one given, in one step
	// that no other Swap can come between, and returns the version it has then. A
	// version of "" means: only if there is no row. A nil value deletes the row,
	// which leaves newVersion "". Where the row has another version, or there is
	// none, ok is false and nothing changes.
	//
	// No version of a key comes twice, not after the row was deleted either: 128
	// random bits will do. After an error the swap may have happened.
	Swap(ctx context.Context, key, version string, value []byte) (newVersion string, ok bool, err error)
}

// Row is what a [DB] holds for a key.
type Row struct {
	// Value is as it was stored, and the caller's to change.
	Value []byte
	// Version is another one after each Swap; "" where there is no row.
	Version string
	// Age is how long ago the row was stored, by the database's own clock, which
	// is one for all who ask; 0 where it has none. It is never negative.
	Age time.Duration
}

// MemoryDB is a [DB] in memory, for tests and for programs of one process. The
// zero value is empty and ready for use; it must not be copied.
type MemoryDB struct {
	mu   sync.Mutex
	rows map[string]memoryRow
}

type memoryRow struct {
	value   []byte
	version string
	stored  time.Time
}

// Get returns a copy of the row.
func (m *MemoryDB) Get(ctx context.Context, key string) (Row, error) {
	if err := ctx.Err(); err != nil {
		return Row{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	r, ok := m.rows[key]
	if !ok {
		return Row{}, nil
	}
	return Row{Value: bytes.Clone(r.value), Version: r.version, Age: max(0, time.Since(r.stored))}, nil
}

// Swap stores a copy of value.
func (m *MemoryDB) Swap(ctx context.Context, key, version string, value []byte) (string, bool, error) {
	if err := ctx.Err(); err != nil {
		return "", false, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.rows[key].version != version {
		return "", false, nil
	}
	if value == nil {
		delete(m.rows, key)
		return "", true, nil
	}
	if m.rows == nil {
		m.rows = map[string]memoryRow{}
	}
	r := memoryRow{value: bytes.Clone(value), version: rand.Text(), stored: time.Now()}
	m.rows[key] = r
	return r.version, true, nil
}
