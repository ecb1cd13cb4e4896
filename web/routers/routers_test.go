package routers

import (
	"fmt"
	"html"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/gin-gonic/gin"
	"github.com/go-chi/chi/v5"
	"github.com/labstack/echo/v4"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/piecesauth/piecesauth"
	"github.com/piecesauth/piecesauth/piecesauthtest"
	"github.com/piecesauth/piecesauth/seal"
	"github.com/piecesauth/piecesauth/tokenkv"
	"github.com/piecesauth/piecesauth/web"
)

// routers mount the handler, and a page that it guards.
var routers = map[string]func(signIn *web.Handler, account http.Handler) http.Handler{
	"net/http": func(signIn *web.Handler, account http.Handler) http.Handler {
		mux := http.NewServeMux()
		mux.Handle("/auth/", signIn)
		mux.Handle("/account", signIn.Require(account))
		return mux
	},
	"net/http, prefix taken off": func(signIn *web.Handler, account http.Handler) http.Handler {
		mux := http.NewServeMux()
		mux.Handle("/auth/", http.StripPrefix("/auth", signIn))
		mux.Handle("/account", http.StripPrefix("/account", signIn.Require(account)))
		return mux
	},
	"chi": func(signIn *web.Handler, account http.Handler) http.Handler {
		r := chi.NewRouter()
		r.Mount("/auth", signIn)
		r.With(signIn.Require).Handle("/account", account)
		return r
	},
	"echo": func(signIn *web.Handler, account http.Handler) http.Handler {
		e := echo.New()
		e.Any("/auth/*", echo.WrapHandler(signIn))
		e.GET("/account", echo.WrapHandler(account), echo.WrapMiddleware(signIn.Require))
		return e
	},
	"gin": func(signIn *web.Handler, account http.Handler) http.Handler {
		gin.SetMode(gin.ReleaseMode)
		e := gin.New()
		e.Any("/auth/*page", gin.WrapH(signIn))
		e.GET("/account", gin.WrapH(signIn.Require(account)))
		return e
	},
}

func TestRouters(t *testing.T) {
	for name, mount := range routers {
		for _, mode := range []piecesauth.ResponseMode{piecesauth.ResponseModeFormPost, piecesauth.ResponseModeQuery} {
			t.Run(fmt.Sprint(name, " ", mode), func(t *testing.T) {
				var app http.Handler
				front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { app.ServeHTTP(w, r) }))
				defer front.Close()
				server := piecesauthtest.NewServer(piecesauthtest.Options{ReturnToURLs: []string{front.URL + "/"}})
				defer server.Close()
				app = mount(newApp(t, server, front.URL, mode))

				browser := server.Browser()
				page, err := browser.Open(t.Context(), front.URL+"/account?a=b")
				require.NoError(t, err)
				assert.Equal(t, front.URL+"/account?a=b", page.URL)
				assert.Equal(t, "Ada Lovelace", page.Body)
				page, err = browser.Post(t.Context(), "/auth/signout", nil)
				require.NoError(t, err)
				assert.Equal(t, front.URL+"/", page.URL)
				assert.Equal(t, 1, server.Count(piecesauthtest.Logout))
				_, err = browser.SignIn(t.Context(), front.URL+"/account")
				require.NoError(t, err, "it leads to the sign-in again")
			})
		}
	}
}

func newApp(t *testing.T, server *piecesauthtest.Server, url string, mode piecesauth.ResponseMode) (*web.Handler, http.Handler) {
	t.Helper()
	config := server.Config()
	config.ResponseMode = mode
	auth, err := piecesauth.New(config)
	require.NoError(t, err)
	sealer, err := seal.New(make([]byte, 32))
	require.NoError(t, err)
	tokens, err := tokenkv.New(new(tokenkv.MemoryDB), tokenkv.Options{})
	require.NoError(t, err)
	signIn, err := web.New(web.Config{Auth: auth, URL: url, Sealer: sealer, Tokens: tokens.Store})
	require.NoError(t, err)
	return signIn, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		session, _ := signIn.Session(r)
		user, err := session.TokenSource().UserInfo(r.Context())
		if err != nil {
			signIn.Error(w, r, err)
			return
		}
		_, _ = fmt.Fprint(w, html.EscapeString(user.Name))
	})
}
