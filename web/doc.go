// Package web signs people in to a web application and keeps them signed in. It
// serves the pages of the sign-in, and keeps the session's cookie and each
// person's tokens.
//
//	auth, err := piecesauth.New(piecesauth.Config{BaseURL: …, ClientID: …, Audience: …, Issuer: …})
//	sealer, err := seal.New(key)                                    // 32 secret bytes
//	tokens, err := tokenkv.New(db, tokenkv.Options{Sealer: sealer}) // db of package tokensql or tokenredis
//	handler, err := web.New(web.Config{Auth: auth, URL: "https://app.example.com", Sealer: sealer, Tokens: tokens.Store})
//
//	mux := http.NewServeMux()
//	mux.Handle("/auth/", handler)                        // signin, callback and signout
//	mux.Handle("/account", handler.Require(accountPage)) // for people who are signed in
//
// A handler behind Require can read the session, and call an API as the person:
//
//	session, _ := handler.Session(r)
//	response, err := session.TokenSource().Client(nil).Do(request.WithContext(r.Context()))
//	if err != nil {
//		handler.Error(w, r, err) // to the sign-in, if that is what it takes
//		return
//	}
//
// Register two addresses with the authorization server: the callback, which is
// the URL followed by /auth/callback, and the address to return to after a
// sign-out, which is the URL followed by a slash. To sign out, a page posts a
// form:
//
//	<form method="post" action="/auth/signout"><button>Sign out</button></form>
//
// # Replicas
//
// A handler keeps no state that another one needs. Any number of them behind
// one address can share the keys of the Sealer and the stores of Config.Tokens.
//
// # Cookies
//
// One cookie holds the session, sealed; a second one holds the time of the last
// request; and each sign-in in progress has a cookie of its own. None of them
// contains a token. Without the Sealer's keys, no cookie can be read or
// changed, neither by a script nor by another host. docs/web.md has the
// details.
package web
