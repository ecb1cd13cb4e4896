package fleet_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/piecesauth/piecesauth"
	"github.com/piecesauth/piecesauth/piecesauthtest"
	"github.com/piecesauth/piecesauth/seal"
	"github.com/piecesauth/piecesauth/tokenkv"
	"github.com/piecesauth/piecesauth/tokenredis"
	"github.com/piecesauth/piecesauth/tokensql"
)

func TestDB(t *testing.T) {
	for _, name := range serverNames {
		t.Run(name, func(t *testing.T) {
			d := the(t, name)
			piecesauthtest.TestDB(t, func(t *testing.T) tokenkv.DB { return the(t, d.Name).open(t) })
		})
	}
	t.Run("redis cluster", func(t *testing.T) {
		address := os.Getenv("FLEET_CLUSTER")
		if address == "" {
			t.Skip("FLEET_CLUSTER has no address; ./run.sh starts a server")
		}
		options, err := redis.ParseURL(address)
		require.NoError(t, err)
		for _, idle := range []time.Duration{0, time.Hour} {
			piecesauthtest.TestDB(t, func(t *testing.T) tokenkv.DB {
				client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{options.Addr}, ContextTimeoutEnabled: true, ReadOnly: true})
				prefix := fmt.Sprintf("fleet:%d:%d:", os.Getpid(), tables.Add(1))
				t.Cleanup(func() {
					ctx := context.WithoutCancel(t.Context())
					assert.NoError(t, client.ForEachMaster(ctx, func(ctx context.Context, one *redis.Client) error {
						keys := one.Scan(ctx, 0, prefix+"*", 1000).Iterator()
						for keys.Next(ctx) {
							if err := one.Del(ctx, keys.Val()).Err(); err != nil {
								return err
							}
						}
						return keys.Err()
					}))
					assert.NoError(t, client.Close())
				})
				return tokenredis.New(client, tokenredis.Options{Prefix: prefix, Idle: idle})
			})
		}
	})
}

// A token's store passes what any store has to, and what any shared one has to.
func TestStores(t *testing.T) {
	sealer, err := seal.New(make([]byte, 32))
	require.NoError(t, err)
	onEach(t, func(t *testing.T, d database) {
		piecesauthtest.TestSharedStore(t, func(t *testing.T) func() piecesauth.TokenStore {
			d := the(t, d.Name)
			return func() piecesauth.TokenStore {
				tokens, err := tokenkv.New(d.open(t), tokenkv.Options{Sealer: sealer})
				require.NoError(t, err)
				return tokens.Store("ada")
			}
		})
	})
}

// Each swap counts, whoever makes it: what a lost update would not do.
func TestNoUpdateIsLost(t *testing.T) {
	onEach(t, func(t *testing.T, d database) {
		const clients, swaps = 4, 40
		var versions sync.Map
		var wg sync.WaitGroup
		for range clients {
			db := d.open(t)
			wg.Go(func() {
				for done := 0; done < swaps; {
					row, err := db.Get(t.Context(), "counter")
					if !assert.NoError(t, err) {
						return
					}
					version, ok, err := db.Swap(t.Context(), "counter", row.Version, append(row.Value, 'x'))
					if !assert.NoError(t, err) {
						return
					}
					if ok {
						_, twice := versions.LoadOrStore(version, true)
						assert.False(t, twice, "a version came twice")
						done++
					}
				}
			})
		}
		wg.Wait()
		row, err := d.open(t).Get(t.Context(), "counter")
		require.NoError(t, err)
		require.Len(t, row.Value, clients*swaps)
	})
}

// All replicas that start at once find or make the same table.
func TestMigrateAtOnce(t *testing.T) {
	for _, name := range []string{"postgres", "mariadb"} {
		t.Run(name, func(t *testing.T) {
			d := the(t, name)
			d.Table += "_migrated"
			var wg sync.WaitGroup
			var failed atomic.Int64
			for range 8 {
				wg.Go(func() {
					c, err := d.connect(context.WithoutCancel(t.Context()))
					if !assert.NoError(t, err) {
						failed.Add(1)
						return
					}
					assert.NoError(t, c.close())
				})
			}
			wg.Wait()
			require.Zero(t, failed.Load())
			db := d.open(t)
			defer db.drop(t)
			_, ok, err := db.Swap(t.Context(), "ada", "", []byte("value"))
			require.NoError(t, err)
			require.True(t, ok)
		})
	}
}

