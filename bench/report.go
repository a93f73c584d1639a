package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// results are what came of a run.
type results struct {
	about         about
	handler       []handled
	sizes         []size
	cases, others []result
	writing       *writing
}

// about says what was measured, when and on what.
type about struct {
	date, commit, machine string
	provisional           bool
	windows, perRound     int
}

func (b *bench) about(ctx context.Context) (about, error) {
	a := about{
		date: time.Now().UTC().Format(time.DateOnly), machine: machine(),
		provisional: b.provisional, windows: b.windows, perRound: b.perRound,
	}
	git := func(args ...string) (string, error) {
		out, err := exec.CommandContext(ctx, "git", args...).Output()
		return strings.TrimSpace(string(out)), err
	}
	var err error
	if a.commit, err = git("rev-parse", "--short=12", "HEAD"); err != nil {
		a.commit = "unknown: not a checkout"
		return a, nil //nolint:nilerr // such as one that was downloaded
	}
	changed, err := git("status", "--porcelain", "--untracked-files=no", "--", ":/", ":!/docs")
	if changed != "" {
		a.commit += ", with changes"
	}
	return a, err
}

// machine says what this is measured on.
func machine() string {
	model := runtime.GOARCH
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(text)) {
			if name, value, _ := strings.Cut(line, ":"); strings.TrimSpace(name) == "model name" {
				model = strings.TrimSpace(value)
				break
			}
		}
	}
	return fmt.Sprintf("%d CPUs (%s), %s, %s", runtime.NumCPU(), model, runtime.GOOS, runtime.Version())
}

// markdown is all results as they stand in a document.
func (r *results) markdown() string {
	var out strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&out, format+"\n", args...) }
	p("Measured on %s, of commit %s, on %s; %d windows of %d requests to each server.", r.about.date, r.about.commit, r.about.machine, r.about.windows, r.about.perRound)
	if r.about.provisional {
		p("\n**Provisional:** the machine had other work to do meanwhile, so that these figures say where it goes rather than where it is.")
	}
	p("\n%s", r.noise())
	if len(r.cases) > 0 {
		p("\n### With the directive ÷ without\n")
		writeComparisons(&out, r.cases, true)
	}
	if len(r.others) > 0 {
		p("\n### Others, each ÷ its own server without\n")
		writeComparisons(&out, r.others, false)
	}
	if len(r.cases)+len(r.others) > 0 {
		p("\n![CPU time of a request, with ÷ without](%s/%s)", imagesDir, costImage)
	}
	if len(r.handler) > 0 {
		p("\n### In the process alone\n")
		writeHandler(&out, r.handler)
	}
	if len(r.sizes) > 0 {
		p("\n### By the number of tokens\n")
		writeSizes(&out, r.sizes)
		p("\n![CPU time that the directive adds, by the number of tokens](%s/%s)", imagesDir, growthImage)
	}
	if r.writing != nil {
		p("\n### Making tokens\n")
		writeWriting(&out, r)
	}
	return strings.TrimSpace(out.String())
}

// comparisons are all of them.
func (r *results) comparisons() (all []result) {
	all = append(append(all, r.cases...), r.others...)
	for _, s := range r.sizes {
		all = append(all, s.random)
	}
	return all
}

// noise says how well the machine could tell anything.
func (r *results) noise() string {
	var worst float64
	noisy, all := 0, r.comparisons()
	for i := range all {
		n := all[i].control.noise()
		worst = max(worst, n)
		if n > tooNoisy {
			noisy++
		}
	}
	text := fmt.Sprintf("Two servers that are the same differed by at most ± %.3f.", worst)
	if noisy > 0 {
		text = fmt.Sprintf("**The machine was too noisy to tell** in %d of %d comparisons: two servers that are the same differed by up to ± %.3f there, and what is looked for are hundredths.", noisy, len(all), worst)
	}
	return text
}

func writeComparisons(out *strings.Builder, all []result, targets bool) {
	head := "| | | CPU without, µs | more with, µs | with ÷ without | same ÷ same |"
	if targets {
		head += " throughput | target | |"
	}
	fmt.Fprintln(out, head)
	fmt.Fprintln(out, strings.Repeat("| --- ", strings.Count(head, "|")-1)+"|")
	for _, r := range all {
		fmt.Fprintf(out, "| %s | %s | %s | %s | **%s** | %s |", r.name, r.way, r.bare.text(1), r.more.text(1), r.ratio.text(3), r.control.text(3))
		if targets {
			target := ""
			if r.target > 0 {
				target = fmt.Sprintf("≥ %.2f", r.target)
			}
			fmt.Fprintf(out, " %.3f | %s | %s |", r.throughput(), target, r.verdict())
		}
		fmt.Fprintln(out)
	}
}

var handledNames = map[string]string{
	"bare": "without the directive", "one": "one token", "random": "tokens at random, each seen before",
	"bare401": "refused without the directive", "unknown": "unknown, with a good checksum", "checksum": "with a bad checksum",
}

