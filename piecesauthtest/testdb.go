package piecesauthtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/piecesauth/piecesauth/tokenkv"
)

// TestDB is the suite that every [tokenkv.DB] has to pass. factory returns an
// empty database, a new one at each call; it may use t for what the database
// needs, such as t.TempDir and t.Cleanup.
//
// Besides what the interface says, a DB passes if
//
//   - Get sees the result of every Swap that has returned, whoever called it;
//   - of many concurrent Swaps of one version exactly one succeeds;
//   - keys of any bytes are distinguished, whatever their case, spaces at their
//     ends, NUL bytes, invalid UTF-8 and Unicode normalization, and so are keys of
//     512 bytes that differ in the last;
//   - values of any bytes come back unchanged, up to 1 MiB;
//   - Age is never negative, and grows with time, or is always 0; another Swap
//     resets it. It may be off by 100 milliseconds;
//   - if the context has ended, Get and Swap return an error that matches its error, and
//     Swap does nothing;
//   - no error contains the key.
//
// What one process can't see is not tested: whether Get reads the primary after
// another process wrote, whose clock Age uses if all clocks agree, and whether
// the result of a Swap survives a crash of the database.
func TestDB(t *testing.T, factory func(t *testing.T) tokenkv.DB) {
	t.Helper()
	for _, c := range dbCases {
		t.Run(c.name, func(t *testing.T) { c.run(dbTest{t, factory(t)}) })
	}
}

// dbTest is one case of TestDB.
type dbTest struct {
	testing.TB
	db tokenkv.DB
}

var dbCases = []struct {
	name string
	run  func(dbTest)
}{
	{"empty", func(t dbTest) { t.expect("key", "", nil) }},
	{"round trip", func(t dbTest) {
		v1 := t.create("key", []byte("one"))
		t.expect("key", v1, []byte("one"))
		t.expect("key", v1, []byte("one"))
		v2 := t.swap("key", v1, []byte("two"))
		t.expect("key", v2, []byte("two"))
	}},
	{"create only where there is none", func(t dbTest) {
		v := t.create("key", []byte("one"))
		t.refuse("", []byte("two"))
		t.expect("key", v, []byte("one"))
	}},
	{"swap only the version", func(t dbTest) {
		v1 := t.create("key", []byte("one"))
		v2 := t.swap("key", v1, []byte("two"))
		other := t.create("other", []byte("one"))
		for _, wrong := range []string{v1, other} {
			t.refuse(wrong, []byte("three"))
			t.refuse(wrong, nil)
		}
		for _, wrong := range []string{v2 + "x", v2 + " ", " " + v2, v2[1:], v2[:len(v2)-1], "0", "%", "none"} { // which may be errors
			for _, value := range [][]byte{[]byte("three"), nil} {
				if _, ok, err := t.db.Swap(context.Background(), "key", wrong, value); ok && err == nil {
					t.Errorf("Swap takes version %q, the row's is %q", wrong, v2)
				}
			}
		}
		t.expect("key", v2, []byte("two"))
	}},
	{"swap where there is none", func(t dbTest) {
		v := t.create("other", []byte("one"))
		t.refuse(v, []byte("two"))
		t.refuse(v, nil)
		t.expect("key", "", nil)
	}},
	{"delete", func(t dbTest) {
		v1 := t.create("key", []byte("one"))
		t.delete("key", v1)
		t.expect("key", "", nil)
		t.refuse(v1, []byte("stale"))
		t.refuse(v1, nil)
		t.expect("key", "", nil)
		v2 := t.create("key", []byte("two"))
		t.refuse(v1, []byte("stale"))
		t.refuse(v1, nil)
		t.expect("key", v2, []byte("two"))
	}},
	{"no version twice", func(t dbTest) {
		seen := map[string]string{}
		note := func(how, v string) {
			if before, ok := seen[v]; ok {
				t.Errorf("the version after %s is the one after %s", how, before)
			}
			seen[v] = how
		}
		for i := range 20 {
			n := strconv.Itoa(i)
			v := t.create("key", []byte("same"))
			note("creation "+n, v)
			w := t.swap("key", v, []byte("same"))
			note("swap "+n, w)
			t.expect("key", w, []byte("same"))
			t.delete("key", w)
		}
	}},
	{"values", func(t dbTest) {
		version := ""
		all := make([]byte, 256)
		for i := range all {
			all[i] = byte(i)
		}
		for _, value := range [][]byte{
			all, {0}, []byte(" spaces "), []byte("\xff\xfe"), []byte("'\"\\%_;--"), []byte("\r\n"), []byte("世界 🔑"), []byte("null"),
			bytes.Repeat(all, 1<<4), bytes.Repeat(all, 1<<8+1), bytes.Repeat([]byte("x"), 1<<20),
		} {
			version = t.swap("key", version, value)
			t.expect("key", version, value)
		}
	}},
	{"keys are kept apart", func(t dbTest) {
		versions := map[string]string{}
		for _, key := range similarKeys() {
			versions[key] = t.create(key, []byte("of "+key))
		}
		for key, version := range versions {
			t.expect(key, version, []byte("of "+key))
		}
		for i, key := range similarKeys() {
			if i%2 == 0 {
				t.delete(key, versions[key])
				versions[key] = ""
			}
		}
		for key, version := range versions {
			value := []byte("of " + key)
			if version == "" {
				value = nil
			}
			t.expect(key, version, value)
		}
	}},
	{"values are copies", func(t dbTest) {
		given := []byte("value")
		v := t.create("key", given)
		given[0] = 'X'
		row := t.get("key")
		if len(row.Value) > 0 {
			row.Value[0] = 'Y'
		}
		t.expect("key", v, []byte("value"))
	}},
	{"one of many wins", testOneOfMany},
	{"nothing is lost", testNothingLost},
	{"age", testAge},
	{"context that has ended", func(t dbTest) {
		v := t.create("a key to be looked for", []byte("one"))
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_, err := t.db.Get(ctx, "a key to be looked for")
		t.expectCanceled("Get", err)
		_, _, err = t.db.Swap(ctx, "a key to be looked for", v, []byte("two"))
		t.expectCanceled("Swap", err)
		_, _, err = t.db.Swap(ctx, "a key to be looked for", v, nil)
		t.expectCanceled("Swap to nil", err)
		t.expect("a key to be looked for", v, []byte("one"))
	}},
}