// The age is the database's, whatever the zone of the client's session.
func TestAgeInOtherTimeZones(t *testing.T) {
	for name, zones := range map[string][]string{
		"postgres": {"&timezone=Asia/Tokyo", "&timezone=America/New_York"},
		"mariadb":  {"&time_zone=%27%2B09%3A00%27", "&time_zone=%27-05%3A00%27&parseTime=true&loc=Asia%2FTokyo"},
	} {
		t.Run(name, func(t *testing.T) {
			d := the(t, name)
			for i, there := range zones {
				for j, here := range zones {
					key := fmt.Sprint(i, j)
					writer, reader := d, d
					writer.Address += there
					reader.Address += here
					_, ok, err := writer.open(t).Swap(t.Context(), key, "", []byte("value"))
					require.NoError(t, err)
					require.True(t, ok)
					row, err := reader.open(t).Get(t.Context(), key)
					require.NoError(t, err)
					assert.Positive(t, row.Age)
					assert.Less(t, row.Age, time.Minute)
				}
			}
		})
	}
}

// How a client talks to its server changes nothing.
func TestWaysToTalk(t *testing.T) {
	for name, options := range map[string][]string{
		"postgres": {"&default_query_exec_mode=exec", "&default_query_exec_mode=simple_protocol", "&default_query_exec_mode=describe_exec",
			"&default_transaction_isolation=serializable", "&default_transaction_isolation=repeatable%20read"},
		"mariadb": {"&clientFoundRows=true", "&interpolateParams=false", "&charset=latin1", "&tx_isolation=%27SERIALIZABLE%27",
			"&sql_mode=%27ANSI_QUOTES%2CNO_BACKSLASH_ESCAPES%27"},
	} {
		for _, option := range options {
			t.Run(name+option, func(t *testing.T) {
				d := the(t, name)
				d.Address += option
				testSwaps(t, d.open(t))
			})
		}
	}
	t.Run("redis over RESP2", func(t *testing.T) {
		d := the(t, "redis")
		d.Address += "?protocol=2"
		testSwaps(t, d.open(t))
	})
}

// testSwaps is what a way to talk could break: bytes, and the count of rows.
func testSwaps(t *testing.T, db *connected) {
	t.Helper()
	ctx := t.Context()
	for _, key := range []string{"ada", "a\x00b", "\xff\xfe", "trailing ", "trailing", `it's "quoted\`, "`", strings.Repeat("\xf0", 512), "世界"} {
		var all strings.Builder
		for b := range 256 {
			all.WriteByte(byte(b))
		}
		version, ok, err := db.Swap(ctx, key, "", []byte(all.String()))
		require.NoError(t, err)
		require.True(t, ok, "%q", key)
		_, ok, err = db.Swap(ctx, key, "", []byte("again"))
		require.NoError(t, err)
		require.False(t, ok)
		_, ok, err = db.Swap(ctx, key, "no version", []byte("again"))
		require.NoError(t, err)
		require.False(t, ok)
		_, ok, err = db.Swap(ctx, key, "", nil)
		require.NoError(t, err)
		require.False(t, ok, "there is a row")
		row, err := db.Get(ctx, key)
		require.NoError(t, err)
		require.Equal(t, all.String(), string(row.Value))
		require.Equal(t, version, row.Version)
		next, ok, err := db.Swap(ctx, key, version, []byte(all.String())) // the same
		require.NoError(t, err)
		require.True(t, ok)
		_, ok, err = db.Swap(ctx, key, version, nil)
		require.NoError(t, err)
		require.False(t, ok)
		_, ok, err = db.Swap(ctx, key, next, nil)
		require.NoError(t, err)
		require.True(t, ok)
		_, ok, err = db.Swap(ctx, key, "", nil)
		require.NoError(t, err)
		require.True(t, ok, "there is none")
	}
}

func TestPurge(t *testing.T) {
	for name, older := range map[string]string{
		"postgres": `UPDATE %s SET stored_at = stored_at - interval '2 hours' WHERE id = $1`,
		"mariadb":  `UPDATE %s SET stored_at = stored_at - INTERVAL 2 HOUR WHERE id = ?`,
	} {
		t.Run(name, func(t *testing.T) {
			db := the(t, name).open(t)
			for n := range 1203 {
				_, _, err := db.Swap(t.Context(), person(n), "", []byte("value"))
				require.NoError(t, err)
				if n != 0 {
					_, err = db.sql.ExecContext(t.Context(), fmt.Sprintf(older, db.Table), []byte(person(n)))
					require.NoError(t, err)
				}
			}
			purger := db.DB.(*tokensql.DB)
			for _, want := range []int64{1202, 0} {
				n, err := purger.Purge(t.Context(), time.Hour)
				require.NoError(t, err)
				require.Equal(t, want, n)
			}
			row, err := db.Get(t.Context(), person(0))
			require.NoError(t, err)
			require.NotEmpty(t, row.Version)
			require.Less(t, row.Age, time.Hour)
		})
	}
}

