package main

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/quotaworker/ratelimit/cmd/ratelimit/bench"
)

// row is one run, which has one figure or several.
type row struct {
	name    string
	figures []figure

	// bench are the arguments of ratelimit bench.
	bench []string

	// benchmark is instead a Go benchmark of package client, as -bench has it.
	benchmark string
}

// result is what a run came to.
type result struct {
	bench.Report              // of ratelimit bench
	perOp        bench.Spread // of a Go benchmark, in ns
}

// figure is what a run is to come to.
type figure struct {
	what   string
	target float64
	most   bool // the target is the most it may be, and not the least
	unit   string
	of     func(*result) bench.Spread
}

func throughput(target float64) figure {
	return figure{what: "checks/s to the echo's", target: target, of: func(r *result) bench.Spread { return r.Ratios.PerSecond }}
}

func p50(target float64) figure {
	return figure{what: "p50 to the echo's", target: target, most: true, of: func(r *result) bench.Spread { return r.Ratios.P50 }}
}

func p99(target float64) figure {
	return figure{what: "p99 to the echo's", target: target, most: true, of: func(r *result) bench.Spread { return r.Ratios.P99 }}
}

func redisCPU(target float64) figure {
	return figure{what: "Redis CPU a check", target: target, most: true, unit: " us", of: func(r *result) bench.Spread { return bench.Spread{Median: r.RedisCPU} }}
}

func workerCPU(target float64) figure {
	return figure{what: "worker CPU a check", target: target, most: true, unit: " us", of: func(r *result) bench.Spread { return bench.Spread{Median: r.WorkerCPU} }}
}

func perOp(target float64) figure {
	return figure{what: "time a check", target: target, most: true, unit: " ns", of: func(r *result) bench.Spread { return r.perOp }}
}

// rows are all that is measured. The names are what -run matches.
var rows = []row{
	service("request client, uniform keys, c=128", "--client request", throughput(0.85)),
	service("async client, uniform keys, c=128", "--client async", throughput(0.60), redisCPU(2.5), workerCPU(2.0)),
	service("async client, Zipf keys, c=128", "--client async --distribution zipf", throughput(0.70), redisCPU(1.7)),
	service("async client, one hot key, c=128", "--client async --distribution hot --prefix hot", throughput(0.90)),
	service("batching client, uniform keys, c=128", "--client batch", throughput(1.5)),
	service("batching client, uniform keys, c=1024", "--client batch -c 1024", throughput(2.0)),
	service("batching client, uniform keys, c=1", "--client batch -c 1", p50(1.5)),
	service("batching client, uniform keys, open loop at 10k/s", "--client batch --rate 10000", p99(1.2)),
	{name: "lease, one goroutine", benchmark: "^BenchmarkLease$/^one$", figures: []figure{perOp(50)}},
	{name: "lease, contended", benchmark: "^BenchmarkLease$/^contended$", figures: []figure{perOp(200)}},
}

func service(name, args string, figures ...figure) row {
	return row{name: name, bench: strings.Fields(args), figures: figures}
}

// measure carries the run out.
func (r *row) measure(ctx context.Context, on *rig, rounds int, length time.Duration) (*result, error) {
	if r.benchmark != "" {
		return r.measureBenchmark(ctx, rounds)
	}
	if err := on.flush(); err != nil {
		return nil, err
	}
	report, err := on.bench(ctx, rounds, length, append([]string{"--baseline"}, r.bench...)...)
	if err != nil {
		return nil, err
	}
	return &result{Report: *report}, nil
}

// bench runs ratelimit bench. A run in which a check failed, or was not
// answered from Redis, is an error.
func (r *rig) bench(ctx context.Context, rounds int, length time.Duration, args ...string) (*bench.Report, error) {
	args = append([]string{
		"bench", "--json", "--server", r.nats, "--redis", "redis://" + r.redis,
		"--rounds", strconv.Itoa(rounds), "--duration", (time.Duration(rounds) * length).String(),
	}, args...)
	for _, admin := range r.admins {
		args = append(args, "--metrics", "http://"+admin+"/metrics")
	}
	out, err := output(ctx, filepath.Join(r.programs, "ratelimit"), args...)
	if err != nil {
		return nil, fmt.Errorf("%w\n%s", err, out)
	}
	var report bench.Report
	if err := json.Unmarshal(out, &report); err != nil {
		return nil, err
	}
	if report.Interrupted {
		return nil, context.Canceled
	}
	for _, side := range []*bench.Figures{&report.Service, report.Baseline} {
		if side != nil && side.Counts.Failed > 0 {
			return nil, fmt.Errorf("%d checks or echoes failed: %v", side.Counts.Failed, side.Errors)
		}
	}
	if c := report.Service.Counts; c.Degraded > c.Answered()/1000 {
		return nil, fmt.Errorf("%d of %d checks were answered from memory, so this was not the service with Redis; let it have the machine to itself", c.Degraded, c.Answered())
	}
	return &report, nil
}

// nsPerOp finds the time in a line of a Go benchmark.
var nsPerOp = regexp.MustCompile(`(?m)^Benchmark.*\s([0-9.]+) ns/op`)

func (r *row) measureBenchmark(ctx context.Context, rounds int) (*result, error) {
	out, err := output(ctx, "go", "test", "-run", "^$", "-bench", r.benchmark, "-count", strconv.Itoa(rounds), "./client")
	if err != nil {
		return nil, fmt.Errorf("%w\n%s", err, out)
	}
	var values []float64
	for _, m := range nsPerOp.FindAllSubmatch(out, -1) {
		ns, err := strconv.ParseFloat(string(m[1]), 64)
		if err != nil {
			return nil, err
		}
		values = append(values, ns)
	}
	if len(values) != rounds {
		return nil, fmt.Errorf("%d of %d runs say how long they took:\n%s", len(values), rounds, out)
	}
	return &result{perOp: bench.SpreadOf(values)}, nil
}
