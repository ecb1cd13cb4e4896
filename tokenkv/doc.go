// Package tokenkv keeps the tokens of any number of people, for any number of
// machines, in any database that can compare and swap: a [DB]. Packages tokensql
// and tokenredis have one for databases that people run already.
//
//	tokens, err := tokenkv.New(db, tokenkv.Options{Sealer: sealer})
//	…
//	source := auth.TokenSource(tokens.Store(sessionID))
//	token, err := source.Token(ctx)
//
// # What is promised
//
// A refresh token is used once, however many processes, machines and regions
// share the database, as long as the process that refreshes runs, reaches the
// database within a third of [Options.Lease], and the clocks run at rates that
// differ by less than two; what time they show does not matter. If such a process
// stands still for longer after it was allowed to send, or its connection to the
// database is cut for as long, one refresh token may be used twice. Without help
// of the authorization server, nobody can do better: most accept a refresh token
// again for a while.
//
// A token that was got is stored, unless the process dies before: however long
// the database is away, and whoever took over meanwhile. Signing in or out
// (Replace) waits for no refresh, and no refresh that comes late undoes it.
//
// No connection to the database is held while a server is asked.
//
// # How
//
// A row is one document: the token, and who has the lease on it. Every change
// swaps the whole, if the version is still the one that was read. Who wants to
// refresh writes a lease, refreshes, and writes the token; others ask again every
// 25 to 250 milliseconds until they read a token that is enough.
//
// The lease is renewed while the refresh runs, each 0.8 seconds. It is void if the database's own
// clock says that the row is older than the lease is long, and a waiter has seen it
// unchanged for a second: after an outage of the database its holder may be
// alive. Or if a waiter has seen it unchanged for its whole length. It is then
// taken over, at once if the token has expired; over a token that is still good,
// for which nobody has to wait, after twelve times the length.
//
// Before a request is sent, the holder asks the database again if half of the
// lease has passed, by either of its clocks: a process that was stopped, or a
// machine that slept, finds out here that somebody took over.
//
// Each document names the generation of its token and the one that it was got
// for. Who comes late stores its token over the one that it was got for, whoever
// has the lease. Of two that were got for the same, the one that took over later
// wins. If the server refuses a refresh token after a takeover, the row stays
// without its token: the successor may still come. Signing out deletes the row.
//
// # What happened
//
// [piecesauth.Config.Logger] hears, at level Debug, when somebody waited for a
// lease, took one over, renewed it late or lost it, when a result was stored late
// or dropped, and when a write was found to have happened that the database had
// not confirmed. It hears no id and no token.
//
// # What it needs from a caller of Update
//
// The context that fn gets ends when the lease is lost, and has the last word
// before a request. [piecesauth.TokenSource] asks for it. An fn of your own
// has to heed its context alone.
package tokenkv
