// Package web signs people in to a web application, and keeps them signed in:
// the pages of a sign-in, the session's cookie, and each person's tokens.
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
// A page behind Require knows who it is for, and calls an API as them:
//
//	session, _ := handler.Session(r)
//	response, err := session.TokenSource().Client(nil).Do(request.WithContext(r.Context()))
//	if err != nil {
//		handler.Error(w, r, err) // to the sign-in, if that is what it takes
//		return
//	}
//
// The callback to register with the authorization server is the URL followed by
// /auth/callback, and the address to return to after a sign-out the URL followed
// by a slash. A page signs out by a form:
//
//	<form method="post" action="/auth/signout"><button>Sign out</button></form>
//
// # Replicas
//
// A handler remembers nothing that another one has to know. Any number of them
// behind one address share the keys of the Sealer and what Config.Tokens keeps.
//
// # Cookies
//
// Who is signed in stands in one cookie, sealed; when they last came in another;
// a sign-in that is under way has one of its own. Tokens are in none of them. No
// cookie can be read or changed without the Sealer's keys, by a script, or by
// another host. docs/web.md says more.
package web
