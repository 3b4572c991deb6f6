package memstore_test

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"slices"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/quotaworker/ratelimit/limiter"
	"github.com/quotaworker/ratelimit/limiter/limitertest"
	"github.com/quotaworker/ratelimit/limiter/memstore"
)

// keyspace makes checks of the keys tenant.acme.user.00000000 and so on, 25
// bytes long, as many as one call takes. It writes each key anew: as in a
// message that has just been read, it is in the cache of the processor, and
// what is measured is the store and not a table of keys.
type keyspace struct {
	space   []byte
	checks  []limiter.Check
	results []limiter.Result
}

const keyPrefix = "tenant.acme.user."

func newKeyspace(rule *limiter.Rule, batch int) *keyspace {
	k := &keyspace{checks: make([]limiter.Check, batch), results: make([]limiter.Result, batch)}
	for range batch {
		k.space = append(k.space, keyPrefix+"00000000"...)
	}
	demands := make([]limiter.Demand, batch)
	for i := range k.checks {
		key := k.space[i*len(k.space)/batch:][:len(keyPrefix)+8]
		demands[i] = limiter.Demand{Key: unsafe.String(&key[0], len(key)), Rule: rule, Cost: 1}
		k.checks[i].Demands = demands[i : i+1]
		k.results[i].Levels = make([]limiter.Level, 0, 1)
	}
	return k
}

// set makes the i-th check one of that key.
func (k *keyspace) set(i int, key uint32) {
	digits := k.space[(i+1)*len(keyPrefix)+i*8:][:8]
	for j := 7; j >= 0; j-- {
		digits[j] = '0' + byte(key%10)
		key /= 10
	}
}

// fill stores the buckets of the first n keys and returns how long the slowest
// call took, in processor time.
func (k *keyspace) fill(tb testing.TB, store *memstore.Store, n int) (slowest time.Duration) {
	for key := 0; key < n; key += len(k.checks) {
		for i := range k.checks {
			k.set(i, uint32(min(key+i, n-1)))
		}
		start := processCPU()
		k.take(tb, store)
		slowest = max(slowest, processCPU()-start)
	}
	return slowest
}

func (k *keyspace) take(tb testing.TB, store *memstore.Store) {
	if err := store.Take(tb.Context(), k.checks, k.results); err != nil {
		tb.Fatal(err)
	}
}

// lasting is a limit whose buckets stay while a benchmark runs.
func lasting(tb testing.TB) *limiter.Rule {
	return limitertest.MustCompile(tb, limiter.Limit{Rate: 1000, Interval: 24 * time.Hour})
}

// BenchmarkTake decides checks of stored buckets, any of them with the same
// probability. The time is that of one check, not of a call, and includes the
// making of a key, which /none measures alone.
func BenchmarkTake(b *testing.B) {
	rule := lasting(b)
	for _, batch := range []int{1, 64, 256} {
		b.Run(fmt.Sprintf("none/batch=%d", batch), func(b *testing.B) {
			rng, k := rand.New(rand.NewPCG(1, 2)), newKeyspace(rule, batch)
			for n := 0; n < b.N; n += batch {
				for i := range batch {
					k.set(i, rng.Uint32N(1_000_000))
				}
			}
		})
	}
	for _, keys := range []int{1000, 1_000_000, 10_000_000} {
		var store *memstore.Store
		for _, batch := range []int{1, 64, 256} {
			b.Run(fmt.Sprintf("keys=%d/batch=%d", keys, batch), func(b *testing.B) {
				if store == nil { // only if it is not filtered out
					store = memstore.New(memstore.Options{Keys: 2 * keys})
					newKeyspace(rule, 256).fill(b, store, keys)
				}
				rng, k := rand.New(rand.NewPCG(1, 2)), newKeyspace(rule, batch)
				b.ReportAllocs()
				b.ResetTimer()
				cpu := processCPU()
				for n := 0; n < b.N; n += batch {
					for i := range batch {
						k.set(i, rng.Uint32N(uint32(keys)))
					}
					k.take(b, store)
				}
				b.ReportMetric(float64((processCPU()-cpu).Nanoseconds())/float64(b.N), "cpu-ns/op")
			})
			b.Run(fmt.Sprintf("keys=%d/batch=%d/parallel", keys, batch), func(b *testing.B) {
				if store == nil {
					store = memstore.New(memstore.Options{Keys: 2 * keys})
					newKeyspace(rule, 256).fill(b, store, keys)
				}
				b.ReportAllocs()
				b.ResetTimer()
				b.RunParallel(func(pb *testing.PB) {
					rng, k := rand.New(rand.NewPCG(rand.Uint64(), 2)), newKeyspace(rule, batch)
					for i := 0; pb.Next(); {
						k.set(i, rng.Uint32N(uint32(keys)))
						if i++; i == batch {
							k.take(b, store)
							i = 0
						}
					}
				})
			})
		}
	}
}

