package redisstore_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/quotaworker/ratelimit/limiter"
	"github.com/quotaworker/ratelimit/limiter/limitertest"
	"github.com/quotaworker/ratelimit/limiter/redisstore"
	"github.com/quotaworker/ratelimit/limiter/redisstore/redistest"
)

// BenchmarkCluster decides batches of 256 different keys on one server and on a
// cluster of three, both behind proxies, and compares: the keys of a batch are
// in slots of their own, or as many tenants have them share one. It measures in
// rounds, so that what else the machine does hits all; the figures are medians.
//
//	go test ./limiter/redisstore -run '^$' -bench Cluster -benchtime 1x
func BenchmarkCluster(b *testing.B) {
	const (
		size   = 256
		rounds = 9
		length = 200 * time.Millisecond
	)
	single, cluster := redistest.Start(b), redistest.StartCluster(b, 3)
	alone := open(b, "redis://"+redistest.StartProxy(b, single.Addr).Addr)
	together := open(b, cluster.URL())
	rule := limitertest.MustCompile(b, limiter.Limit{Rate: 1_000_000, Interval: time.Second})
	cells := []struct {
		name    string
		store   *redisstore.Store
		servers []*redistest.Server
		tenants int
	}{
		{"single", redisstore.New(alone), []*redistest.Server{single}, size},
		{"slots=256", redisstore.New(together), cluster.Nodes, size},
		{"slots=32", redisstore.NewWithOptions(together, redisstore.Options{HashTagTokens: 2}), cluster.Nodes, 32},
		{"slots=8", redisstore.NewWithOptions(together, redisstore.Options{HashTagTokens: 2}), cluster.Nodes, 8},
	}
	took, busy := make([][]float64, len(cells)), make([][]float64, len(cells)) // us per check, by cell and round
	checks, results := make([]limiter.Check, size), make([]limiter.Result, size)
	for round := range rounds + 1 {
		for i, c := range cells {
			for j := range checks {
				checks[j] = one(fmt.Sprintf("tenant.%d.user.%08d", j%c.tenants, j), rule, 1)[0]
			}
			n, before, from := 0, cpu(b, c.servers), time.Now()
			for ; time.Since(from) < length; n++ {
				if err := c.store.Take(b.Context(), checks, results); err != nil {
					b.Fatal(err)
				}
			}
			elapsed, used := time.Since(from).Seconds(), cpu(b, c.servers)-before
			if round > 0 { // the first loads scripts and connects
				took[i] = append(took[i], elapsed*1e6/float64(n*size))
				busy[i] = append(busy[i], used*1e6/float64(n*size))
			}
		}
	}
	ratio := func(all [][]float64, i int) float64 {
		var ratios []float64
		for round := range rounds {
			ratios = append(ratios, all[i][round]/all[0][round])
		}
		return middle(ratios)
	}
	for i, c := range cells {
		b.Run(c.name, func(b *testing.B) {
			b.ReportMetric(0, "ns/op") // it was measured above
			b.ReportMetric(middle(took[i]), "us/check")
			b.ReportMetric(middle(busy[i]), "redis-us/check")
			b.ReportMetric(ratio(took, i), "x-single")
			b.ReportMetric(ratio(busy, i), "redis-x-single")
		})
	}
}

// cpu returns the seconds of processor time that servers have used.
func cpu(b *testing.B, servers []*redistest.Server) float64 {
	b.Helper()
	total := 0.0
	for _, s := range servers {
		rdb := open(b, "redis://"+s.Addr)
		text, err := rdb.Info(b.Context(), "cpu").Result()
		_ = rdb.Close()
		if err != nil {
			b.Fatal(err)
		}
		for _, line := range strings.Split(text, "\r\n") {
			name, value, _ := strings.Cut(line, ":")
			if seconds, err := strconv.ParseFloat(value, 64); err == nil && (name == "used_cpu_user" || name == "used_cpu_sys") {
				total += seconds
			}
		}
	}
	return total
}

func middle(values []float64) float64 { return median(values, func(f float64) float64 { return f }) }
