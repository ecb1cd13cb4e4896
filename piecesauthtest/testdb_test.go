package piecesauthtest

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/piecesauth/piecesauth/tokenkv"
)

func TestTestDBPassesMemoryDB(t *testing.T) {
	TestDB(t, func(*testing.T) tokenkv.DB { return new(tokenkv.MemoryDB) })
}

// A database without a clock is a right one.
func TestTestDBPassesWithoutAge(t *testing.T) {
	TestDB(t, func(*testing.T) tokenkv.DB {
		return &wrongDB{right: new(tokenkv.MemoryDB), get: func(row tokenkv.Row) tokenkv.Row { row.Age = 0; return row }}
	})
}

// wrongDB is a right one but for what its fields bend.
type wrongDB struct {
	right *tokenkv.MemoryDB

	key       func(string) string
	get       func(tokenkv.Row) tokenkv.Row
	value     func([]byte) []byte
	swap      func(ctx context.Context, key, version string, value []byte) (string, bool, error)
	noContext bool
}

func (d *wrongDB) Get(ctx context.Context, key string) (tokenkv.Row, error) {
	if d.noContext {
		ctx = context.WithoutCancel(ctx)
	}
	if d.key != nil {
		key = d.key(key)
	}
	row, err := d.right.Get(ctx, key)
	if d.get != nil && err == nil {
		row = d.get(row)
	}
	return row, err
}

func (d *wrongDB) Swap(ctx context.Context, key, version string, value []byte) (string, bool, error) {
	if d.noContext {
		ctx = context.WithoutCancel(ctx)
	}
	if d.key != nil {
		key = d.key(key)
	}
	if d.value != nil && value != nil {
		value = d.value(value)
	}
	if d.swap != nil {
		return d.swap(ctx, key, version, value)
	}
	return d.right.Swap(ctx, key, version, value)
}

// force swaps whatever the version is.
func (d *wrongDB) force(ctx context.Context, key string, value []byte) (string, bool, error) {
	row, err := d.right.Get(ctx, key)
	if err != nil {
		return "", false, err
	}
	return d.right.Swap(ctx, key, row.Version, value)
}