func writeHandler(out *strings.Builder, all []handled) {
	byName := make(map[string]handled)
	for _, h := range all {
		byName[h.name] = h
	}
	fmt.Fprintln(out, "| | ns a request | more than without | bytes more | allocations more |")
	fmt.Fprintln(out, "| --- | --- | --- | --- | --- |")
	for _, h := range all {
		name := handledNames[h.name]
		if name == "" {
			name = h.name
		}
		fmt.Fprintf(out, "| %s | %s |", name, h.nanos.text(0))
		if bare, known := byName[h.bare]; known && h.name != "bare" && h.name != "bare401" {
			fmt.Fprintf(out, " %.0f | %.0f | %.0f |", h.nanos.median-bare.nanos.median, h.bytes-bare.bytes, h.allocations-bare.allocations)
		} else {
			fmt.Fprintf(out, " | | |")
		}
		fmt.Fprintln(out)
	}
}

func writeSizes(out *strings.Builder, all []size) {
	const mib = 1 << 20
	columns := []string{
		"tokens", "made in the store by 64, a second", "on disk, MiB", "bytes a token", "start to first answer, ms", "with a cold page cache, ms", "without the directive, ms",
		"memory of its own, idle, MiB", "after use, MiB", "without, idle, MiB", "mapped files, MiB", "a token that was seen before, µs more",
	}
	fmt.Fprintf(out, "| %s |\n%s|\n", strings.Join(columns, " | "), strings.Repeat("| --- ", len(columns)))
	for _, s := range all {
		made := "– | – | –" // they were there
		if s.perSecond > 0 {
			made = fmt.Sprintf("%.0f | %.1f | %.0f", s.perSecond, float64(s.disk)/mib, float64(s.disk)/float64(s.tokens))
		}
		fmt.Fprintf(out, "| %s | %s | %s | %s | %s | %.1f | %.1f | %.1f | %.1f | %s |\n", count(s.tokens), made, s.warm.text(0), s.cold.text(0), s.bareStart.text(0),
			float64(s.own)/mib, float64(s.used)/mib, float64(s.bareOwn)/mib, float64(s.files)/mib, s.random.more.text(1))
	}
}

func writeWriting(out *strings.Builder, r *results) {
	w := r.writing
	fmt.Fprintln(out, "| | measured | target |")
	fmt.Fprintln(out, "| --- | --- | --- |")
	if n := len(r.sizes); n > 0 && r.sizes[n-1].perSecond > 0 {
		fmt.Fprintf(out, "| made by 64 in the store, a second | %.0f | ≥ 20,000 |\n", r.sizes[n-1].perSecond)
	}
	fmt.Fprintf(out, "| made by 64 clients over HTTP, by renewal, a second | %.0f | ≥ 8,000 |\n", w.perSecond)
	fmt.Fprintf(out, "| the same with `audit file` | %.0f (%.2f of that) | ≥ 0.5 of that |\n", w.audited, w.audited/w.perSecond)
	fmt.Fprintf(out, "| other requests, p50 and p99 | %.2f and %.2f ms | |\n", w.quiet.p50, w.quiet.p99)
	fmt.Fprintf(out, "| beside 64 clients who only ask | %.2f and %.2f ms | |\n", w.readers.p50, w.readers.p99)
	fmt.Fprintf(out, "| beside 64 clients who make tokens | %.2f and %.2f ms: p99 %.2f × | ≤ 1.2 × |\n", w.writers.p50, w.writers.p99, w.writers.p99/w.quiet.p99)
}

// Where results stand in a document.
const (
	beginMark = "<!-- what `go run ./bench -write` puts here begins -->"
	endMark   = "<!-- and ends -->"
)

// The pictures, beside a document.
const (
	imagesDir   = "images"
	costImage   = "cost.svg"
	growthImage = "cost-by-tokens.svg"
)

// writeInto replaces the results in a document, and its pictures.
func (r *results) writeInto(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	before, rest, begun := bytes.Cut(text, []byte(beginMark))
	_, after, ended := bytes.Cut(rest, []byte(endMark))
	if !begun || !ended {
		return fmt.Errorf("%s has no place for results: write %q and %q there", path, beginMark, endMark)
	}
	text = fmt.Appendf(nil, "%s%s\n%s\n%s%s", before, beginMark, r.markdown(), endMark, after)
	images := filepath.Join(filepath.Dir(path), imagesDir)
	return errors.Join(
		writeFile(path, text),
		os.MkdirAll(images, 0o755), //nolint:gosec // as what is in the checkout
		writeFile(filepath.Join(images, costImage), []byte(drawCost(r))),
		writeFile(filepath.Join(images, growthImage), []byte(drawGrowth(r))),
	)
}

func writeFile(path string, text []byte) error {
	return os.WriteFile(path, text, 0o644) //nolint:gosec // as what is in the checkout
}
