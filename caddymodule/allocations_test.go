//go:build !race

package caddymodule

import "testing"

// A request with a token allocates no more, beyond what it does without the
// directive, than has a reason:
//
//   - 1 in Caddy, which wraps each handler of a route anew for each request;
//   - 1 for Caddy's placeholders, whose map outgrows its first group with ours;
//   - 4 for the placeholders of the user's id, e-mail address, name and the token's
//     id, because a value there is an interface;
//   - 1 for the token's id as text;
//   - 1 for the values of the identity headers, of all together;
//   - 3 to follow the answer: the stream, and a context that ends with the token, of
//     two parts. Whether an answer becomes a long one isn't known before;
//   - 1 for the placeholder by which people sign in here, as it was in front.
//
// How long a request takes, no test says: that is `go run ./bench`'s. The race
// detector allocates too, so that .ci/run runs this without it.
func TestAllocationsOfARequest(t *testing.T) {
	const allowed = 12
	s := serveInProcess(t)
	bearer := "Bearer " + makeTokens(t, 1)[0]
	allocations := func(site string) int {
		least := -1
		for range 5 { // what goes on in the background counts too
			n := int(testing.AllocsPerRun(500, func() {
				if status := s.ask(site, bearer); status != 204 {
					t.Fatalf("%s: status %d", site, status)
				}
			}))
			if least < 0 || n < least {
				least = n
			}
		}
		return least
	}
	bare, with := allocations("bare"), allocations("with")
	if with-bare > allowed {
		t.Errorf("a request with a token allocates %d times, and %d without the directive: %d more are allowed", with, bare, allowed)
	}
}
