package tokenkv

import (
	"bytes"
	"context"
	"crypto/rand"
	"sync"
	"time"
)

// DB is a table of rows by key, in any database that can compare and swap.
// Packages tokensql and tokenredis implement it, and so does [MemoryDB]. To
// test another implementation, use TestDB of package piecesauthtest.
//
// A key is a string of 1 to 512 bytes, which may be any bytes, including NUL,
// spaces at the end and invalid UTF-8. Two keys are equal only if their bytes
// are. A value has 1 byte to 1 MiB, again any bytes. Errors contain neither key
// nor value.
type DB interface {
	// Get returns the current row, from the primary if there are replicas. If
	// there is no row, it returns one whose Version is "", and no error.
	Get(ctx context.Context, key string) (Row, error)
	// Swap stores value if the row still has the given version. It does so in
	// one step that no other Swap can interrupt, and returns the row's new
	// version. The version "" requires that there is no row. A nil value
	// deletes the row, and newVersion is "". If the row has another version, or
	// there is none, ok is false and nothing changes.
	//
	// A key never has the same version twice, not even after the row was
	// deleted; 128 random bits are enough. After an error, the swap may have
	// happened.
	Swap(ctx context.Context, key, version string, value []byte) (newVersion string, ok bool, err error)
}

// Row is what a [DB] holds for a key.
type Row struct {
	// Value is the value as it was stored. The caller may change it.
	Value []byte
	// Version changes with each Swap. It is "" if there is no row.
	Version string
	// Age is how long ago the row was stored, by the database's own clock,
	// which is the same for all callers; 0 if the database has none. It is
	// never negative.
	Age time.Duration
}

// MemoryDB is a [DB] in memory, for tests and for programs of one process. The
// zero value is empty and ready to use. It must not be copied.
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

// Swap stores a copy of value, as [DB] describes.
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
