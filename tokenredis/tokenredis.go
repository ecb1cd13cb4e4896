// Package tokenredis keeps the tokens of many people in Redis. It is a database
// for package tokenkv: any number of machines share the tokens, and each token
// is refreshed once.
//
//	db := tokenredis.New(redis.NewClient(&redis.Options{
//		Addr:                  "localhost:6379",
//		ContextTimeoutEnabled: true,
//	}), tokenredis.Options{Idle: 90 * 24 * time.Hour})
//	tokens, err := tokenkv.New(db, tokenkv.Options{Sealer: sealer})
//
// It needs Redis 5 or later, or a compatible server that supports Lua scripts.
// Set ContextTimeoutEnabled in the client's options: without it, go-redis obeys
// its own timeouts instead of the context's.
//
// # How to configure Redis
//
// If a refresh token is lost, a person has to sign in again. By default Redis
// writes a snapshot now and then, and loses what came after it. Set
//
//	appendonly yes
//	appendfsync always     # everysec loses up to two seconds when a machine dies
//	maxmemory-policy noeviction
//
// With appendfsync everysec, the end of the Redis process alone loses nothing,
// since the operating system has the data by then. An eviction policy other
// than noeviction discards sign-ins when memory runs short; the volatile
// policies do so with rows that have an Idle.
//
// # What a failover can lose
//
// Redis replicates after it has answered. A replica that is promoted lacks the
// last writes, and may return a refresh token that was already spent. A server
// that rotates refresh tokens treats its use as theft, unless it happens within
// the server's leeway, and the person has to sign in again. If two servers both
// act as primary, the same token can be refreshed twice. min-replicas-to-write
// 1 with a short min-replicas-max-lag makes this less likely, but does not
// prevent it. If that is not enough, keep tokens in PostgreSQL or MySQL with
// package tokensql. Everything is read from the primary, whatever the client's
// options say about replicas.
package tokenredis

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"regexp"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/piecesauth/piecesauth/tokenkv"
)

// Options are the options of [New]. The zero value is usable.
type Options struct {
	// Prefix is put before every id to form the name of the row, by default
	// "piecesauth:token:". A part of it in braces puts all rows into one slot
	// of a cluster, which is never necessary: each operation uses one row.
	Prefix string
	// Idle is how long an unused row is kept, so that rows of people who never
	// come back don't stay for ever; 0 keeps rows until they are deleted. Both
	// reading and writing count as use. It must not be shorter than the
	// authorization server keeps an unused refresh token; otherwise people are
	// signed out needlessly.
	Idle time.Duration
}

// DB is a [tokenkv.DB] in Redis. It is safe for concurrent use.
type DB struct {
	client    redis.UniversalClient
	single    *redis.Client // the client, if it has one server
	prefix    string
	idle      time.Duration // 0 for never
	get, swap script
}

var _ tokenkv.DB = (*DB)(nil)

const (
	maxKey        = 512 // bytes
	versionLength = 26  // bytes of what rand.Text returns
	timeLength    = 16  // digits of a time in microseconds
	headLength    = versionLength + timeLength
)

// A row is one string: the version, the time when it was stored, the value.
//
// Reading one from a single server uses no script, which would cost half as
// much again. In a cluster, TIME could be answered by any of the servers.
const getScript = `
local row = redis.call('GET', KEYS[1])
if not row then return false end
local idle = tonumber(ARGV[1])
if idle > 0 and redis.call('PTTL', KEYS[1]) < idle / 2 then
	redis.call('PEXPIRE', KEYS[1], ARGV[1])
end
local now = redis.call('TIME')
return {row, now[1], now[2]}`

// The arguments: the version expected, "" for no row; the new version, "" to
// delete; the value; the idle time.
const swapScript = `
if redis.call('GETRANGE', KEYS[1], 0, 25) ~= ARGV[1] then return 0 end
if ARGV[2] == '' then
	redis.call('DEL', KEYS[1])
	return 1
end
local now = redis.call('TIME')
local row = ARGV[2] .. string.format('%010d%06d', now[1], now[2]) .. ARGV[3]
if ARGV[4] == '0' then
	redis.call('SET', KEYS[1], row)
else
	redis.call('SET', KEYS[1], row, 'PX', ARGV[4])
end
return 1`

// New returns a DB that uses the client, which the caller has to close. It does
// not connect to Redis.
func New(client redis.UniversalClient, o Options) *DB {
	if o.Prefix == "" {
		o.Prefix = "piecesauth:token:"
	}
	if o.Idle > 0 {
		o.Idle = max(o.Idle, time.Millisecond)
	}
	d := &DB{client: client, prefix: o.Prefix, idle: max(o.Idle, 0), get: newScript(getScript), swap: newScript(swapScript)}
	d.single, _ = client.(*redis.Client)
	return d
}

