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
	results []result
	lines   []string
}

// result is what a row came to.
type result struct {
	row    row
	report *bench.Report
}

// add adds the figures of a row.
func (t *table) add(r row, report *bench.Report) {
	t.results = append(t.results, result{r, report})
	name := r.name
	for _, f := range r.figures {
		got := f.of(report)
		spread := ""
		if got.Max > got.Min {
			spread = fmt.Sprintf("%.2f - %.2f", got.Min, got.Max)
		}
		sign, met := "at least", got.Median >= f.target
		if f.most {
			sign, met = "at most", got.Median <= f.target
		}
		verdict := "met"
		if !met {
			verdict = "**missed**"
		}
		t.lines = append(t.lines, fmt.Sprintf("| %s | %s | %.2f%s | %s | %s %.2g%s | %s | %s | %s |",
			name, f.what, got.Median, f.unit, spread, sign, f.target, f.unit, verdict,
			perSecond(report.Service.PerSecond), perSecond(report.Baseline.PerSecond)))
		name = ""
	}
}

func perSecond(s bench.Spread) string { return fmt.Sprintf("%.0fk", s.Median/1000) }

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