var wrongDBs = map[string]struct {
	bend func(*wrongDB)
	want string // the case that sees it
}{
	"swap ignores the version": {func(d *wrongDB) {
		d.swap = d.force0
	}, "swap only the version"},
	"creation overwrites": {func(d *wrongDB) {
		d.swap = func(ctx context.Context, key, version string, value []byte) (string, bool, error) {
			if version == "" {
				return d.force(ctx, key, value)
			}
			return d.right.Swap(ctx, key, version, value)
		}
	}, "create only where there is none"},
	"swap creates": {func(d *wrongDB) {
		d.swap = func(ctx context.Context, key, version string, value []byte) (string, bool, error) {
			if row, err := d.right.Get(ctx, key); err == nil && row.Version == "" {
				version = ""
			}
			return d.right.Swap(ctx, key, version, value)
		}
	}, "swap where there is none"},
	"a delete that a stale swap undoes": {func(d *wrongDB) {
		last := map[string]string{}
		d.swap = func(ctx context.Context, key, version string, value []byte) (string, bool, error) {
			row, err := d.right.Get(ctx, key)
			if err == nil && row.Version == "" && version != "" && version == last[key] {
				version = ""
			}
			v, ok, err := d.right.Swap(ctx, key, version, value)
			if v != "" {
				last[key] = v
			}
			return v, ok, err
		}
	}, "delete"},
	"delete ignores the version": {func(d *wrongDB) {
		d.swap = func(ctx context.Context, key, version string, value []byte) (string, bool, error) {
			if value == nil {
				return d.force(ctx, key, nil)
			}
			return d.right.Swap(ctx, key, version, value)
		}
	}, "swap only the version"},
	"delete leaves an empty row": {func(d *wrongDB) {
		d.swap = func(ctx context.Context, key, version string, value []byte) (string, bool, error) {
			if value == nil {
				_, ok, err := d.right.Swap(ctx, key, version, []byte{})
				return "", ok, err
			}
			return d.right.Swap(ctx, key, version, value)
		}
	}, "delete"},
	"a version comes twice":              {func(d *wrongDB) { bendVersions(d, 3) }, "no version twice"},
	"versions begin anew after a delete": {func(d *wrongDB) { bendVersions(d, 0) }, "delete"},
	"the old version is returned": {func(d *wrongDB) {
		d.swap = func(ctx context.Context, key, version string, value []byte) (string, bool, error) {
			v, ok, err := d.right.Swap(ctx, key, version, value)
			return cmp.Or(version, v), ok, err
		}
	}, "round trip"},
	"another version is returned": {func(d *wrongDB) {
		d.swap = func(ctx context.Context, key, version string, value []byte) (string, bool, error) {
			v, ok, err := d.right.Swap(ctx, key, version, value)
			if v != "" {
				v += "x"
			}
			return v, ok, err
		}
	}, "round trip"},
	"swap in two steps": {func(d *wrongDB) {
		other := make(chan struct{})
		d.swap = func(ctx context.Context, key, version string, value []byte) (string, bool, error) {
			row, err := d.right.Get(ctx, key)
			if err != nil || row.Version != version {
				return "", false, err
			}
			select { // another one comes between
			case other <- struct{}{}:
			case <-other:
			case <-time.After(patience):
			}
			return d.force(ctx, key, value)
		}
	}, "one of many wins"},
	"get between the two steps of a swap": {func(d *wrongDB) {
		between := make(chan struct{}, 1)
		d.get = func(row tokenkv.Row) tokenkv.Row {
			select {
			case between <- struct{}{}: // one Get of two sees no value yet
				row.Value = nil
			case <-between:
			}
			return row
		}
	}, "nothing is lost"},
	"two winners": {func(d *wrongDB) {
		var mu sync.Mutex
		swapped := map[string]int{}
		d.swap = func(ctx context.Context, key, version string, value []byte) (string, bool, error) {
			v, ok, err := d.right.Swap(ctx, key, version, value)
			mu.Lock()
			defer mu.Unlock()
			if swapped[version]++; !ok && swapped[version] == 2 {
				return "also", true, nil
			}
			return v, ok, err
		}
	}, "one of many wins"},
	"get from a stale replica": {func(d *wrongDB) {
		var mu sync.Mutex
		var before tokenkv.Row
		d.get = func(row tokenkv.Row) tokenkv.Row {
			mu.Lock()
			defer mu.Unlock()
			row, before = before, row
			return row
		}
	}, "round trip"},
	"keys folded":             {func(d *wrongDB) { d.key = strings.ToLower }, "keys are kept apart"},
	"keys trimmed":            {func(d *wrongDB) { d.key = strings.TrimSpace }, "keys are kept apart"},
	"keys trimmed at the end": {func(d *wrongDB) { d.key = func(k string) string { return strings.TrimRight(k, " ") } }, "keys are kept apart"},
	"keys end at NUL":         {func(d *wrongDB) { d.key = func(k string) string { k, _, _ = strings.Cut(k, "\x00"); return k } }, "keys are kept apart"},
	"keys made valid UTF-8":   {func(d *wrongDB) { d.key = func(k string) string { return strings.ToValidUTF8(k, "\ufffd") } }, "keys are kept apart"},
	"keys of 255 bytes":       {func(d *wrongDB) { d.key = func(k string) string { return k[:min(len(k), 255)] } }, "keys are kept apart"},
	"keys of 511 bytes":       {func(d *wrongDB) { d.key = func(k string) string { return k[:min(len(k), 511)] } }, "keys are kept apart"},
	"keys as numbers": {func(d *wrongDB) {
		d.key = func(k string) string {
			var n float64
			if c, _ := fmt.Sscanf(k, "%g", &n); c == 1 {
				return fmt.Sprint(n)
			}
			return k
		}
	}, "keys are kept apart"},
	"keys as patterns": {func(d *wrongDB) { d.key = func(k string) string { return strings.NewReplacer("_", "%").Replace(k) } }, "keys are kept apart"},
	"accents ignored": {func(d *wrongDB) {
		d.key = func(k string) string { return strings.NewReplacer("é", "e", "ê", "e").Replace(k) }
	}, "keys are kept apart"},
	"normalized":                  {func(d *wrongDB) { d.key = func(k string) string { return strings.ReplaceAll(k, "e\u0301", "é") } }, "keys are kept apart"},
	"values cut at 64 KiB":        {func(d *wrongDB) { d.value = func(v []byte) []byte { return v[:min(len(v), 1<<16-1)] } }, "values"},
	"values end at NUL":           {func(d *wrongDB) { d.value = func(v []byte) []byte { v, _, _ = bytes.Cut(v, []byte{0}); return v } }, "values"},
	"values made valid UTF-8":     {func(d *wrongDB) { d.value = func(v []byte) []byte { return bytes.ToValidUTF8(v, []byte("?")) } }, "values"},
	"values trimmed":              {func(d *wrongDB) { d.value = bytes.TrimSpace }, "values"},
	"values shared":               {func(d *wrongDB) { bendSharing(d) }, "values are copies"},
	"age by a clock that is fast": {func(d *wrongDB) { bendAge(d, func(a time.Duration) time.Duration { return a + time.Hour }) }, "age"},
	"age by a clock that is slow": {func(d *wrongDB) { bendAge(d, func(a time.Duration) time.Duration { return a - time.Hour }) }, "age"},
	"age stands still":            {func(d *wrongDB) { bendAge(d, func(time.Duration) time.Duration { return time.Millisecond }) }, "age"},
	"age in other units":          {func(d *wrongDB) { bendAge(d, func(a time.Duration) time.Duration { return a * 1000 }) }, "age"},
	"age of the first version": {func(d *wrongDB) {
		began := time.Now()
		bendAge(d, func(time.Duration) time.Duration { return time.Since(began) })
	}, "age"},
	"age comes and goes": {func(d *wrongDB) {
		n := 0
		bendAge(d, func(a time.Duration) time.Duration {
			if n++; n < 4 {
				return 0
			}
			return a
		})
	}, "age"},
	"age of no row": {func(d *wrongDB) {
		d.get = func(row tokenkv.Row) tokenkv.Row { row.Age = max(row.Age, 1); return row }
	}, "empty"},
	"a context that has ended is ignored": {func(d *wrongDB) { d.noContext = true }, "context that has ended"},
	"the error names the key": {func(d *wrongDB) {
		d.swap = func(ctx context.Context, key, version string, value []byte) (string, bool, error) {
			v, ok, err := d.right.Swap(ctx, key, version, value)
			if err != nil {
				err = fmt.Errorf("storing %s: %w", key, err)
			}
			return v, ok, err
		}
	}, "context that has ended"},
	"no row is an error": {func(d *wrongDB) {
		d.swap = func(ctx context.Context, key, version string, value []byte) (string, bool, error) {
			v, ok, err := d.right.Swap(ctx, key, version, value)
			if !ok && err == nil {
				err = errors.New("no row was changed")
			}
			return v, ok, err
		}
	}, "swap where there is none"},
}

