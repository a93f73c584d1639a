// Package incoming makes a client's request safe to look at: which headers it
// may send, in what ways its path can be read, where its credentials stand, and
// where a token must not stand. Nothing above has an opinion about any of it.
//
// It is strict where a difference of opinion with the API behind would be
// dangerous. The API takes its user from a header such as Remote-User; that is
// safe only if no client can send such a header itself, in no spelling. A
// request therefore goes through three steps:
//
//   - [Rules.Admit], on every request, before anything is decided: protected
//     headers go from the headers, the trailers and from what Connection names
//     ([Rules.Scrub]), and a token where none may stand is refused.
//   - [Rules.DropCredentials], once a token was accepted: the token and the
//     cookies beside it have done their work.
//   - [Set], for each header that says who the user is.
//
// All three change the request's header map in place, because error routes and
// the access log look at the same map later.
package incoming
