package main

import (
	"fmt"
	"math"
	"strings"

	"github.com/quotaworker/ratelimit/cmd/ratelimit/bench"
)

// picture is where the plot goes, beside the document.
const picture = "deploy/performance.svg"

// drawing is an SVG picture in the making. Its paper is light, or dark where the
// reader's browser is.
type drawing struct {
	strings.Builder
	height float64
}

// Measures, in pixels.
const (
	plotWidth  = 860
	plotLeft   = 330 // where the axis begins, right of the names
	plotRight  = 800
	barHeight  = 14
	lineHeight = 24
)

const plotHead = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %.0f" font-family="system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif" font-size="13">
<title>%s</title>
<style>
  .paper { fill: #ffffff } text { fill: #24292f } .dim { fill: #57606a } .title { font-weight: 600; font-size: 15px }
  .grid { stroke: #d0d7de } .one { stroke: #57606a; stroke-width: 1.5 } .target { stroke: #cf222e; stroke-width: 3 } .reach { stroke: #24292f; stroke-width: 1.5 }
  .service { fill: #0969da; stroke: #0969da } .echo { fill: #9a6700; stroke: #9a6700 }
  @media (prefers-color-scheme: dark) {
    .paper { fill: #0d1117 } text { fill: #e6edf3 } .dim { fill: #9198a1 }
    .grid { stroke: #3d444d } .one { stroke: #9198a1 } .target { stroke: #ff7b72 } .reach { stroke: #e6edf3 }
    .service { fill: #4493f8; stroke: #4493f8 } .echo { fill: #d29922; stroke: #d29922 }
  }
</style>
<rect width="100%%" height="100%%" class="paper"/>
`

// text writes at a point. Of anchor it is the start, the middle or the end.
func (d *drawing) text(x, y float64, class, anchor, format string, args ...any) {
	fmt.Fprintf(d, "<text x=\"%.1f\" y=\"%.1f\" class=\"%s\" text-anchor=\"%s\">%s</text>\n", x, y, class, anchor, escape(fmt.Sprintf(format, args...)))
}

func (d *drawing) line(x1, y1, x2, y2 float64, class string) {
	fmt.Fprintf(d, "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" class=\"%s\"/>\n", x1, y1, x2, y2, class)
}

func (d *drawing) bar(x, y, width float64, class string) {
	fmt.Fprintf(d, "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%d\" class=\"%s\"/>\n", x, y, width, barHeight, class)
}

func (d *drawing) dot(x, y float64, class string) {
	fmt.Fprintf(d, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"5\" class=\"%s\"/>\n", x, y, class)
}

// finish returns the picture.
func (d *drawing) finish(title string) []byte {
	return fmt.Appendf(nil, plotHead+"%s</svg>\n", plotWidth, d.height, escape(title), d.String())
}

func escape(s string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(s)
}

// plot draws the throughput of all rows that have one, and the latencies of
// those that have one, each next to the echo's.
func (t *table) plot() []byte {
	var d drawing
	var fast []share
	var prompt []resultOf
	for _, r := range t.results {
		for _, f := range r.row.figures {
			switch f.what {
			case throughput(0).what:
				fast = append(fast, share{r.row.name, f.of(r.got), f.target})
			case p50(0).what, p99(0).what:
				prompt = append(prompt, r)
			}
		}
	}
	d.throughputs(fast)
	for _, r := range prompt {
		d.latencies(r)
	}
	d.text(12, d.height+4, "dim", "start", "%s", t.machine[:strings.IndexByte(t.machine+";", ';')])
	d.height += 18
	return d.finish("How fast the service is next to an echo on the same NATS server")
}

// share is the checks/s of a row to those of its echo.
type share struct {
	name   string
	got    bench.Spread
	target float64
}

// throughputs draws a bar for each share.
func (d *drawing) throughputs(rows []share) {
	d.text(12, d.height+24, "title", "start", "Checks per second, to those of the echo (more is better)")
	top := d.height + 40
	bottom := top + lineHeight*float64(len(rows))
	most := 1.0
	for _, r := range rows {
		most = max(most, r.got.Max, r.target)
	}
	step := niceStep(most)
	most = math.Ceil(most/step-1e-9) * step
	at := func(v float64) float64 { return plotLeft + v/most*(plotRight-plotLeft) }
	for i := 0; float64(i)*step < most+step/2; i++ {
		v := float64(i) * step
		d.line(at(v), top, at(v), bottom+4, "grid")
		d.text(at(v), bottom+18, "dim", "middle", "%g", math.Round(v*100)/100)
	}
	for i, r := range rows {
		y := top + lineHeight*float64(i) + (lineHeight-barHeight)/2
		middle := y + barHeight/2
		d.text(plotLeft-10, y+11, "", "end", "%s", r.name)
		d.bar(plotLeft, y, at(r.got.Median)-plotLeft, "service")
		if r.got.Max > r.got.Min {
			d.line(at(r.got.Min), middle, at(r.got.Max), middle, "reach")
		}
		target := at(r.target)
		d.line(target, y-3, target, y+barHeight+3, "target")
		d.text(plotRight+8, y+11, "", "start", "%.2f", r.got.Median)
	}
	d.line(at(1), top, at(1), bottom+4, "one")
	d.text(12, bottom+36, "dim", "start", "Checks/s divided by echoes/s. Bar and figure: median of the rounds; thin line: least to greatest; red mark: target.")
	d.height = bottom + 52
}

// niceStep returns a step of an axis that goes up to most: 3 to 8 of them.
func niceStep(most float64) float64 {
	for _, step := range []float64{0.1, 0.2, 0.25, 0.5, 1, 2, 5, 10} {
		if most/step <= 8 {
			return step
		}
	}
	return most / 5
}

// latencies draws the latencies of one row and its echo, on a logarithmic axis.
func (d *drawing) latencies(r resultOf) {
	percentiles := []struct {
		name string
		of   func(*bench.Latencies) float64
	}{
		{"p50", func(l *bench.Latencies) float64 { return l.P50.Median }},
		{"p90", func(l *bench.Latencies) float64 { return l.P90.Median }},
		{"p99", func(l *bench.Latencies) float64 { return l.P99.Median }},
		{"p99.9", func(l *bench.Latencies) float64 { return l.P999.Median }},
	}
	sides := []struct {
		name, class string
		latency     *bench.Latencies
	}{
		{"service", "service", &r.got.Service.Latency},
		{"echo", "echo", &r.got.Baseline.Latency},
	}
	d.text(12, d.height+24, "title", "start", "Latency: %s (less is better)", r.row.name)
	top := d.height + 40
	bottom := top + (2*barHeight+12)*float64(len(percentiles))
	low, high := math.Inf(1), 1.0
	for _, p := range percentiles {
		for _, s := range sides {
			v := max(p.of(s.latency), 1)
			low, high = min(low, v), max(high, v)
		}
	}
	first := math.Floor(math.Log10(low) - 0.1)
	last := math.Ceil(math.Log10(high))
	at := func(micros float64) float64 {
		return plotLeft + (math.Log10(max(micros, 1))-first)/(last-first)*(plotRight-plotLeft)
	}
	for power := first; power <= last; power++ {
		for _, m := range []float64{1, 2, 5} {
			v := m * math.Pow(10, power)
			if power == last && m > 1 {
				break
			}
			d.line(at(v), top, at(v), bottom, "grid")
			d.text(at(v), bottom+16, "dim", "middle", "%s", duration(v))
		}
	}
	y := top + 4
	for _, p := range percentiles {
		d.text(plotLeft-10, y+barHeight+4, "", "end", "%s", p.name)
		for _, s := range sides {
			v := p.of(s.latency)
			d.line(plotLeft, y+barHeight/2, at(v), y+barHeight/2, s.class)
			d.dot(at(v), y+barHeight/2, s.class)
			d.text(at(v)+10, y+11, "", "start", "%s", duration(v))
			y += barHeight
		}
		y += 12
	}
	x := 12.0
	for _, s := range sides {
		d.dot(x+5, top+11, s.class)
		d.text(x+16, top+15, "", "start", "%s", s.name)
		x += 90
	}
	d.text(12, bottom+34, "dim", "start", "From asking to the answer, the medians of the rounds, on a logarithmic axis.")
	d.height = bottom + 54
}

// duration writes microseconds for people.
func duration(micros float64) string {
	if micros < 1000 {
		return fmt.Sprintf("%.0f us", micros)
	}
	return fmt.Sprintf("%.3g ms", micros/1000)
}
