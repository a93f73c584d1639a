package main

import (
	"fmt"
	"html"
	"math"
	"strings"
)

// drawing is a picture that is made of lines and texts, for light pages and dark ones.
type drawing struct {
	width, height float64
	strings.Builder
}

// style is the same colours for a meaning, on light pages and on dark ones.
const style = `<style>
	text { font: 13px system-ui, sans-serif; fill: #24292f }
	.dim { fill: #57606a }
	.axis { stroke: #d0d7de }
	.one { stroke: #57606a; stroke-dasharray: 4 3 }
	.noise { fill: #afb8c1; opacity: .45 }
	.ours { fill: #0969da; stroke: #0969da }
	.other { fill: #9a6700; stroke: #9a6700 }
	.range { stroke-width: 2; fill: none }
	@media (prefers-color-scheme: dark) {
		text { fill: #e6edf3 }
		.dim { fill: #9198a1 }
		.axis { stroke: #3d444d }
		.one { stroke: #9198a1 }
		.noise { fill: #656c76 }
		.ours { fill: #4493f8; stroke: #4493f8 }
		.other { fill: #d29922; stroke: #d29922 }
	}
</style>
`

func (d *drawing) text(x, y float64, class, anchor, text string) {
	fmt.Fprintf(d, `<text x="%.1f" y="%.1f" class="%s" text-anchor="%s">%s</text>`+"\n", x, y, class, anchor, html.EscapeString(text))
}

func (d *drawing) line(x1, y1, x2, y2 float64, class string) {
	fmt.Fprintf(d, `<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" class="%s"/>`+"\n", x1, y1, x2, y2, class)
}

func (d *drawing) rect(x, y, width, height float64, class string) {
	fmt.Fprintf(d, `<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" class="%s"/>`+"\n", x, y, max(width, 0), height, class)
}

func (d *drawing) dot(x, y float64, class string) {
	fmt.Fprintf(d, `<circle cx="%.1f" cy="%.1f" r="4" class="%s"/>`+"\n", x, y, class)
}

// finish returns the whole picture, with what it shows in words.
func (d *drawing) finish(title string) string {
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %.0f %.0f" role="img">`+"\n<title>%s</title>\n%s%s</svg>\n",
		d.width, d.height, html.EscapeString(title), style, d.String())
}

// step is a round number of which a few make up span.
func step(span float64) float64 {
	power := math.Pow(10, math.Floor(math.Log10(span/5)))
	for _, n := range []float64{1, 2, 5, 10} {
		if span/(n*power) <= 8 {
			return n * power
		}
	}
	return 10 * power
}

// drawCost draws the ratios of all comparisons with their quartiles, and behind each
// how far two servers that are the same were apart.
func drawCost(r *results) string {
	const left, right, row, top = 440.0, 70.0, 26.0, 40.0
	type bar struct {
		result
		class string
	}
	var bars []bar
	low, high := 0.95, 1.1 // of what there is room for
	for _, group := range []struct {
		of    []result
		class string
	}{{r.cases, "ours"}, {r.others, "other"}} {
		for _, c := range group.of {
			bars = append(bars, bar{c, group.class})
			low, high = min(low, c.ratio.low, c.control.low), max(high, c.control.high)
			if group.class == "ours" || c.ratio.median < 1.3 {
				high = max(high, c.ratio.high)
			}
		}
	}
	d := &drawing{width: 960, height: top + row*float64(len(bars)) + 30}
	every := step(high - low)
	low, high = math.Floor(low/every)*every, math.Ceil(high/every)*every
	at := func(ratio float64) float64 { return left + (ratio-low)/(high-low)*(d.width-left-right) }
	d.text(left, 18, "dim", "start", "CPU time of a request, with ÷ without: median, quartiles; grey: same ÷ same")
	for n := 0; low+float64(n)*every <= high+every/2; n++ {
		tick := low + float64(n)*every
		d.line(at(tick), top-8, at(tick), d.height-22, "axis")
		d.text(at(tick), d.height-6, "dim", "middle", fmt.Sprintf("%.4g", tick))
	}
	for i, b := range bars {
		y := top + row*float64(i) + row/2
		name := strings.ReplaceAll(b.name, "`", "")
		if b.class == "ours" {
			name += ", " + b.way
		}
		d.text(left-12, y+4, "", "end", name)
		d.rect(at(b.control.low), y-8, at(b.control.high)-at(b.control.low), 16, "noise")
		if b.ratio.high > high { // far out
			d.dot(at(high), y, b.class)
			d.text(at(high)+10, y+4, "", "start", fmt.Sprintf("→ %.2f", b.ratio.median))
			continue
		}
		d.line(at(b.ratio.low), y, at(b.ratio.high), y, b.class+" range")
		d.dot(at(b.ratio.median), y, b.class)
		d.text(at(b.ratio.high)+10, y+4, "dim", "start", fmt.Sprintf("%.2f", b.ratio.median))
	}
	d.line(at(1), top-8, at(1), d.height-22, "one")
	return d.finish("CPU time of a request, with ÷ without")
}

// drawGrowth draws what the directive adds to a request, by the number of tokens.
func drawGrowth(r *results) string {
	const left, right, top, bottom = 60.0, 40.0, 40.0, 46.0
	d := &drawing{width: 900, height: 320}
	most := 1.0
	for _, s := range r.sizes {
		most = max(most, s.random.more.high)
	}
	every := step(most)
	most = math.Ceil(most/every) * every
	x := func(i int) float64 {
		return left + 40 + float64(i)/float64(max(len(r.sizes)-1, 1))*(d.width-left-right-80)
	}
	y := func(µs float64) float64 { return d.height - bottom - max(µs, 0)/most*(d.height-top-bottom) }
	d.text(left, 18, "dim", "start", "CPU time that the directive adds to a request on respond, µs: tokens at random, each seen before")
	for n := 0; float64(n)*every <= most+every/2; n++ {
		tick := float64(n) * every
		d.line(left, y(tick), d.width-right, y(tick), "axis")
		d.text(left-8, y(tick)+4, "dim", "end", fmt.Sprintf("%.4g", tick))
	}
	var before [2]float64
	for i, s := range r.sizes {
		added := s.random.more
		d.text(x(i), d.height-bottom+22, "", "middle", count(s.tokens)+" tokens")
		if i > 0 {
			d.line(before[0], before[1], x(i), y(added.median), "ours")
		}
		d.line(x(i), y(added.low), x(i), y(added.high), "ours range")
		d.dot(x(i), y(added.median), "ours")
		d.text(x(i)+10, y(added.median)-8, "dim", "start", fmt.Sprintf("%.1f", added.median))
		before = [2]float64{x(i), y(added.median)}
	}
	return d.finish("CPU time that the directive adds to a request, by the number of tokens")
}
