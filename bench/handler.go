package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// handled is what one request costs in the process, from Caddy's server to the end
// of the answer.
type handled struct {
	name               string
	nanos              spread
	bytes, allocations float64
	bare               string // the name of what it is to be compared with
}

// repetitions is how often go test repeats a benchmark.
const repetitions = 6

// measureHandler runs the handler's own benchmark.
func (b *bench) measureHandler(ctx context.Context) ([]handled, error) {
	const ours = "github.com/caddy-access-tokens/caddy-access-tokens/caddymodule"
	command := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-bench", "^BenchmarkRequest$", "-benchmem", "-count", strconv.Itoa(repetitions), ours) //nolint:gosec // a number of our own
	command.Env = append(os.Environ(), fmt.Sprintf("ACCESS_TOKENS_BENCH_TOKENS=%d", b.used))
	out, err := command.CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("the handler's benchmark: %w\n%s", err, out)
	}
	return parseBenchmarks(string(out))
}

var benchmarkLine = regexp.MustCompile(`(?m)^BenchmarkRequest/(\w+?)(?:-\d+)?\s+\d+\s+([\d.]+) ns/op\s+(\d+) B/op\s+(\d+) allocs/op`)

func parseBenchmarks(out string) (all []handled, err error) {
	var names []string
	values := make(map[string][3][]float64)
	for _, m := range benchmarkLine.FindAllStringSubmatch(out, -1) {
		if !slices.Contains(names, m[1]) {
			names = append(names, m[1])
		}
		v := values[m[1]]
		for i := range v {
			n, err := strconv.ParseFloat(m[2+i], 64)
			if err != nil {
				return nil, err
			}
			v[i] = append(v[i], n)
		}
		values[m[1]] = v
	}
	for _, name := range names {
		v := values[name]
		h := handled{name: name, nanos: spreadOf(v[0]), bytes: spreadOf(v[1]).median, allocations: spreadOf(v[2]).median, bare: "bare"}
		if name == "unknown" || name == "checksum" {
			h.bare = "bare401"
		}
		all = append(all, h)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("the handler's benchmark says nothing: %s", strings.TrimSpace(out))
	}
	return all, nil
}