// similarKeys returns keys that some databases do not distinguish.
func similarKeys() []string {
	long := strings.Repeat("k", 511)
	keys := []string{
		"key", "Key", "KEY", "key ", " key", "key\t", "key\n", "key\x00", "\x00key", "key\x00\x00", "key\x00b", "ke", "k", "\x00", " ",
		"kéy", "ke\u0301y", "kêy", "ſ", "s", "ß", "ss", "İ", "i", "ı", "K", "\u212a", "\u00a0", "\u200b", "key\u200b",
		"\xff", "\xfe", "\xff\xff", "\xc3", "\xed\xa0\x80", "\ufffd", "\x80", "key\xff",
		"key%", "key_", "k%", "key*", "k?y", "key'", `key"`, `key\`, `key\\`, "key\\0", "{key}", "key:1", "key;", "key--", "key/..", "../key",
		"0", "00", "0.0", "0e0", "1e1", "10", "true", "NULL", "null", "nil",
		long + "1", long + "2", long + "\x00", long, strings.Repeat("\xff", 512), strings.Repeat("\xff", 511), strings.Repeat("\x00", 512), strings.Repeat("\x00", 511),
		strings.Repeat("世", 170) + "ab", strings.Repeat("世", 170) + "aB",
	}
	for b := range 256 {
		keys = append(keys, "byte "+string([]byte{byte(b)})+".")
	}
	return keys
}

// testOneOfMany makes many goroutines swap one version at once, again and
// again.
func testOneOfMany(t dbTest) {
	const goroutines, rounds = 8, 10
	version := ""
	for round := range rounds {
		var won atomic.Int32
		var winner atomic.Value
		var all sync.WaitGroup
		start := make(chan struct{})
		for g := range goroutines {
			all.Go(func() {
				value := fmt.Appendf(nil, "%d of %d", round, g)
				<-start
				v, ok, err := t.db.Swap(context.Background(), "key", version, value)
				switch {
				case err != nil:
					t.Errorf("Swap: %v", err)
				case ok:
					won.Add(1)
					winner.Store(tokenkv.Row{Version: v, Value: value})
				}
			})
		}
		close(start)
		wait(t, "Swaps at once", all.Wait)
		if n := won.Load(); n != 1 {
			t.Fatalf("of %d Swaps of one version at once %d were done, want 1", goroutines, n)
		}
		row, _ := winner.Load().(tokenkv.Row)
		t.expect("key", row.Version, row.Value)
		version = row.Version
	}
}

// testNothingLost counts in a row with many goroutines.
func testNothingLost(t dbTest) {
	const goroutines, each = 4, 15
	var all sync.WaitGroup
	for range goroutines {
		all.Go(func() {
			for done := 0; done < each; {
				row, err := t.db.Get(context.Background(), "key")
				if err != nil {
					t.Errorf("Get: %v", err)
					return
				}
				_, ok, err := t.db.Swap(context.Background(), "key", row.Version, append(row.Value, 'x'))
				if err != nil {
					t.Errorf("Swap: %v", err)
					return
				}
				if ok {
					done++
				}
			}
		})
	}
	wait(t, "concurrent Swaps", all.Wait)
	if n := len(t.get("key").Value); n != goroutines*each {
		t.Errorf("%d of %d concurrent changes are stored", n, goroutines*each)
	}
}

// ageStep is how long testAge waits, and ageSlack how far an Age may be off.
const (
	ageStep  = 300 * time.Millisecond
	ageSlack = 100 * time.Millisecond
)

// testAge compares Age with this machine's monotonic clock.
func testAge(t dbTest) {
	before := time.Now()
	v := t.create("key", []byte("one"))
	after := time.Now()
	check := func(what string) time.Duration {
		asked := time.Now()
		age := t.get("key").Age
		least, most := asked.Sub(after)-ageSlack, time.Since(before)+ageSlack
		switch {
		case age < 0:
			t.Errorf("%s: the Age is %v", what, age)
		case age != 0 && (age < least || age > most):
			t.Errorf("%s: the Age is %v, want %v to %v, or always 0", what, age, max(0, least), most)
		}
		return age
	}
	check("a row just stored")
	time.Sleep(ageStep) // the database's clock can't be turned
	later := check("a row stored a while ago")
	before = time.Now()
	v = t.swap("key", v, []byte("two"))
	after = time.Now()
	if check("a row just swapped"); later == 0 {
		time.Sleep(ageStep)
		if age := t.get("key").Age; age != 0 {
			t.Errorf("the Age is %v after it was always 0", age)
		}
	}
	t.delete("key", v)
	before = time.Now()
	t.create("key", []byte("three"))
	after = time.Now()
	check("a row deleted and stored anew")
}

func (t dbTest) get(key string) tokenkv.Row {
	t.Helper()
	row, err := t.db.Get(context.Background(), key)
	if err != nil {
		t.Fatalf("Get of key %.40q: %v", key, err)
	}
	return row
}

// expect checks what Get returns; a version of "" stands for no row.
func (t dbTest) expect(key, version string, value []byte) {
	t.Helper()
	row := t.get(key)
	switch {
	case row.Version != version:
		t.Errorf("Get of key %.40q: version %q, want %q", key, row.Version, version)
	case !bytes.Equal(row.Value, value):
		t.Errorf("Get of key %.40q: %d bytes, %.40q, want %d, %.40q", key, len(row.Value), row.Value, len(value), value)
	case version == "" && row.Age != 0:
		t.Errorf("Get of key %.40q, which has no row: Age %v", key, row.Age)
	}
}

func (t dbTest) create(key string, value []byte) string {
	t.Helper()
	return t.swap(key, "", value)
}

func (t dbTest) swap(key, version string, value []byte) string {
	t.Helper()
	v, ok, err := t.db.Swap(context.Background(), key, version, value)
	switch {
	case err != nil:
		t.Fatalf("Swap of key %.40q: %v", key, err)
	case !ok:
		t.Fatalf("Swap of key %.40q refuses the version that the row has", key)
	case v == "":
		t.Fatalf("Swap of key %.40q returns no version", key)
	case v == version:
		t.Fatalf("Swap of key %.40q returns the version from before", key)
	}
	return v
}

func (t dbTest) delete(key, version string) {
	t.Helper()
	v, ok, err := t.db.Swap(context.Background(), key, version, nil)
	if err != nil || !ok || v != "" {
		t.Fatalf("Swap of key %.40q to nil: version %q, %v, %v; want none, true and no error", key, v, ok, err)
	}
}

// refuse swaps the row of "key", which has another version.
func (t dbTest) refuse(version string, value []byte) {
	t.Helper()
	_, ok, err := t.db.Swap(context.Background(), "key", version, value)
	if err != nil {
		t.Errorf("Swap with another version: %v; want no error", err)
	}
	if ok {
		t.Errorf("Swap takes version %q, which the row doesn't have", version)
	}
}

func (t dbTest) expectCanceled(what string, err error) {
	t.Helper()
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%s with a canceled context: %v, want context.Canceled", what, err)
		return
	}
	if strings.Contains(err.Error(), "looked for") {
		t.Errorf("%s: the error names the key", what)
	}
}
