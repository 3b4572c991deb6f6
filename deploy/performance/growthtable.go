package main

import (
	"fmt"
	"slices"
	"strings"
)

// growthTable is the result of a run with -growth.
type growthTable struct {
	conditions
	lines []string
}

// add adds a series.
func (t *growthTable) add(s series, outcomes []outcome) {
	name := s.name
	for _, o := range outcomes {
		if len(o.samples) == 0 {
			t.lines = append(t.lines, fmt.Sprintf("| %s | %s | - | | | | | | | | %s |", name, o.point.name, o.note))
			continue
		}
		of := func(figure func(sample) float64) float64 {
			var values []float64
			for _, s := range o.samples {
				values = append(values, figure(s))
			}
			return middle(values)
		}
		ratios := ratiosTo(outcomes[0].samples, o.samples)
		spread := ""
		if least, greatest := slices.Min(ratios), slices.Max(ratios); greatest > least {
			spread = fmt.Sprintf("%.2f - %.2f", least, greatest)
		}
		micros := func(figure func(sample) float64) string {
			if v := of(figure); v > 0 {
				return fmt.Sprintf("%.2f", v)
			}
			return "-"
		}
		t.lines = append(t.lines, fmt.Sprintf("| %s | %s | %.2f | %s | %.0fk | %.2f | %.2f | %s | %s | %s | %s |",
			name, o.point.name, middle(ratios), spread,
			of(func(s sample) float64 { return s.perSecond / 1000 }),
			of(func(s sample) float64 { return s.p50 }), of(func(s sample) float64 { return s.p99 }),
			micros(func(s sample) float64 { return s.redis }),
			micros(func(s sample) float64 { return s.worker }),
			micros(func(s sample) float64 { return s.nats }), o.note))
		name = ""
	}
}

// ratiosTo divides the checks per second of each round by those of the first
// point in the same round.
func ratiosTo(first, samples []sample) []float64 {
	var ratios []float64
	for i := range samples {
		ratios = append(ratios, samples[i].perSecond/first[i].perSecond)
	}
	return ratios
}

// middle returns the median.
func middle(values []float64) float64 {
	slices.Sort(values)
	n := len(values)
	return (values[(n-1)/2] + values[n/2]) / 2
}

// markdown writes the table and what it was measured on.
func (t *growthTable) markdown() string {
	return fmt.Sprintf("%s; medians of %d rounds of %s, the points of a series in turns.\n\n"+
		"| what grows | | checks/s to the first's | least - greatest | checks/s | p50 ms | p99 ms | Redis us | worker us | NATS us | besides |\n"+
		"|---|---|---|---|---|---|---|---|---|---|---|\n%s\n",
		t.machine, t.rounds, t.round, strings.Join(t.lines, "\n"))
}
