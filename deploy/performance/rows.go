package main

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strconv"
	"time"

	"github.com/quotaworker/ratelimit/cmd/ratelimit/bench"
)

// row is one run, which has one figure or several.
type row struct {
	name    string
	args    []string // of ratelimit bench
	figures []figure
}

// figure is what a run is to come to.
type figure struct {
	what   string
	target float64
	most   bool // the target is the most it may be, and not the least
	unit   string
	of     func(*bench.Report) bench.Spread
}

func throughput(target float64) figure {
	return figure{what: "checks/s to the echo's", target: target, of: func(r *bench.Report) bench.Spread { return r.Ratios.PerSecond }}
}

func p50(target float64) figure {
	return figure{what: "p50 to the echo's", target: target, most: true, of: func(r *bench.Report) bench.Spread { return r.Ratios.P50 }}
}

func p99(target float64) figure {
	return figure{what: "p99 to the echo's", target: target, most: true, of: func(r *bench.Report) bench.Spread { return r.Ratios.P99 }}
}

func redisCPU(target float64) figure {
	return figure{what: "Redis CPU a check", target: target, most: true, unit: " us", of: func(r *bench.Report) bench.Spread { return bench.Spread{Median: r.RedisCPU} }}
}

func workerCPU(target float64) figure {
	return figure{what: "worker CPU a check", target: target, most: true, unit: " us", of: func(r *bench.Report) bench.Spread { return bench.Spread{Median: r.WorkerCPU} }}
}

// rows are all that is measured. The names are what -run matches.
var rows = []row{
	{"request client, uniform keys, c=128", []string{"--client", "request"}, []figure{throughput(0.85)}},
	{"async client, uniform keys, c=128", []string{"--client", "async"}, []figure{throughput(0.60), redisCPU(2.5), workerCPU(2.0)}},
	{"async client, Zipf keys, c=128", []string{"--client", "async", "--distribution", "zipf"}, []figure{throughput(0.70), redisCPU(1.7)}},
	{"async client, one hot key, c=128", []string{"--client", "async", "--distribution", "hot", "--prefix", "hot"}, []figure{throughput(0.90)}},
	{"batching client, uniform keys, c=128", []string{"--client", "batch"}, []figure{throughput(1.5)}},
	{"batching client, uniform keys, c=1024", []string{"--client", "batch", "-c", "1024"}, []figure{throughput(2.0)}},
	{"batching client, uniform keys, c=1", []string{"--client", "batch", "-c", "1"}, []figure{p50(1.5)}},
	{"batching client, uniform keys, 10k/s open loop", []string{"--client", "batch", "--rate", "10000"}, []figure{p99(1.2)}},
}

// measure carries the run out.
func (r *row) measure(ctx context.Context, on *rig, rounds int, length time.Duration) (*bench.Report, error) {
	if err := on.flush(); err != nil {
		return nil, err
	}
	return on.bench(ctx, rounds, length, append([]string{"--baseline"}, r.args...)...)
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
	if n := report.Service.Counts.Degraded; n > 0 {
		return nil, fmt.Errorf("%d checks were answered from memory, so this was not the service with Redis; let it have the machine to itself", n)
	}
	return &report, nil
}
