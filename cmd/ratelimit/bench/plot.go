package bench

import (
	"fmt"
	"io"
	"math"
	"strings"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// plotWidth is how many characters the longest bar has.
const plotWidth = 50

// Plot draws latencies, in nanoseconds: a bar for each doubling, in steps of
// half a doubling, as long as the share of checks that took no longer than it
// says and longer than the bar above.
func Plot(w io.Writer, h *hdrhistogram.Histogram) error {
	if h.TotalCount() == 0 {
		return nil
	}
	counts := make(map[int]int64)
	first, last := math.MaxInt, math.MinInt
	var most int64
	for _, bar := range h.Distribution() {
		if bar.Count == 0 {
			continue
		}
		step := int(math.Ceil(2 * math.Log2(float64(max(1, bar.To))/float64(time.Microsecond))))
		counts[step] += bar.Count
		most = max(most, counts[step])
		first, last = min(first, step), max(last, step)
	}
	for step := first; step <= last; step++ {
		upper := time.Duration(math.Pow(2, float64(step)/2) * float64(time.Microsecond))
		share := float64(counts[step]) / float64(h.TotalCount())
		length := int(math.Ceil(plotWidth * float64(counts[step]) / float64(most)))
		if _, err := fmt.Fprintf(w, "  up to %7s  %6.2f%%  %s\n", Short(upper), 100*share, strings.Repeat("#", length)); err != nil {
			return err
		}
	}
	return nil
}

// Short writes a duration with three digits.
func Short(d time.Duration) string {
	switch {
	case d < time.Millisecond:
		return digits(float64(d)/1e3) + "us"
	case d < time.Second:
		return digits(float64(d)/1e6) + "ms"
	}
	return digits(float64(d)/1e9) + "s"
}

// digits writes a number with three digits, or all it has before the point.
func digits(f float64) string {
	switch {
	case f >= 99.95:
		return fmt.Sprintf("%.0f", f)
	case f >= 9.995:
		return fmt.Sprintf("%.1f", f)
	}
	return fmt.Sprintf("%.2f", f)
}
