package contract

import (
	"path"
	"strings"
	"testing"
)

// behindPaths are servers whose programs choose by path what they serve.
var behindPaths = []string{"node", "php", "lighttpd", "wsgiref", "waitress"}

// disguised are spellings of a path that begins with '/', each of which some server
// takes for it. Where a prefix makes a path public, opened is one of them below it.
func disguised(hidden, opened string) []string {
	bare := strings.TrimPrefix(hidden, "/")
	first, rest, several := strings.Cut(bare, "/")
	slashes := strings.ReplaceAll(bare, "/", "%2f")
	backslashes := strings.ReplaceAll(bare, "/", `\`)
	all := []string{
		// What follows "//" is a host for Node's new URL and PHP's parse_url.
		"//h/" + bare, "//open/" + bare, "///h/" + bare, "//h//" + bare, "//u@h/" + bare, "//h:80/" + bare, "//[::1]/" + bare,
		`/\h/` + bare, `\\h/` + bare, `/\h\` + backslashes, "/%2fh/" + bare, "/%5ch/" + bare, `//h\` + backslashes,
		"/.//h/" + bare, "/..//h/" + bare, "http://h/" + bare, "http:///" + bare, "http:/" + bare,
		// Paths with more than one form.
		opened + "/.." + hidden, opened + "/%2e%2e" + hidden, opened + "/.%2E" + hidden, opened + "/..%2f" + slashes, opened + "%2f..%2f" + slashes,
		opened + `/..\` + backslashes, opened + "/..%5c" + bare, opened + `\..\` + backslashes, opened + "/x/../.." + hidden,
		opened + "/..;" + hidden, opened + "/..;x=y" + hidden, opened + "/%2e%2e;" + hidden, opened + "/..%3b" + hidden, opened + "/..%3bx=y" + hidden,
		opened + "/%252e%252e" + hidden, opened + "/..%252f" + slashes, opened + "/%25252e%25252e" + hidden,
		opened + "/..%00" + hidden, opened + "/.%00./" + bare, opened + "/%c0%ae%c0%ae" + hidden, opened + "/..%09" + hidden, opened + "/.\t." + hidden,
		opened + "/..//" + bare, opened + "/../." + hidden, opened + "//.." + hidden, opened + "//../.." + hidden,
		// What ends a path.
		hidden + "%3f/.." + opened, hidden + "%3F/../.." + opened, hidden + "%23/.." + opened, hidden + "%00/.." + opened, hidden + "%00" + opened,
		hidden + "#/.." + opened, hidden + "%253f/.." + opened, hidden + "%2500/.." + opened, hidden + "%3f", hidden + "%23", hidden + "%00", hidden + "%00x",
		hidden + ";/.." + opened, hidden + ";x=y/../.." + opened, hidden + ";x=y", hidden + "%3bx=y", ";" + hidden, "/;" + hidden, "/;x=y" + hidden,
		// What begins one.
		"/index.php" + hidden, "/index.php/" + hidden, "/INDEX.PHP" + hidden, "/x/index.php" + hidden, "/index%2ephp" + hidden, opened + "/index.php" + hidden,
		opened + "/x.php" + hidden, "/index.php%2f" + slashes,
		// The same, spelled otherwise.
		strings.ToUpper(hidden), hidden + "/", hidden + "//", hidden + "/.", hidden + "/..", hidden + "/../", hidden + "/x", hidden + "%2f", hidden + `\`,
		"/." + hidden, "/.." + hidden, "/%2e" + hidden, "/x/.." + hidden, "//" + bare, "///" + bare, "/%2f" + bare, "/" + backslashes, `/\` + bare,
		"/%" + hex(bare[0]) + bare[1:], "/%25" + hex(bare[0]) + bare[1:],
	}
	if several {
		all = append(all, "/"+first+";x=y/"+rest, "/"+first+"//"+rest, "/"+first+"/./"+rest, "/"+first+"%2f"+rest, "/"+first+`\`+rest,
			"/"+first+"%5c"+rest, "/"+first+"%252f"+rest, "/"+first+"/;/"+rest, "//"+first+"/"+rest, "/"+first+"/x/..;/"+rest)
	}
	return all
}

func hex(b byte) string {
	const digits = "0123456789ABCDEF"
	return string([]byte{digits[b>>4], digits[b&15]})
}

// isBelow tells whether a server that cleans its paths, and sees no difference
// between cases, finds this one at or below another.
func isBelow(reading, of string) bool {
	cleaned := path.Clean("/" + strings.ToLower(reading))
	return cleaned == of || strings.HasPrefix(cleaned, of+"/")
}

// Without a token, no server behind finds itself asked for what isn't public.
func TestNoServerTakesAPathForAPublicOne(t *testing.T) {
	t.Parallel()
	// "/h" is public too, so that a host's name doesn't hide a path by chance.
	behindEach(t, behindPaths, site("public /open/* /h/* /index.php/open/*"), func(t *testing.T, g *gateway, _ server) {
		wantServer(t, g.do(t, ask{target: "/open/x"}))
		for _, opened := range []string{"/open", "/h", "/open/x"} {
			for _, target := range disguised("/admin", opened) {
				for _, reading := range g.do(t, ask{target: target}).made("PATH") {
					if !isBelow(reading, "/open") && !isBelow(reading, "/h") {
						t.Errorf("%s is public, and it serves %s", target, reading)
					}
				}
			}
		}
	})
}

// Nor do those with a token reach the API's own routes of our names.
func TestNoServerTakesAPathForOneOfOurs(t *testing.T) {
	t.Parallel()
	behindEach(t, behindPaths, site("public /open/*"), func(t *testing.T, g *gateway, _ server) {
		made := g.create(t, as("alice"), 3600, "")
		wantServer(t, g.do(t, ask{target: "/v4/apiAccessToken", auth: bearer(made.value)}))
		for _, ours := range []string{api, "/access-tokens"} {
			for _, target := range disguised(ours, "/open") {
				for _, auth := range []string{bearer(made.value), ""} {
					for _, reading := range g.do(t, ask{target: target, auth: auth}).made("PATH") {
						if isBelow(reading, strings.ToLower(ours)) {
							t.Errorf("%s passes, and it serves %s", target, reading)
						}
					}
				}
			}
		}
	})
}
