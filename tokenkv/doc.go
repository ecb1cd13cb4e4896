// Package tokenkv keeps the tokens of any number of people, for any number of
// machines, in any database that can compare and swap: a [DB]. Packages tokensql
// and tokenredis implement DB for common databases.
//
//	tokens, err := tokenkv.New(db, tokenkv.Options{Sealer: sealer})
//	…
//	source := auth.TokenSource(tokens.Store(sessionID))
//	token, err := source.Token(ctx)
//
// # What is guaranteed
//
// A refresh token is used once, however many processes, machines and regions
// share the database, provided that the process that refreshes keeps running and
// reaches the database within a third of [Options.Lease], and that the clocks
// run at rates that differ by a factor of less than two. The time that they show
// does not matter. If such a process stops for longer than that after it was
// allowed to send, or its connection to the database is cut for that long, one
// refresh token may be used twice. Nobody can prevent that without help from the
// authorization server; most servers accept a refresh token again for a while.
//
// A token that was obtained is stored, however long the database is unavailable
// and whoever took over meanwhile, unless the process ends first. Signing in or
// out (Replace) does not wait for a refresh, and a refresh that ends late does
// not undo it.
//
// No connection to the database is held while a server is asked.
//
// # How it works
//
// A row is one document: the token, and who holds the lease on it. Every change
// swaps the whole document, if its version is still the one that was read. A
// process that wants to refresh writes a lease, refreshes, and writes the token.
// Others poll every 25 to 250 milliseconds until they read a token that is
// enough.
//
// The lease is renewed every 0.8 seconds while the refresh runs. It is void in
// two cases: the row is older than the lease's length by the database's own
// clock, and a waiter has seen it unchanged for a second, because the holder may
// still be alive after an outage of the database; or a waiter has seen it
// unchanged for its whole length. A void lease is taken over at once if the
// token has expired. If the token is still valid nobody has to wait, and the
// lease is taken over only after twelve times its length.
//
// If half of the lease has passed, by either of its clocks, the holder asks the
// database again before it sends a request: a process that was stopped, or a
// machine that slept, then notices a takeover.
//
// Each document names the generation of its token and the one that it replaced.
// A late process stores its token over the one that it replaces, whoever holds
// the lease. If two tokens replace the same one, the token of the later takeover
// wins. If the server refuses a refresh token after a takeover, the row stays
// without its token, because the successor may still be stored. Signing out
// deletes the row.
//
// # Logging
//
// [piecesauth.Config.Logger] gets a message at level Debug when a process waited
// for a lease, took one over, renewed it late or lost it, when a result was stored
// late or dropped, and when a write turned out to have happened although the
// database had not confirmed it. No message contains an id or a token.
//
// # Calling Update directly
//
// The context that fn receives ends when the lease is lost, and includes a last
// check before a request is sent. [piecesauth.TokenSource] obeys both. An fn of
// your own has to obey the context.
package tokenkv
