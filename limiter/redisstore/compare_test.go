package redisstore_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/quotaworker/ratelimit/limiter"
	"github.com/quotaworker/ratelimit/limiter/limitertest"
	"github.com/quotaworker/ratelimit/limiter/redisstore"
)

// BenchmarkStrategies compares the strategies: 64 callers for half a second
// each, in rounds, so that what else the machine does hits all of them. The
// figures are medians of the rounds; README.md has a table of them. Run it with
// `make compare-strategies`.
func BenchmarkStrategies(b *testing.B) {
	const rounds = 7
	server, stores := startStrategies(b)
	rdb := open(b, server.URL())
	year := limiter.MaxInterval
	loads := []load{
		{name: "keys=many", keys: 4096, limit: limiter.Limit{Rate: 1_000_000, Interval: year}},
		{name: "keys=one", keys: 1, limit: limiter.Limit{Rate: 100_000_000, Interval: year}},
		{name: "keys=one/limit=1000ps", keys: 1, limit: limiter.Limit{Rate: 1000, Interval: time.Second, Burst: 100}},
	}
	strategies := []redisstore.Strategy{redisstore.Script, redisstore.Transaction, redisstore.Hash}
	figures := make(map[string][]figure)
	for range rounds {
		for _, l := range loads {
			for _, s := range strategies {
				server.MustDo("FLUSHALL")
				name := fmt.Sprintf("%s/%s", l.name, s)
				figures[name] = append(figures[name], l.measure(b, stores[s], rdb))
			}
		}
	}
	for _, l := range loads {
		for _, s := range strategies {
			b.Run(fmt.Sprintf("%s/%s", l.name, s), func(b *testing.B) {
				all := figures[fmt.Sprintf("%s/%s", l.name, s)]
				b.ReportMetric(0, "ns/op") // it was measured above
				b.ReportMetric(median(all, func(f figure) float64 { return f.perSecond }), "checks/s")
				b.ReportMetric(median(all, func(f figure) float64 { return f.p99us }), "p99-us")
				b.ReportMetric(median(all, func(f figure) float64 { return f.sent }), "sent/check")
				b.ReportMetric(median(all, func(f figure) float64 { return f.run }), "run/check")
				b.ReportMetric(median(all, func(f figure) float64 { return f.over }), "over-%")
				b.ReportMetric(median(all, func(f figure) float64 { return f.failed }), "failed-%")
			})
		}
	}
}

// load is what callers ask for.
type load struct {
	name  string
	keys  int
	limit limiter.Limit
}

// figure is what came of it.
type figure struct {
	perSecond float64 // checks answered
	p99us     float64
	sent, run float64 // commands per check that callers sent, and that Redis executed
	over      float64 // percent of what the buckets had that was admitted beyond it
	failed    float64 // percent of checks
}

// measure lets 64 callers ask for half a second, each with a check at a time.
func (l load) measure(b *testing.B, store limiter.Store, rdb redis.UniversalClient) figure {
	const callers, length = 64, 500 * time.Millisecond
	rule := limitertest.MustCompile(b, l.limit)
	if err := rdb.ConfigResetStat(b.Context()).Err(); err != nil {
		b.Fatal(err)
	}
	type outcome struct {
		took            []float64 // us
		granted, failed int
	}
	outcomes := make([]outcome, callers)
	var wg sync.WaitGroup
	from := time.Now()
	for i := range outcomes {
		wg.Go(func() {
			o, results := &outcomes[i], make([]limiter.Result, 1)
			for n := i; time.Since(from) < length; n += callers {
				check := one(fmt.Sprint("user.", n%l.keys), rule, 1)
				begin := time.Now()
				err := store.Take(b.Context(), check, results)
				o.took = append(o.took, float64(time.Since(begin).Nanoseconds())/1000)
				switch {
				case err != nil:
					o.failed++
				case results[0].Allowed:
					o.granted++
				}
			}
		})
	}
	wg.Wait()
	passed := time.Since(from)
	var all outcome
	for _, o := range outcomes {
		all.took, all.granted, all.failed = append(all.took, o.took...), all.granted+o.granted, all.failed+o.failed
	}
	slices.Sort(all.took)
	checks := float64(len(all.took))
	f := figure{perSecond: (checks - float64(all.failed)) / passed.Seconds(), p99us: all.took[len(all.took)*99/100], failed: 100 * float64(all.failed) / checks}
	f.sent, f.run = commands(b, rdb)
	f.sent, f.run = f.sent/checks, f.run/checks
	least := float64(l.keys) * (float64(rule.Limit().Burst) + passed.Seconds()*float64(l.limit.Rate)/l.limit.Interval.Seconds())
	f.over = max(0, 100*(float64(all.granted)/least-1))
	return f
}

// commands counts since CONFIG RESETSTAT: what was sent, and what was executed,
// to which the commands inside of scripts belong.
func commands(b *testing.B, rdb redis.UniversalClient) (sent, run float64) {
	b.Helper()
	text, err := rdb.Info(b.Context(), "commandstats").Result()
	if err != nil {
		b.Fatal(err)
	}
	scripts := 0.0
	for _, line := range strings.Split(text, "\r\n") {
		name, stats, ok := strings.Cut(strings.TrimPrefix(line, "cmdstat_"), ":calls=")
		var calls float64
		if _, err := fmt.Sscanf(stats, "%g,", &calls); !ok || err != nil {
			continue
		}
		switch name {
		case "config|resetstat", "info", "hello", "client|setinfo":
			continue // of the connection, and of this benchmark
		case "evalsha", "eval":
			scripts += calls
		}
		run += calls
	}
	if scripts > 0 {
		return scripts, run
	}
	return run, run
}

func median[T any](all []T, of func(T) float64) float64 {
	var values []float64
	for _, f := range all {
		values = append(values, of(f))
	}
	slices.Sort(values)
	return values[len(values)/2]
}
