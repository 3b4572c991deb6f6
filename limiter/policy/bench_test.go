package policy_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/quotaworker/ratelimit/limiter/policy"
)

// manyPolicies returns a document with n policies that differ in their third
// token, and a few with wildcards that match the same keys.
func manyPolicies(n int) []byte {
	var b strings.Builder
	b.WriteString("plans:\n  free: 10/s burst 20\npolicies:\n")
	for i := range n - 3 {
		fmt.Fprintf(&b, "  - match: tenant.t%05d.api.*\n    limits: %d/s burst 200\n", i, 1+i%100)
	}
	b.WriteString("  - match: tenant.*.api.>\n    plan: free\n  - match: tenant.*.>\n    plan: free\n  - match: user.*\n    plan: free\n")
	return []byte(b.String())
}

func BenchmarkLoad100k(b *testing.B) {
	text := manyPolicies(100_000)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if _, err := policy.Parse("p.yaml", text); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkMatch100k(b *testing.B) {
	set, err := policy.Parse("p.yaml", manyPolicies(100_000))
	if err != nil {
		b.Fatal(err)
	}
	// Keys all over the set, so that the tree is not in the cache.
	keys := make([]string, 1<<16)
	for i := range keys {
		switch n := i * 7919 % 100_000; i % 4 {
		case 0:
			keys[i] = fmt.Sprintf("tenant.x%05d.api.search", n) // a wildcard
		case 1:
			keys[i] = fmt.Sprintf("user.%d", n)
		default:
			keys[i] = fmt.Sprintf("tenant.t%05d.api.search", n)
		}
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		if m := set.Match(keys[i&(1<<16-1)]); m.Policy == nil {
			b.Fatal("no match")
		}
		i++
	}
}

// BenchmarkMatchMedian reports the median of single matches rather than their
// mean, clock included.
func BenchmarkMatchMedian100k(b *testing.B) {
	set, err := policy.Parse("p.yaml", manyPolicies(100_000))
	if err != nil {
		b.Fatal(err)
	}
	var histogram [1 << 16]int
	i, n := 0, 0
	for b.Loop() {
		key := fmt.Sprintf("tenant.t%05d.api.search", i*7919%99_000)
		start := time.Now()
		m := set.Match(key)
		took := time.Since(start)
		if m.Policy == nil {
			b.Fatal("no match")
		}
		histogram[min(int(took), len(histogram)-1)]++
		i, n = i+1, n+1
	}
	for ns, sum := 0, 0; ns < len(histogram); ns++ {
		if sum += histogram[ns]; sum >= n/2 {
			b.ReportMetric(float64(ns), "median-ns")
			break
		}
	}
}
