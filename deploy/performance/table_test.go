package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/quotaworker/ratelimit/cmd/ratelimit/bench"
)

// TestTableReplacesTheOneBefore writes two tables into one file.
func TestTableReplacesTheOneBefore(t *testing.T) {
	file := filepath.Join(t.TempDir(), "performance.md")
	if err := os.WriteFile(file, []byte("above\n"+begin+"old\n"+end+"below\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, ns := range []float64{70, 40} {
		var all table
		all.add(row{name: "lease", figures: []figure{perOp(50)}}, &result{perOp: bench.Spread{Median: ns, Min: ns - 1, Max: ns + 1}})
		if err := writeInto(file, begin, all.markdown()); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	got := string(text)
	if !strings.HasPrefix(got, "above\n"+begin) || !strings.HasSuffix(got, end+"below\n") || strings.Contains(got, "old") || strings.Contains(got, "missed") {
		t.Errorf("got\n%s", got)
	}
	if want := "| lease | time a check | 40.00 ns | 39.00 - 41.00 | at most 50 ns | met |  |  |\n"; !strings.Contains(got, want) {
		t.Errorf("%q is missing in\n%s", want, got)
	}
}

func TestTableNeedsItsPlace(t *testing.T) {
	file := filepath.Join(t.TempDir(), "performance.md")
	if err := os.WriteFile(file, []byte("nothing\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := writeInto(file, begin, ""); err == nil {
		t.Error("a file without the two lines: no error")
	}
	text, err := os.ReadFile("../performance.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{begin, beginGrowth} {
		if before, after, ok := strings.Cut(string(text), line); !ok || !strings.Contains(after, end) || strings.Contains(after, line) || strings.Count(before, end) != strings.Count(before, "<!-- begin") {
			t.Errorf("deploy/performance.md does not have the line %q and one for the end", line)
		}
	}
}

// TestTablesShareAPage writes the second table and leaves the first one alone.
func TestTablesShareAPage(t *testing.T) {
	file := filepath.Join(t.TempDir(), "page.md")
	page := "one\n" + begin + "old\n" + end + "two\n" + beginGrowth + "old\n" + end + "three\n"
	if err := os.WriteFile(file, []byte(page), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := writeInto(file, beginGrowth, "new"); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	want := "one\n" + begin + "old\n" + end + "two\n" + beginGrowth + "\nnew\n" + end + "three\n"
	if string(got) != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestVerdicts(t *testing.T) {
	ratio := func(f float64) *result {
		return &result{Report: bench.Report{Ratios: &bench.Ratios{PerSecond: bench.Spread{Median: f}, P50: bench.Spread{Median: f}}, Baseline: &bench.Figures{}}}
	}
	for _, c := range []struct {
		f      figure
		got    float64
		missed bool
	}{{throughput(0.85), 0.85, false}, {throughput(0.85), 0.84, true}, {p50(1.5), 1.5, false}, {p50(1.5), 1.51, true}} {
		var all table
		all.add(row{name: "row", figures: []figure{c.f}}, ratio(c.got))
		if missed := strings.Contains(all.lines[0], "missed"); missed != c.missed {
			t.Errorf("%v of %v: missed is %t", c.got, c.f.target, missed)
		}
	}
}

func TestTimeOfABenchmark(t *testing.T) {
	m := nsPerOp.FindAllStringSubmatch("cpu: AMD\nBenchmarkLease/one-2         \t16061918\t        74.22 ns/op\t       0 B/op\nPASS\n", -1)
	if len(m) != 1 || m[0][1] != "74.22" {
		t.Errorf("got %v", m)
	}
}
