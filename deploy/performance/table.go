package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/quotaworker/ratelimit/cmd/ratelimit/bench"
)

// document is where the tables go, each between two lines of its own.
const (
	document    = "deploy/performance.md"
	begin       = "<!-- begin: go run ./deploy/performance -write -->\n"
	beginGrowth = "<!-- begin: go run ./deploy/performance -growth -write -->\n"
	end         = "<!-- end -->\n"
)

// conditions are what a run was measured under.
type conditions struct {
	machine string
	rounds  int
	round   time.Duration
}

// table is the result of a run.
type table struct {
	conditions
	lines   []string
	results []resultOf
}

// resultOf is what a row came to.
type resultOf struct {
	row row
	got *result
}

// add adds the figures of a row.
func (t *table) add(r row, got *result) {
	t.results = append(t.results, resultOf{r, got})
	name := r.name
	for _, f := range r.figures {
		value := f.of(got)
		spread := ""
		if value.Max > value.Min {
			spread = fmt.Sprintf("%.2f - %.2f", value.Min, value.Max)
		}
		sign, met := "at least", value.Median >= f.target
		if f.most {
			sign, met = "at most", value.Median <= f.target
		}
		verdict := "met"
		if !met {
			verdict = "**missed**"
		}
		t.lines = append(t.lines, fmt.Sprintf("| %s | %s | %.2f%s | %s | %s %v%s | %s | %s | %s |",
			name, f.what, value.Median, f.unit, spread, sign, f.target, f.unit, verdict,
			perSecond(&got.Service), perSecond(got.Baseline)))
		name = ""
	}
}

// perSecond writes the throughput of one side, in thousands, if there is one.
func perSecond(f *bench.Figures) string {
	if f == nil || f.PerSecond.Median == 0 {
		return ""
	}
	return fmt.Sprintf("%.1fk", f.PerSecond.Median/1000)
}

// markdown writes the table and what it was measured on.
func (t *table) markdown() string {
	return fmt.Sprintf("%s; medians of %d rounds of %s, in turns with the echo.\n\n"+
		"| what | figure | median | least - greatest | target | | checks/s | echoes/s |\n|---|---|---|---|---|---|---|---|\n%s\n",
		t.machine, t.rounds, t.round, strings.Join(t.lines, "\n"))
}

// writeInto puts a table into a file after the line begin, in the place of the
// one before.
func writeInto(file, begin, table string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	before, rest, ok1 := bytes.Cut(text, []byte(begin))
	_, after, ok2 := bytes.Cut(rest, []byte(end))
	if !ok1 || !ok2 {
		return errors.New(file + " does not have the two lines between which the table goes")
	}
	var out bytes.Buffer
	out.Write(before)
	out.WriteString(begin + "\n" + table + "\n" + end)
	out.Write(after)
	return os.WriteFile(file, out.Bytes(), 0o644)
}
