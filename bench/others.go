package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/crypto/bcrypt"
)

// other is a way to know who asks that isn't ours.
type other struct {
	name    string
	program string // "" for Caddy
	prepare func(ctx context.Context, program string, known int) (comparison, error)
}

// mostInMaps is how many tokens others know at most. They are in files.
const mostInMaps = 100_000

// measureOthers compares what else knows who asks, each with its own server that
// doesn't ask. All of them proxy.
func (b *bench) measureOthers(ctx context.Context, r *results) error {
	known := min(b.used, mostInMaps)
	for _, o := range []other{
		{"Caddy `basic_auth`, hash cache, one user", "", b.caddyBasicAuth},
		{fmt.Sprintf("nginx, `map` of %s plaintext tokens", count(known)), "nginx", b.nginxMap},
		{"nginx, `auth_request` to a small Go verifier", "nginx", b.nginxAuthRequest},
		{fmt.Sprintf("HAProxy, map of %s SHA-256 hashes", count(known)), "haproxy", b.haproxyMap},
	} {
		if !b.wanted(o.name, proxied) {
			continue
		}
		if err := b.measureOther(ctx, o, known, r); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) measureOther(ctx context.Context, o other, known int, r *results) (err error) {
	defer b.stopSince(len(b.running), &err)
	program := ""
	if o.program != "" {
		program, err = exec.LookPath(o.program)
		if err != nil {
			program, err = exec.LookPath(filepath.Join("/usr/sbin", o.program))
		}
		if err != nil {
			b.say("%s isn't installed: left out", o.program)
			return nil
		}
	}
	c, err := o.prepare(ctx, program, known)
	if err != nil {
		return err
	}
	c.name, c.way = o.name, proxied
	return b.add(ctx, &r.others, c)
}

// caddyBasicAuth has one user, whose password is compared once: the outcome is in a
// cache.
func (b *bench) caddyBasicAuth(ctx context.Context, _ string, _ int) (c comparison, err error) {
	hash, err := bcrypt.GenerateFromPassword([]byte("password"), bcrypt.MinCost)
	if err != nil {
		return c, err
	}
	sites := b.bareSites()
	bare, control, err := b.pair(func(name string) (*server, error) { return b.startCaddy(name, "", sites...) })
	if err != nil {
		return c, err
	}
	with, err := b.startCaddy("basic_auth", "", site{proxied, fmt.Sprintf("basic_auth {\n\t\talice %s\n\t}\n\treverse_proxy %s", hash, b.api)})
	if err != nil {
		return c, err
	}
	b.keep(with.process)
	const alice = "Basic YWxpY2U6cGFzc3dvcmQ="
	for _, s := range []*server{bare, control, with} {
		if _, _, err := s.awaitAnswer(ctx, s.at[proxied], alice, 200); err != nil {
			return c, err
		}
	}
	return comparison{
		bare: bare.subject(proxied, 200), control: control.subject(proxied, 200), with: with.subject(proxied, 200),
		tokens: always(tokens{Kind: given, Value: alice}),
	}, nil
}

// knownTokens writes a line about each token that others know.
func (b *bench) knownTokens(name string, known int, line func(value string) string) (path string, err error) {
	values, err := openValues(b.valuesFile())
	if err != nil {
		return "", err
	}
	defer values.close()
	var text strings.Builder
	for n := range known {
		text.WriteString(line(values.at(n)))
	}
	path = filepath.Join(b.dir, name)
	return path, os.WriteFile(path, []byte(text.String()), 0o600)
}

// a configuration is written for where its server listens.
type configuration func(dir, address string) string

// three starts two bare servers and one other of a program, and returns them as a
// comparison of requests with known tokens.
func (b *bench) three(ctx context.Context, known int, bare, with configuration, start func(name, config string) (*process, error)) (c comparison, err error) {
	first, err := b.knownTokens("first", 1, func(value string) string { return value })
	if err != nil {
		return c, err
	}
	one, err := os.ReadFile(first)
	if err != nil {
		return c, err
	}
	c.tokens = always(tokens{Kind: atRandom, File: b.valuesFile(), N: known})
	for _, s := range []struct {
		name    string
		to      *subject
		content configuration
	}{{"other-bare", &c.bare, bare}, {"other-control", &c.control, bare}, {"other-with", &c.with, with}} {
		address, err := freeAddress()
		if err != nil {
			return c, err
		}
		home := filepath.Join(b.dir, s.name)
		if err := os.MkdirAll(home, 0o700); err != nil {
			return c, err
		}
		config := filepath.Join(home, "server.conf")
		if err := os.WriteFile(config, []byte(s.content(home, address)), 0o600); err != nil {
			return c, err
		}
		p, err := start(s.name, config)
		if err != nil {
			return c, err
		}
		b.keep(p)
		if _, _, err := p.awaitAnswer(ctx, address, bearer(string(one)), 200); err != nil {
			return c, err
		}
		*s.to = subject{address: address, processes: []*process{p}, want: 200}
	}
	return c, nil
}

// nginx writes a configuration with one worker, which is the process itself.
func (b *bench) nginx(global, location, locations string) configuration {
	return func(dir, address string) string {
		return strings.NewReplacer("DIR", dir, "ADDRESS", address, "API", b.api, "GLOBAL", global, "LOCATIONS", locations, "LOCATION", location).Replace(`
daemon off;
master_process off;
pid DIR/nginx.pid;
error_log stderr warn;
events { worker_connections 1024; }
http {
	access_log off;
	client_body_temp_path DIR/body;
	proxy_temp_path DIR/proxy;
	fastcgi_temp_path DIR/fastcgi;
	uwsgi_temp_path DIR/uwsgi;
	scgi_temp_path DIR/scgi;
	keepalive_requests 1000000000;
	upstream api { server API; keepalive 64; keepalive_requests 1000000000; }
	GLOBAL
	server {
		listen ADDRESS;
		location / {
			LOCATION
			proxy_http_version 1.1;
			proxy_set_header Connection "";
			proxy_pass http://api;
		}
		LOCATIONS
	}
}
`)
	}
}

func (b *bench) startNginx(program string) func(name, config string) (*process, error) {
	return func(name, config string) (*process, error) {
		return b.start(name, nil, program, "-e", "stderr", "-p", filepath.Dir(config), "-c", config)
	}
}

// nginxMap looks tokens up as they are, in a map of its configuration.
func (b *bench) nginxMap(ctx context.Context, program string, known int) (comparison, error) {
	path, err := b.knownTokens("nginx.map", known, func(value string) string { return fmt.Sprintf("\"Bearer %s\" user;\n", value) })
	if err != nil {
		return comparison{}, err
	}
	return b.three(ctx, known, b.nginx("", "", ""),
		// So few in each bucket that nginx finds a hash at its first attempt.
		b.nginx(fmt.Sprintf("map_hash_max_size %d;\nmap_hash_bucket_size 512;\n", 8*max(known, 1024))+"map $http_authorization $user { default \"\"; include "+path+"; }",
			`if ($user = "") { return 401; } proxy_set_header Remote-User $user; proxy_set_header Authorization "";`, ""),
		b.startNginx(program))
}

// nginxAuthRequest asks another server about each request. What that uses counts.
func (b *bench) nginxAuthRequest(ctx context.Context, program string, known int) (comparison, error) {
	path, err := b.knownTokens("verifier.values", known, func(value string) string { return value + "\n" })
	if err != nil {
		return comparison{}, err
	}
	verifier, address, err := b.startRole(ctx, "verifier", "verifier", valuesEnv+"="+path)
	if err != nil {
		return comparison{}, err
	}
	b.keep(verifier)
	c, err := b.three(ctx, known, b.nginx("", "", ""),
		b.nginx("upstream verifier { server "+address+"; keepalive 64; keepalive_requests 1000000000; }",
			`auth_request /verify; auth_request_set $user $upstream_http_remote_user; proxy_set_header Remote-User $user; proxy_set_header Authorization "";`,
			`location = /verify { internal; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Content-Length ""; proxy_pass_request_body off; proxy_pass http://verifier; }`),
		b.startNginx(program))
	c.with.processes = append(c.with.processes, verifier)
	return c, err
}

// haproxyMap looks the hashes of tokens up, in a map that it has read from a file.
func (b *bench) haproxyMap(ctx context.Context, program string, known int) (comparison, error) {
	path, err := b.knownTokens("haproxy.map", known, func(value string) string {
		return fmt.Sprintf("%X user\n", sha256.Sum256([]byte(bearer(value))))
	})
	if err != nil {
		return comparison{}, err
	}
	configured := func(rules string) configuration {
		return func(_, address string) string {
			return strings.NewReplacer("ADDRESS", address, "API", b.api, "RULES", rules).Replace(`
global
	nbthread 1
	maxconn 4000
defaults
	mode http
	timeout connect 5s
	timeout client 60s
	timeout server 60s
	http-reuse always
frontend front
	bind ADDRESS
RULES	default_backend api
backend api
	server api API
`)
		}
	}
	return b.three(ctx, known, configured(""), configured(
		"\thttp-request set-var(txn.user) req.hdr(authorization),sha2(256),hex,map("+path+")\n"+
			"\thttp-request deny deny_status 401 unless { var(txn.user) -m found }\n"+
			"\thttp-request set-header Remote-User %[var(txn.user)]\n"+
			"\thttp-request del-header Authorization\n"),
		func(name, config string) (*process, error) { return b.start(name, nil, program, "-db", "-f", config) })
}
