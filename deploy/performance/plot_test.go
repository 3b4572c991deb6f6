package main

import (
	"bytes"
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/quotaworker/ratelimit/cmd/ratelimit/bench"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares got with a file of testdata.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is not what came out; look at it, and if it is right: go test ./deploy/performance -update\n%s", file, got)
	}
}

// made returns a table with figures that nobody measured.
func made() *table {
	t := &table{conditions: conditions{machine: "2026-11-21: some machine, 2 cores; and so on"}}
	for i, r := range rows {
		n := float64(i + 1)
		near := func(v float64) bench.Spread { return bench.Spread{Median: v, Min: v * 0.9, Max: v * 1.1} }
		latency := func(v float64) bench.Latencies {
			return bench.Latencies{P50: near(v), P90: near(2 * v), P99: near(5 * v), P999: near(30 * v), Max: near(100 * v)}
		}
		t.add(r, &result{perOp: near(20 * n), Report: bench.Report{
			Service:   bench.Figures{PerSecond: near(20_000 * n), Latency: latency(130 * n / 4)},
			Baseline:  &bench.Figures{PerSecond: near(30_000 * n), Latency: latency(25 * n)},
			Ratios:    &bench.Ratios{PerSecond: near(0.3 * n), P50: near(1.3), P99: near(1.3)},
			RedisCPU:  1.25 * n,
			WorkerCPU: 0.5 * n,
		}})
	}
	return t
}

func TestPlot(t *testing.T) {
	got := made().plot()
	golden(t, "plot.svg", got)
	for d := xml.NewDecoder(bytes.NewReader(got)); ; {
		_, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("it is no XML: %s", err)
		}
	}
	if again := made().plot(); !bytes.Equal(got, again) {
		t.Error("the same figures make another picture")
	}
}

// TestPlotBounds draws figures that no run should have, but a bad hour might.
func TestPlotBounds(t *testing.T) {
	for _, v := range []float64{0, 0.001, 1, 1e9} {
		all := bench.Spread{Median: v, Min: v, Max: v}
		latency := bench.Latencies{P50: all, P90: all, P99: all, P999: all, Max: all}
		var table table
		for _, r := range rows {
			table.add(r, &result{perOp: all, Report: bench.Report{
				Service:  bench.Figures{PerSecond: all, Latency: latency},
				Baseline: &bench.Figures{PerSecond: all, Latency: latency},
				Ratios:   &bench.Ratios{PerSecond: all, P50: all, P99: all},
			}})
		}
		got := table.plot()
		if bytes.Contains(got, []byte("NaN")) || bytes.Contains(got, []byte("Inf")) || len(got) > 1<<20 {
			t.Errorf("figures of %v: %d bytes of picture, or ones that are no numbers", v, len(got))
		}
	}
}
