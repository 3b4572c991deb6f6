package bench

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// WriteText writes the report for people: what was run, a table, how the
// latencies are spread, and what was granted.
func (r *Report) WriteText(w io.Writer) error {
	fmt.Fprintln(w, r.Setup.String())
	fmt.Fprintln(w)
	r.writeTable(w)
	fmt.Fprintln(w)
	fmt.Fprintln(w, "latency")
	if err := Plot(w, r.Service.All); err != nil {
		return err
	}
	fmt.Fprintln(w)
	_, err := io.WriteString(w, strings.Join(r.notes(), "\n")+"\n")
	return err
}

// String says what was run in a sentence.
func (s *Setup) String() string {
	loop := "closed loop"
	if s.Rate > 0 {
		loop = "open loop of " + strconv.FormatFloat(s.Rate, 'f', -1, 64) + "/s"
	}
	keys := fmt.Sprintf("%d keys, %s", s.Keys, s.Distribution)
	switch {
	case s.Distribution == Zipf:
		keys += " " + strconv.FormatFloat(s.Skew, 'f', -1, 64)
	case s.Distribution == Hot:
		keys = "one hot key"
	}
	text := fmt.Sprintf("client %s, %s, %d in flight, %s, %s", s.Client, loop, s.Concurrency, plural(s.Connections, "connection"), keys)
	if s.Limit != "" {
		text += ", limit " + s.Limit
	}
	if s.Cost != 1 {
		text += fmt.Sprintf(", cost %d", s.Cost)
	}
	return fmt.Sprintf("%s; %s of %s", text, plural(s.Rounds, "round"), time.Duration(s.RoundSeconds*float64(time.Second)))
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// writeTable writes medians, with the least and the greatest behind them if
// there were several rounds.
func (r *Report) writeTable(w io.Writer) {
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', tabwriter.AlignRight)
	line := func(name string, write func(float64) string, of func(*Figures) Spread, ratio *Spread) {
		cell := func(s Spread, write func(float64) string) string {
			if r.Setup.Rounds == 1 {
				return write(s.Median) + "\t"
			}
			return fmt.Sprintf("%s\t(%s - %s)\t", write(s.Median), write(s.Min), write(s.Max))
		}
		text := name + "\t" + cell(of(&r.Service), write)
		if r.Baseline != nil {
			text += cell(of(r.Baseline), write)
			if ratio != nil {
				text += cell(*ratio, func(f float64) string { return fmt.Sprintf("%.2f", f) })
			}
		}
		fmt.Fprintln(t, text)
	}
	if r.Baseline != nil {
		gap := "\t"
		if r.Setup.Rounds > 1 {
			gap = "\t\t"
		}
		fmt.Fprintln(t, "\tservice"+gap+"echo"+gap+"ratio"+gap)
	}
	var perSecond, p50, p99 *Spread
	if r.Ratios != nil {
		perSecond, p50, p99 = &r.Ratios.PerSecond, &r.Ratios.P50, &r.Ratios.P99
	}
	line("checks/s", func(f float64) string { return fmt.Sprintf("%.0f", f) }, func(f *Figures) Spread { return f.PerSecond }, perSecond)
	us := func(f float64) string { return Short(time.Duration(f * float64(time.Microsecond))) }
	line("p50", us, func(f *Figures) Spread { return f.Latency.P50 }, p50)
	line("p90", us, func(f *Figures) Spread { return f.Latency.P90 }, nil)
	line("p99", us, func(f *Figures) Spread { return f.Latency.P99 }, p99)
	line("p99.9", us, func(f *Figures) Spread { return f.Latency.P999 }, nil)
	line("max", us, func(f *Figures) Spread { return f.Latency.Max }, nil)
	// What it writes to is the caller's to complain about.
	_ = t.Flush()
}

// notes are the sentences below the table.
func (r *Report) notes() []string {
	c := &r.Service.Counts
	notes := []string{fmt.Sprintf("%d allowed, %d denied, %d failed", c.Allowed, c.Denied, c.Failed)}
	note := func(format string, args ...any) { notes = append(notes, fmt.Sprintf(format, args...)) }
	for _, side := range []struct {
		name string
		f    *Figures
	}{{"failed", &r.Service}, {"echoes failed", r.Baseline}} {
		if side.f == nil {
			continue
		}
		for _, code := range slices.Sorted(maps.Keys(side.f.Errors)) {
			note("%s: %s %d", side.name, code, side.f.Errors[code])
		}
	}
	if c.Unsent > 0 {
		note("unsent: %d checks were due and nobody was free to send them; they count with the time they waited. Raise --concurrency, or lower --rate", c.Unsent)
	}
	if l := r.PacerLate; l != nil {
		note("the pacer itself was late by p50 %.0fus, p99 %.0fus, max %.0fus, which the latencies contain", l.P50, l.P99, l.Max)
	}
	if r.RedisCPU > 0 {
		note("Redis took %.2fus of processor time per check", r.RedisCPU)
	}
	if r.WorkerCPU > 0 {
		note("the worker took %.2fus of processor time per check", r.WorkerCPU)
	}
	notes = append(notes, r.Admission.notes()...)
	if r.Interrupted {
		note("interrupted: these are the figures until then")
	}
	return notes
}

// notes are the sentences about what was granted.
func (v *Verdict) notes() []string {
	var notes []string
	note := func(format string, args ...any) { notes = append(notes, fmt.Sprintf(format, args...)) }
	switch {
	case v.OverKeys > 0:
		note("OVER-ADMITTED: %s granted %d tokens more than the limits allow", plural(v.OverKeys, "key"), v.OverTokens)
		for _, e := range v.Over {
			note("  %s: %d tokens in %s, and the limit %s allows %d", e.Name, e.Granted, e.Within.Round(time.Millisecond), e.Limit.Name, e.Most)
		}
	case v.DegradedKeys > 0:
		note("within the limits as far as the shared buckets go, but not with what came from memory")
	case v.Judged > 0:
		note("within the limits: no key of %d was granted more than burst + rate * time; the nearest came to %.1f%% of it", v.Judged, 100*v.Nearest)
	}
	if unknown := v.Keys - v.Judged; unknown > 0 {
		note("not judged: %d of %s, whose answers name no limit, or one that refills within a millisecond", unknown, plural(v.Keys, "key"))
	}
	if v.Degraded > 0 {
		note("degraded: %d tokens came from workers' memory, which brought %s over the limit; each worker has buckets of its own there", v.Degraded, plural(v.DegradedKeys, "key"))
	}
	return notes
}
