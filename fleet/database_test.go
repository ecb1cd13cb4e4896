package fleet_test

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	_ "github.com/go-sql-driver/mysql"
	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	_ "modernc.org/sqlite"

	"github.com/piecesauth/piecesauth/tokenkv"
	"github.com/piecesauth/piecesauth/tokenredis"
	"github.com/piecesauth/piecesauth/tokensql"
)

// database says where one is; it goes to the replicas as JSON.
type database struct {
	Name    string // postgres, mariadb, redis or sqlite
	Address string // as its driver takes it
	Table   string // or prefix, the test's own
	Pool    int    // connections at most
}

var serverNames = []string{"postgres", "mariadb", "redis"}

var tables atomic.Int64

// the returns the database of the name, with a table of the test's own.
func the(t testing.TB, name string) database {
	t.Helper()
	d := database{Name: name, Address: os.Getenv("FLEET_" + strings.ToUpper(name)), Pool: 5}
	if d.Address == "" {
		t.Skip("FLEET_" + strings.ToUpper(name) + " has no address; ./run.sh starts a server")
	}
	d.Table = fmt.Sprintf("piecesauth_fleet_%d_%d", os.Getpid(), tables.Add(1))
	db := d.open(t)
	t.Cleanup(func() { db.drop(t) })
	return d
}

// onEach runs the test on each server.
func onEach(t *testing.T, test func(t *testing.T, d database)) {
	t.Helper()
	for _, name := range serverNames {
		t.Run(name, func(t *testing.T) { test(t, the(t, name)) })
	}
}

// connected is a pool to a database.
type connected struct {
	database
	tokenkv.DB

	sql   *sql.DB       // or
	redis *redis.Client // this
}

func (d database) open(t testing.TB) *connected {
	t.Helper()
	c, err := d.connect(context.WithoutCancel(t.Context()))
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.close() })
	return c
}

func (d database) prefix() string { return "fleet:" + d.Table + ":" }

func (d database) connect(ctx context.Context) (*connected, error) {
	if d.Name == "redis" {
		options, err := redis.ParseURL(d.Address)
		if err != nil {
			return nil, err
		}
		options.PoolSize, options.MaxActiveConns = d.Pool, d.Pool
		options.PoolTimeout, options.ContextTimeoutEnabled = time.Minute, true
		client := redis.NewClient(options)
		return &connected{d, tokenredis.New(client, tokenredis.Options{Prefix: d.prefix()}), nil, client}, nil
	}
	driver, dialect := map[string]string{"postgres": "pgx", "mariadb": "mysql", "sqlite": "sqlite"}[d.Name],
		map[string]tokensql.Dialect{"postgres": tokensql.Postgres, "mariadb": tokensql.MySQL, "sqlite": tokensql.SQLite}[d.Name]
	pool, err := sql.Open(driver, d.Address)
	if err != nil {
		return nil, err
	}
	pool.SetMaxOpenConns(d.Pool)
	pool.SetMaxIdleConns(d.Pool)
	db, err := tokensql.New(pool, tokensql.Options{Dialect: dialect, Table: d.Table})
	if err != nil {
		return nil, err
	}
	c := &connected{d, db, pool, nil}
	if err := db.Migrate(ctx); err != nil {
		_ = c.close()
		return nil, err
	}
	return c, nil
}

func (c *connected) close() error {
	if c.redis != nil {
		return c.redis.Close()
	}
	return c.sql.Close()
}

// drop removes the test's rows.
func (c *connected) drop(t testing.TB) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	if c.sql != nil {
		_, err := c.sql.ExecContext(ctx, `DROP TABLE `+c.Table)
		require.NoError(t, err)
		return
	}
	keys := c.redis.Scan(ctx, 0, c.prefix()+"*", 1000).Iterator()
	for keys.Next(ctx) {
		require.NoError(t, c.redis.Del(ctx, keys.Val()).Err())
	}
	require.NoError(t, keys.Err())
}

// control is what can only be done to a server that run.sh has started.
func (d database) control(t testing.TB, action string) {
	t.Helper()
	script := os.Getenv("FLEET_SERVER")
	if script == "" || os.Getenv("FLEET_DIR") == "" {
		t.Skip("only a server that run.sh has started can be restarted")
	}
	if _, err := os.Stat(os.Getenv("FLEET_DIR") + "/" + d.Name); err != nil {
		t.Skip("only a server that run.sh has started can be restarted: " + err.Error())
	}
	out, err := exec.CommandContext(context.WithoutCancel(t.Context()), script, d.Name, action).CombinedOutput() //nolint:gosec // G702: run.sh says which script
	require.NoError(t, err, "%s", out)
}

// warm opens as many connections as the pool may have.
func (c *connected) warm(ctx context.Context) error {
	if c.redis != nil {
		return c.redis.Ping(ctx).Err()
	}
	conns := make([]*sql.Conn, c.Pool)
	for i := range conns {
		conn, err := c.sql.Conn(ctx)
		if err != nil {
			return err
		}
		conns[i] = conn
	}
	for _, conn := range conns {
		if err := conn.Close(); err != nil {
			return err
		}
	}
	return nil
}