// force0 is force with the signature of Swap.
func (d *wrongDB) force0(ctx context.Context, key, _ string, value []byte) (string, bool, error) {
	return d.force(ctx, key, value)
}

func bendAge(d *wrongDB, age func(time.Duration) time.Duration) {
	d.get = func(row tokenkv.Row) tokenkv.Row {
		if row.Version != "" {
			row.Age = age(row.Age)
		}
		return row
	}
}

// bendVersions counts a row's versions, from 1 again after a delete, or after so
// many.
func bendVersions(d *wrongDB, after int) {
	var mu sync.Mutex
	count, names := 0, map[string]string{}
	d.get = func(row tokenkv.Row) tokenkv.Row {
		mu.Lock()
		defer mu.Unlock()
		row.Version = names[row.Version]
		return row
	}
	d.swap = func(ctx context.Context, key, version string, value []byte) (string, bool, error) {
		row, err := d.right.Get(ctx, key)
		mu.Lock()
		defer mu.Unlock()
		if err != nil || names[row.Version] != version {
			return "", false, err
		}
		v, ok, err := d.right.Swap(ctx, key, row.Version, value)
		switch count++; {
		case value == nil && after == 0:
			count = 0
		case after > 0 && count == after:
			count = 1
		}
		if v != "" {
			names[v] = fmt.Sprint(key, count)
		}
		return names[v], ok, err
	}
}

// bendSharing keeps what it is passed, and returns what it keeps.
func bendSharing(d *wrongDB) {
	kept := map[string][]byte{}
	d.swap = func(ctx context.Context, key, version string, value []byte) (string, bool, error) {
		v, ok, err := d.right.Swap(ctx, key, version, value)
		if ok {
			kept[v] = value
		}
		return v, ok, err
	}
	d.get = func(row tokenkv.Row) tokenkv.Row {
		if v, ok := kept[row.Version]; ok {
			row.Value = v
		}
		return row
	}
}

func TestTestDBFailsWrongDBs(t *testing.T) {
	for name, test := range wrongDBs {
		t.Run(name, func(t *testing.T) {
			for _, c := range dbCases {
				if c.name != test.want {
					continue
				}
				d := &wrongDB{right: new(tokenkv.MemoryDB)}
				test.bend(d)
				v := verdict{t, make(chan struct{}, 1)}
				done := make(chan struct{})
				go func() { // for Goexit
					defer close(done)
					c.run(dbTest{v, d})
				}()
				<-done
				assert.Len(t, v.failed, 1, "the case %q passes it", c.name)
				return
			}
			assert.Fail(t, "there is no case "+test.want)
		})
	}
}