// Get returns the row of the key from the primary, and its age by the clock of
// Redis. If there is none, Version is empty.
func (d *DB) Get(ctx context.Context, key string) (tokenkv.Row, error) {
	if err := checkKey(key); err != nil {
		return tokenkv.Row{}, err
	}
	read := d.readByScript
	if d.single != nil {
		read = d.read
	}
	raw, now, err := read(ctx, d.prefix+key)
	switch {
	case errors.Is(err, redis.Nil):
		return tokenkv.Row{}, nil
	case err != nil:
		return tokenkv.Row{}, failed("get", err)
	}
	if len(raw) > headLength {
		if stored, err := strconv.ParseInt(raw[versionLength:headLength], 10, 64); err == nil {
			return tokenkv.Row{
				Value:   []byte(raw[headLength:]),
				Version: raw[:versionLength],
				Age:     max(now.Sub(time.UnixMicro(stored)), 0), // a clock that was set back
			}, nil
		}
	}
	return tokenkv.Row{}, errors.New("tokenredis: get: what is stored is not a row of this package; set Options.Prefix to one that nothing else uses")
}

// read returns what is stored, and the time.
func (d *DB) read(ctx context.Context, name string) (string, time.Time, error) {
	pipe := d.single.Pipeline()
	row, now := pipe.Get(ctx, name), pipe.Time(ctx)
	var left *redis.DurationCmd
	if d.idle > 0 {
		left = pipe.PTTL(ctx, name)
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return "", time.Time{}, err
	}
	if left != nil && left.Val() < d.idle/2 {
		if err := d.single.PExpire(ctx, name, d.idle).Err(); err != nil {
			return "", time.Time{}, err
		}
	}
	return row.Val(), now.Val(), nil
}

func (d *DB) readByScript(ctx context.Context, name string) (string, time.Time, error) {
	answer, err := d.run(ctx, d.get, true, name, d.idle.Milliseconds())
	if err != nil {
		return "", time.Time{}, err
	}
	parts, _ := answer.([]any)
	texts := make([]string, 3)
	for i := range min(len(parts), len(texts)) {
		texts[i], _ = parts[i].(string)
	}
	seconds, err1 := strconv.ParseInt(texts[1], 10, 64)
	micros, err2 := strconv.ParseInt(texts[2], 10, 64)
	return texts[0], time.Unix(seconds, micros*1000), errors.Join(err1, err2)
}

// Swap stores the value, or deletes the row if value is nil, provided that the
// row still has the version or, if version is empty, that there is no row.
// After an error, it may or may not have happened. The client's own retries are
// not used, because a swap that had happened would look refused when repeated.
func (d *DB) Swap(ctx context.Context, key, version string, value []byte) (newVersion string, ok bool, err error) {
	if err := checkKey(key); err != nil {
		return "", false, err
	}
	if value != nil {
		newVersion = rand.Text()
	}
	answer, err := d.run(ctx, d.swap, false, d.prefix+key, version, newVersion, value, d.idle.Milliseconds())
	if err != nil {
		return "", false, failed("swap", err)
	}
	if answer != int64(1) {
		return "", false, nil
	}
	return newVersion, true, nil
}

// run calls the script by its hash, and sends its text if the server doesn't
// have it, because it was restarted or replaced.
func (d *DB) run(ctx context.Context, s script, retries bool, key string, args ...any) (any, error) {
	ask := func(how, what string) (any, error) {
		cmd := redis.NewCmd(ctx, append([]any{how, what, 1, key}, args...)...)
		cmd.SetFirstKeyPos(3)
		if !retries {
			err := d.client.Process(ctx, once{cmd})
			return cmd.Val(), err
		}
		err := d.client.Process(ctx, cmd)
		return cmd.Val(), err
	}
	answer, err := ask("evalsha", s.hash)
	if redis.HasErrorPrefix(err, "NOSCRIPT") {
		answer, err = ask("eval", s.source)
	}
	return answer, err
}

type script struct{ source, hash string }

func newScript(source string) script { return script{source, redis.NewScript(source).Hash()} }

// once is a command that the client doesn't send again.
type once struct{ *redis.Cmd }

// NoRetry returns true.
func (once) NoRetry() bool { return true }

func checkKey(key string) error {
	if len(key) > maxKey {
		return fmt.Errorf("tokenredis: the id is longer than %d bytes", maxKey)
	}
	return nil
}

// failure is an error of the client. It hides the client's text, which can
// contain what was sent.
type failure struct {
	op  string
	err error
}

func failed(op string, err error) error { return &failure{op, err} }

var errorCode = regexp.MustCompile(`^[A-Z]{3,20}\b`)

func (f *failure) Error() string {
	text := "tokenredis: " + f.op + " failed"
	var redisError redis.Error
	var netError *net.OpError
	switch {
	case errors.Is(f.err, context.Canceled):
		return text + ": " + context.Canceled.Error()
	case errors.Is(f.err, context.DeadlineExceeded):
		return text + ": " + context.DeadlineExceeded.Error()
	case errors.As(f.err, &redisError):
		if code := errorCode.FindString(redisError.Error()); code != "" {
			return text + ": Redis answered " + code
		}
	case errors.As(f.err, &netError):
		return text + ": " + netError.Error()
	}
	return fmt.Sprintf("%s (%T)", text, f.err)
}

// Unwrap returns the client's error, whose text may name the row.
func (f *failure) Unwrap() error { return f.err }