// BenchmarkHotKey asks for one bucket from every core, which is the most that
// callers can be in each other's way.
func BenchmarkHotKey(b *testing.B) {
	store, rule := memstore.New(memstore.Options{}), lasting(b)
	b.RunParallel(func(pb *testing.PB) {
		k := newKeyspace(rule, 1)
		for pb.Next() {
			k.take(b, store)
		}
	})
}

// BenchmarkFlood puts a new key into a full store every time, which is the
// most work a check can make.
func BenchmarkFlood(b *testing.B) {
	const room = 1_000_000
	store := memstore.New(memstore.Options{Keys: room})
	rule := lasting(b)
	newKeyspace(rule, 256).fill(b, store, room+room/10)
	k, key := newKeyspace(rule, 1), uint32(room+room/10)
	b.ReportAllocs()
	for b.Loop() {
		key++
		k.set(0, key)
		k.take(b, store)
	}
}

// BenchmarkFill stores that many buckets in an empty store and reports, per
// bucket, how long that took and the memory it has then, key included, as the
// collector sees it; and the longest that a call of 64 checks took meanwhile.
// Then it collects garbage a few times, asking for a check every millisecond
// or so, and reports what a collection costs and how long the world stood
// still for it.
func BenchmarkFill(b *testing.B) {
	for _, keys := range []int{1_000_000, 2_000_000, 5_000_000, 10_000_000} {
		b.Run(fmt.Sprintf("keys=%d", keys), func(b *testing.B) {
			for b.Loop() {
				before := heap()
				store := memstore.New(memstore.Options{Keys: 2 * keys})
				start := time.Now()
				slowest := newKeyspace(lasting(b), 64).fill(b, store, keys)
				b.ReportMetric(float64(time.Since(start).Nanoseconds())/float64(keys), "ns/key")
				b.ReportMetric(float64(slowest.Microseconds()), "slowest-us")
				b.ReportMetric(float64(heap()-before)/float64(keys), "bytes/key")
				if got := store.Stats(); got.Keys != keys {
					b.Fatalf("%+v, want %d keys", got, keys)
				}

				const collections = 10
				cpu := collectorCPU()
				var stats debug.GCStats
				debug.ReadGCStats(&stats)
				first := stats.NumGC
				for range collections {
					runtime.GC()
				}
				debug.ReadGCStats(&stats)
				pauses := stats.Pause[:stats.NumGC-first]
				b.ReportMetric(float64(slices.Max(pauses).Microseconds()), "gc-pause-us")
				b.ReportMetric((collectorCPU()-cpu)/collections*1e6, "gc-cpu-us")
				runtime.KeepAlive(store)
			}
		})
	}
}

// processCPU returns the processor time that this process has taken. On a
// machine with other work to do it says more than the clock on the wall.
func processCPU() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u) // cannot fail with these
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// collectorCPU returns the seconds of processor time that the garbage
// collector has taken.
func collectorCPU() float64 {
	sample := []metrics.Sample{{Name: "/cpu/classes/gc/total:cpu-seconds"}}
	metrics.Read(sample)
	return sample[0].Value.Float64()
}
