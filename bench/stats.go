package main

import (
	"fmt"
	"math"
	"slices"
	"time"
)

// spread is a median with its quartiles.
type spread struct{ low, median, high float64 }

func spreadOf(values []float64) spread {
	sorted := slices.Sorted(slices.Values(values))
	return spread{quantile(sorted, 0.25), quantile(sorted, 0.5), quantile(sorted, 0.75)}
}

// quantile is between the two values beside it, in proportion.
func quantile(sorted []float64, q float64) float64 {
	if len(sorted) == 0 {
		return math.NaN()
	}
	at := q * float64(len(sorted)-1)
	below := int(at)
	if below+1 == len(sorted) {
		return sorted[below]
	}
	return sorted[below] + (at-float64(below))*(sorted[below+1]-sorted[below])
}

// text writes all three with so many digits after the point.
func (s spread) text(digits int) string {
	if math.IsNaN(s.median) {
		return "–"
	}
	return fmt.Sprintf("%.*f (%.*f–%.*f)", digits, s.median, digits, s.low, digits, s.high)
}

// noise is how far two servers that are the same seem to differ: what is nearer to
// 1 than that can't be told from it.
func (s spread) noise() float64 {
	return max(math.Abs(s.median-1), (s.high-s.low)/2)
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
