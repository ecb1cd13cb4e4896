package fleet_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/piecesauth/piecesauth"
	"github.com/piecesauth/piecesauth/seal"
	"github.com/piecesauth/piecesauth/tokenkv"
)

// dump returns the database as a backup has it.
func (d database) dump(t *testing.T) []byte {
	t.Helper()
	var name string
	var arguments []string
	switch d.Name {
	case "sqlite":
		return readAll(t, filepath.Dir(strings.TrimPrefix(strings.Split(d.Address, "?")[0], "file:")))
	case "postgres":
		tools, _ := filepath.Glob("/usr/lib/postgresql/*/bin/pg_dump")
		require.NotEmpty(t, tools)
		name, arguments = tools[len(tools)-1], []string{"--inserts", "-t", d.Table, d.Address}
	case "mariadb":
		rest := strings.NewReplacer("@tcp(", " ", ")/", " ", "?", " ").Replace(d.Address) // user, host, database
		fields := strings.Fields(rest)
		u := url.URL{Host: fields[1]}
		name, arguments = "mariadb-dump", []string{"--no-defaults", "--protocol=tcp", "-h", u.Hostname(), "-P", u.Port(), "-u", fields[0], fields[2], d.Table}
	case "redis":
		db := d.open(t)
		require.NoError(t, db.redis.Do(t.Context(), "CONFIG", "SET", "rdbcompression", "no").Err())
		require.NoError(t, db.redis.Save(t.Context()).Err())
		dir, err := db.redis.ConfigGet(t.Context(), "dir").Result()
		require.NoError(t, err)
		return readAll(t, dir["dir"]) // the snapshot and the log
	}
	if _, err := exec.LookPath(name); err != nil {
		t.Skip(name + " is not installed")
	}
	out, err := exec.CommandContext(t.Context(), name, arguments...).Output()
	require.NoError(t, err)
	return out
}

func readAll(t *testing.T, dir string) []byte {
	t.Helper()
	if _, err := os.Stat(dir); err != nil {
		t.Skip("the files of the server are elsewhere: " + err.Error())
	}
	var all []byte
	require.NoError(t, filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(path) //nolint:gosec // G122: nobody else has links there
		all = append(all, content...)
		return err
	}))
	return all
}

// holds reports whether the dump has the secret, in any of the forms that a
// dump writes bytes in.
func holds(dump []byte, secret string) bool {
	lower := bytes.ToLower(dump)
	return bytes.Contains(dump, []byte(secret)) ||
		bytes.Contains(lower, []byte(hex.EncodeToString([]byte(secret)))) ||
		bytes.Contains(dump, []byte(base64.StdEncoding.EncodeToString([]byte(secret))[:12]))
}

// local returns a database in a file.
func local(t testing.TB) database {
	t.Helper()
	return database{Name: "sqlite", Pool: 5, Table: "tokens",
		Address: "file:" + filepath.Join(t.TempDir(), "tokens.db") + "?_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)"}
}

// A dump holds no token in the clear when there is a Sealer, and does when there
// is none: what is looked for would be found.
func TestDump(t *testing.T) {
	sealer, err := seal.New([]byte("thirty-two bytes, not random ones"[:32]))
	require.NoError(t, err)
	test := func(t *testing.T, d database) {
		db := d.open(t)
		for i, sealed := range []*seal.Sealer{sealer, nil} {
			tokens, err := tokenkv.New(db, tokenkv.Options{Sealer: sealed})
			require.NoError(t, err)
			secrets := []string{"access-" + d.Name, "refresh-" + d.Name, "id-" + d.Name}
			for j := range secrets {
				secrets[j] += strings.Repeat(string(rune('k'+i)), 24)
			}
			save(t, tokens.Store(person(i)), &piecesauth.Token{AccessToken: secrets[0], RefreshToken: secrets[1], IDToken: secrets[2]})
			dump := d.dump(t)
			require.True(t, holds(dump, person(i)), "ids are stored as they are")
			for _, secret := range secrets {
				require.Equal(t, sealed == nil, holds(dump, secret), "%s", secret)
			}
		}
	}
	onEach(t, test)
	t.Run("sqlite", func(t *testing.T) { test(t, local(t)) })
}

// A row that somebody with the database's password copies over another
// person's is refused.
func TestRowsOfTwoPeopleAreSwapped(t *testing.T) {
	sealer, err := seal.New(make([]byte, 32))
	require.NoError(t, err)
	test := func(t *testing.T, d database) {
		db := d.open(t)
		tokens, err := tokenkv.New(db, tokenkv.Options{Sealer: sealer})
		require.NoError(t, err)
		for _, name := range []string{"ada", "eve"} {
			save(t, tokens.Store(name), &piecesauth.Token{AccessToken: "access of " + name})
		}
		ctx := context.WithoutCancel(t.Context())
		eves, err := db.Get(ctx, "eve")
		require.NoError(t, err)
		adas, err := db.Get(ctx, "ada")
		require.NoError(t, err)
		_, ok, err := db.Swap(ctx, "ada", adas.Version, eves.Value)
		require.NoError(t, err)
		require.True(t, ok)
		_, err = tokens.Store("ada").Load(ctx)
		require.Error(t, err)
		require.NotErrorIs(t, err, piecesauth.ErrNoToken)
		token, err := tokens.Store("eve").Load(ctx)
		require.NoError(t, err)
		require.Equal(t, "access of eve", token.AccessToken)
	}
	onEach(t, test)
	t.Run("sqlite", func(t *testing.T) { test(t, local(t)) })
}
