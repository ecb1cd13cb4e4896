// Command webapp signs people in and calls an API as each of them. `go run .` has an auth server of its own. Replicas share
// WEBAPP_KEYS (openssl rand -base64 32; several with commas) and -database (a file, or postgres://, mysql:// or redis://).
package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/base64"
	"flag"
	"fmt"
	"html/template"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	_ "github.com/go-sql-driver/mysql"
	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/redis/go-redis/v9"
	_ "modernc.org/sqlite"

	"github.com/piecesauth/piecesauth"
	"github.com/piecesauth/piecesauth/piecesauthtest"
	"github.com/piecesauth/piecesauth/seal"
	"github.com/piecesauth/piecesauth/tokenkv"
	"github.com/piecesauth/piecesauth/tokenredis"
	"github.com/piecesauth/piecesauth/tokensql"
	"github.com/piecesauth/piecesauth/web"
)

func main() {
	var config piecesauth.Config
	addr := flag.String("addr", "127.0.0.1:8080", "address to listen on")
	url := flag.String("url", "", "where people find the application, by default http:// and the address")
	database := flag.String("database", "webapp.db", "where tokens are kept")
	flag.StringVar(&config.BaseURL, "base-url", "", "the auth server, by default one in memory")
	flag.StringVar(&config.ClientID, "client-id", "", "client ID, as registered; the callback is the -url and /auth/callback")
	flag.StringVar(&config.Audience, "audience", "", "the API that tokens are for")
	flag.StringVar(&config.Issuer, "issuer", "", "the issuer of ID tokens")
	flag.StringVar((*string)(&config.ResponseMode), "response-mode", "", "form_post, the default, or query")
	flag.Parse()
	listener := must(new(net.ListenConfig).Listen(context.Background(), "tcp", *addr))
	*url = cmp.Or(*url, "http://"+listener.Addr().String())
	if config.BaseURL == "" {
		config = piecesauthtest.NewServer(piecesauthtest.Options{
			People:       []piecesauthtest.Person{{Sub: "auth0|1", Name: "Ada Lovelace"}, {Sub: "auth0|2", Name: "Grace Hopper"}},
			ReturnToURLs: []string{*url + "/"}, RedirectURLs: []string{*url + "/auth/callback"},
		}).Config()
	}
	var keys [][]byte
	for key := range strings.SplitSeq(cmp.Or(os.Getenv("WEBAPP_KEYS"), (rand.Text() + rand.Text())[:43]+"="), ",") {
		keys = append(keys, must(base64.StdEncoding.DecodeString(key)))
	}
	sealer := must(seal.New(keys...))
	auth, tokens := must(piecesauth.New(config)), must(tokenkv.New(openDatabase(*database), tokenkv.Options{Sealer: sealer}))
	signIn := must(web.New(web.Config{Auth: auth, URL: *url, Sealer: sealer, Tokens: tokens.Store}))
	fmt.Printf("Open %s (listening on http://%s)\n", *url, listener.Addr())
	server := &http.Server{Handler: app(signIn), ReadTimeout: 10 * time.Second, WriteTimeout: 90 * time.Second}
	go func() { log.Fatal(server.Serve(listener)) }()
	ctx, _ := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	<-ctx.Done()
	auth.Close() // lets no refresh be cut off
}

func app(signIn *web.Handler) http.Handler {
	page := template.Must(template.New("").Parse(`<!doctype html><html lang="en"><meta charset="utf-8"><title>Web application</title>
<meta name="viewport" content="width=device-width"><meta name="color-scheme" content="light dark"><style>body{max-width:32rem;margin:15vh auto;padding:0 1.5rem;font:1.1rem/1.5 system-ui}</style><h1>Web application</h1>
{{with .Session}}<p>Signed in as <strong id="name">{{or .Name .Subject}}</strong>. <a href="/account">Your account</a></p><form method="post" action="/auth/signout"><button>Sign out</button></form>
{{else}}<p><a id="signin" href="/auth/signin">Sign in with Pieces</a></p>{{end}}{{with .Profile}}<p>Your subject is {{.Sub}}.</p>{{end}}`))
	show := func(w http.ResponseWriter, r *http.Request, profile *piecesauth.User) {
		session, _ := signIn.Session(r)
		w.Header().Set("Cache-Control", "no-store")
		_ = page.Execute(w, map[string]any{"Session": session, "Profile": profile})
	}
	mux := http.NewServeMux()
	mux.Handle("/auth/", signIn)
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) { show(w, r, nil) })
	mux.Handle("GET /account", signIn.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		session, _ := signIn.Session(r)
		profile, err := session.TokenSource().UserInfo(r.Context()) // another API: session.TokenSource().Client(nil)
		if err != nil {
			signIn.Error(w, r, err)
			return
		}
		show(w, r, profile)
	})))
	return mux
}

func openDatabase(address string) tokenkv.DB {
	driver, dialect := "sqlite", tokensql.SQLite
	switch scheme, rest, _ := strings.Cut(address, "://"); scheme {
	case "redis":
		options := must(redis.ParseURL(address))
		options.ContextTimeoutEnabled = true
		return tokenredis.New(redis.NewClient(options), tokenredis.Options{Idle: 12 * time.Hour})
	case "postgres":
		driver, dialect = "pgx", tokensql.Postgres
	case "mysql":
		driver, dialect, address = "mysql", tokensql.MySQL, rest+"?interpolateParams=true"
	default:
		address = "file:" + address + "?_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)"
	}
	db := must(tokensql.New(must(sql.Open(driver, address)), tokensql.Options{Dialect: dialect}))
	return must(db, db.Migrate(context.Background()))
}

func must[T any](v T, err error) T {
	if err != nil {
		log.Fatal("webapp: ", err)
	}
	return v
}