// Rows have an index by age, which Purge uses.
func TestPurgeUsesTheIndex(t *testing.T) {
	for name, find := range map[string]string{
		"postgres": `SELECT count(*) FROM pg_indexes WHERE tablename = $1 AND indexname = $2`,
		"mariadb":  `SELECT count(*) FROM information_schema.statistics WHERE table_name = ? AND index_name = ? AND column_name = 'stored_at'`,
	} {
		t.Run(name, func(t *testing.T) {
			db := the(t, name).open(t)
			var n int
			require.NoError(t, db.sql.QueryRowContext(t.Context(), find, db.Table, db.Table+"_stored_at").Scan(&n))
			require.Equal(t, 1, n)
		})
	}
}

// Errors name no person and no value, and can still be told apart.
func TestErrors(t *testing.T) {
	const id, value = "ada-the-secret-id", "the-secret-value"
	breaks := map[string]func(*connected) error{
		"postgres": func(c *connected) error {
			_, err := c.sql.ExecContext(t.Context(), `ALTER TABLE `+c.Table+` ADD CHECK (value <> '`+value+`'::bytea)`)
			return err
		},
		"mariadb": func(c *connected) error {
			_, err := c.sql.ExecContext(t.Context(), `ALTER TABLE `+c.Table+` ADD CHECK (value <> '`+value+`')`)
			return err
		},
		"redis": func(c *connected) error { return c.redis.RPush(t.Context(), c.prefix()+id, value).Err() },
	}
	onEach(t, func(t *testing.T, d database) {
		db := d.open(t)
		require.NoError(t, breaks[d.Name](db))
		check := func(err error) {
			t.Helper()
			require.Error(t, err)
			for _, secret := range []string{id, value, "\n"} {
				assert.NotContains(t, err.Error(), secret)
				assert.NotContains(t, fmt.Sprintf("%+v %#v", err, err.Error()), secret)
			}
		}
		version, _, err := db.Swap(t.Context(), id, "", []byte("good"))
		if d.Name != "redis" {
			require.NoError(t, err)
			_, _, err = db.Swap(t.Context(), id, version, []byte(value))
		}
		check(err)
		switch d.Name {
		case "postgres":
			var of *pgconn.PgError
			require.ErrorAs(t, err, &of)
			assert.EqualError(t, err, "tokensql: swap failed: SQLSTATE 23514")
		case "mariadb":
			var of *mysql.MySQLError
			require.ErrorAs(t, err, &of)
			assert.EqualError(t, err, "tokensql: swap failed: Error 4025 (23000)")
		case "redis":
			assert.True(t, redis.HasErrorPrefix(errors.Unwrap(err), "WRONGTYPE"))
			assert.EqualError(t, err, "tokenredis: swap failed: Redis answered WRONGTYPE")
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err = db.Get(ctx, id)
		check(err)
		assert.ErrorIs(t, err, context.Canceled)
		ctx, cancel = context.WithTimeout(t.Context(), -1)
		defer cancel()
		_, _, err = db.Swap(ctx, id, "", []byte(value))
		check(err)
		assert.ErrorIs(t, err, context.DeadlineExceeded)

		if db.sql != nil {
			elsewhere, err := tokensql.New(db.sql, tokensql.Options{
				Dialect: map[string]tokensql.Dialect{"postgres": tokensql.Postgres, "mariadb": tokensql.MySQL}[d.Name], Table: "no_such_table"})
			require.NoError(t, err)
			_, err = elsewhere.Get(t.Context(), id)
			check(err)
			assert.ErrorContains(t, err, "call Migrate")
		}
	})
}

// A database that isn't there is an error which says so.
func TestNobodyAnswers(t *testing.T) {
	for name, address := range map[string]string{
		"postgres": "postgres://fleet:the-password@127.0.0.1:1/postgres?sslmode=disable",
		"mariadb":  "root:the-password@tcp(127.0.0.1:1)/fleet",
		"redis":    "redis://:the-password@127.0.0.1:1/0",
	} {
		d := database{Name: name, Address: address, Table: "t", Pool: 1}
		c, err := d.connect(t.Context())
		if c != nil {
			_, err = c.Get(t.Context(), "ada")
		}
		require.Error(t, err)
		assert.Contains(t, err.Error(), "connection refused", name)
		assert.NotContains(t, err.Error(), "the-password", name)
		assert.NotContains(t, err.Error(), "\n", name)
		if c != nil {
			assert.NoError(t, c.close())
		}
	}
}

// Redis keeps a version and a time in front of the value; nothing else changes it.
func TestValuesOfAnySize(t *testing.T) {
	onEach(t, func(t *testing.T, d database) {
		db := d.open(t)
		for _, size := range []int{1, 2, 1 << 10, 1 << 16, 1 << 20} {
			value := []byte(strings.Repeat("\x00", size))
			key := strconv.Itoa(size)
			_, ok, err := db.Swap(t.Context(), key, "", value)
			require.NoError(t, err)
			require.True(t, ok)
			row, err := db.Get(t.Context(), key)
			require.NoError(t, err)
			require.Equal(t, sha256.Sum256(value), sha256.Sum256(row.Value))
		}
	})
}
