package signintest

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync"

	"github.com/caddy-access-tokens/caddy-access-tokens/caddymodule/signin"
)

// check says what is wrong with what s does about one request.
func check(s signin.SignIn, c Case) (problems []string) {
	wrong := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }

	before := inCaddy(c.Request)
	body := new(untouched)
	asked := before.Clone(before.Context())
	asked.Body, asked.ContentLength = body, 1
	for range 2 {
		user, err := s.SignIn(asked)
		if problem := compare(c, user, err); problem != "" {
			wrong("%s", problem)
		}
		if told := tells(err, c.Request); told != "" {
			wrong("its error tells the credentials: %s", told)
		}
	}
	if d, ok := s.(signin.Decoy); ok {
		d.Decoy(asked)
	}
	if f, ok := s.(signin.InFront); ok {
		user, err := f.Established(asked)
		if problem := compare(c, user, err); problem != "" {
			wrong("in front: %s", problem)
		}
	}
	if body.read {
		wrong("it reads the request's body")
	}
	if !same(before, asked) {
		wrong("it changes the request")
	}
	return append(problems, slices.Concat(checkEnd(s, c), checkInterfaces(s, c))...)
}

// compare says how an answer differs from what c says.
func compare(c Case, user signin.User, err error) string {
	switch {
	case c.Err != nil && kind(err) != kind(c.Err):
		return fmt.Sprintf("%v, want %v", err, c.Err)
	case c.Err != nil:
		return ""
	case err != nil:
		return fmt.Sprintf("%v, want %+v", err, c.User)
	}
	if err := user.Check(); err != nil {
		return fmt.Sprintf("nobody can be that user: %v", err)
	}
	if user.ID != c.User.ID || user.Email != c.User.Email || user.Name != c.User.Name || user.Admin != c.User.Admin || !maps.Equal(user.Claims, c.User.Claims) {
		return fmt.Sprintf("%+v, want %+v", user, c.User)
	}
	return ""
}

// kind is which of the answers an error is.
func kind(err error) string {
	switch {
	case err == nil:
		return "yes"
	case errors.Is(err, signin.ErrDenied):
		return "no"
	case errors.Is(err, signin.ErrNotMine):
		return "not mine"
	case errors.Is(err, signin.ErrNotChecked):
		return "not checked"
	}
	return "can't tell"
}

// tells returns a secret of r's that err tells, "" if none.
func tells(err error, r *http.Request) string {
	if err == nil {
		return ""
	}
	var secrets []string
	for _, line := range r.Header["Authorization"] {
		_, credentials, _ := strings.Cut(line, " ")
		secrets = append(secrets, credentials)
		if decoded, err := base64.StdEncoding.DecodeString(credentials); err == nil {
			_, password, _ := strings.Cut(string(decoded), ":")
			secrets = append(secrets, password)
		}
	}
	for _, cookie := range r.Cookies() {
		secrets = append(secrets, cookie.Value)
	}
	for _, secret := range secrets {
		// Shorter ones may be part of any text.
		if len(secret) > 3 && strings.Contains(err.Error(), secret) {
			return err.Error()
		}
	}
	return ""
}

// untouched is a body that nobody is to read.
type untouched struct{ read bool }

func (b *untouched) Read([]byte) (int, error) {
	b.read = true
	return 0, io.EOF
}

func (*untouched) Close() error { return nil }

func same(before, after *http.Request) bool {
	return before.Method == after.Method && before.Host == after.Host && before.RequestURI == after.RequestURI &&
		reflect.DeepEqual(before.URL, after.URL) && reflect.DeepEqual(before.Header, after.Header) && reflect.DeepEqual(before.Trailer, after.Trailer)
}

// checkEnd asks in a context that has ended: there has to be an answer, and none
// that takes a user's yes away.
func checkEnd(s signin.SignIn, c Case) (problems []string) {
	r := inCaddy(c.Request)
	ctx, cancel := context.WithCancel(r.Context())
	cancel()
	_, err := s.SignIn(r.WithContext(ctx))
	if got := kind(err); c.Err == nil && got != "yes" && got != "can't tell" && got != "not checked" {
		problems = append(problems, fmt.Sprintf("where the request's context has ended it says %v, want yes, or that it can't tell", err))
	}
	return problems
}

// checkInterfaces compares what s says of itself with c.
func checkInterfaces(s signin.SignIn, c Case) (problems []string) {
	wrong := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }

	_, inFront := s.(signin.InFront)
	_, elsewhere := s.(signin.CredentialTaker)
	has := elsewhere && s.(signin.CredentialTaker).HasCredentials(inCaddy(c.Request))
	taken := kind(c.Err) == "yes" || kind(c.Err) == "no"
	authorized := c.Request.Header.Get("Authorization") != ""
	switch {
	case taken && !authorized && !inFront && !elsewhere:
		wrong("it takes credentials from elsewhere than Authorization, but is no CredentialTaker: guessing them isn't limited")
	case taken && !authorized && !inFront && !has:
		wrong("it takes credentials in which HasCredentials sees none: guessing them isn't limited")
	case has && len(c.Request.Header) == 0 && c.Request.TLS == nil:
		wrong("HasCredentials sees some where there are none")
	}
	if b, ok := s.(signin.BasicTaker); ok && !b.TakesBasic() && taken && strings.HasPrefix(c.Request.Header.Get("Authorization"), "Basic ") {
		wrong("it takes Basic credentials, but TakesBasic says that it doesn't: no 401 asks for them")
	}
	if n, ok := s.(signin.ClaimNamer); ok {
		if err := signin.CheckClaimNames(n.ClaimNames()...); err != nil {
			wrong("ClaimNames: %v", err)
		}
		for name := range c.User.Claims {
			if !slices.Contains(n.ClaimNames(), name) {
				wrong("its users have the claim %s, which isn't among its ClaimNames", name)
			}
		}
	}
	if k, ok := s.(signin.Knower); ok && c.Err == nil && !k.Knows(c.User.ID) {
		wrong("it establishes %s, but says that it doesn't know that user", c.User.ID)
	}
	if a, ok := s.(signin.AdminNamer); ok && c.User.Admin && !a.NamesAdmins() {
		wrong("it calls %s an administrator, but says that it calls nobody so", c.User.ID)
	}
	return problems
}

// atATime is how many ask about each case concurrently.
const atATime = 8

func checkConcurrently(s signin.SignIn, cases []Case) (problems []string) {
	var group sync.WaitGroup
	var mu sync.Mutex
	for _, c := range cases {
		for range atATime {
			asked := inCaddy(c.Request.Clone(c.Request.Context()))
			group.Go(func() {
				user, err := s.SignIn(asked)
				if problem := compare(c, user, err); problem != "" {
					mu.Lock()
					defer mu.Unlock()
					problems = append(problems, c.Name+": "+problem)
				}
			})
		}
	}
	group.Wait()
	return problems
}
