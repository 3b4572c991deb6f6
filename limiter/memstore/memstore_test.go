package memstore_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/quotaworker/ratelimit/limiter"
	"github.com/quotaworker/ratelimit/limiter/limitertest"
	"github.com/quotaworker/ratelimit/limiter/memstore"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConformance(t *testing.T) {
	limitertest.Run(t, func(*testing.T) limitertest.TimedStore { return memstore.New(memstore.Options{}) })
}

// taker takes from one store at given times, without allocating.
type taker struct {
	tb      testing.TB
	store   *memstore.Store
	checks  [1]limiter.Check
	demands [1]limiter.Demand
	results [1]limiter.Result
}

func (k *taker) take(now time.Time, key string, rule *limiter.Rule, cost int64) *limiter.Result {
	k.demands[0] = limiter.Demand{Key: key, Rule: rule, Cost: cost}
	k.checks[0].Demands = k.demands[:]
	if err := k.store.TakeAt(context.Background(), now, k.checks[:], k.results[:]); err != nil {
		k.tb.Fatal(err)
	}
	return &k.results[0]
}

// TestFloodIsBounded: very many keys, each asked once and each still filling,
// never make the store larger than it was told to be.
func TestFloodIsBounded(t *testing.T) {
	const keys, room = 300_000, 10_000
	store := memstore.New(memstore.Options{Keys: room})
	k := &taker{tb: t, store: store}
	rule := limitertest.MustCompile(t, limiter.Limit{Rate: 1, Interval: time.Hour})
	for i := range keys {
		if !k.take(limitertest.Epoch, "flood."+strconv.Itoa(i), rule, 1).Allowed {
			t.Fatalf("the first check of key %d was denied", i)
		}
		if i%10_000 == 0 {
			if st := store.Stats(); st.Keys > room {
				t.Fatalf("after %d keys %d are stored, want at most %d", i+1, st.Keys, room)
			}
		}
	}
	st := store.Stats()
	if st.Keys > room || st.Keys < room*9/10 {
		t.Errorf("%d keys are stored, want about %d", st.Keys, room)
	}
	if got := uint64(st.Keys) + st.Evicted; got != keys {
		t.Errorf("%d stored and %d evicted are %d, want %d: none was ever full", st.Keys, st.Evicted, got, keys)
	}
}

// TestFullBucketsGoFirst: a store whose buckets refill as fast as new ones
// come evicts none that is still filling.
func TestFullBucketsGoFirst(t *testing.T) {
	store := memstore.New(memstore.Options{Keys: 64_000})
	k := &taker{tb: t, store: store}
	slow := limitertest.MustCompile(t, limiter.Limit{Rate: 1, Interval: 24 * time.Hour})
	fast := limitertest.MustCompile(t, limiter.Limit{Rate: 1, Interval: 10 * time.Millisecond})
	now := limitertest.Epoch
	for i := range 1000 {
		k.take(now, fmt.Sprint("slow.", i), slow, 1)
	}
	for i := range 300_000 { // 10,000 of them are filling at any moment
		now = now.Add(time.Microsecond)
		k.take(now, "fast."+strconv.Itoa(i), fast, 1)
	}
	for i := range 1000 {
		if k.take(now, fmt.Sprint("slow.", i), slow, 1).Allowed {
			t.Fatalf("slow key %d was forgotten", i)
		}
	}
	if st := store.Stats(); st.Evicted != 0 || st.Keys > 40_000 {
		t.Errorf("%+v, want none evicted and the full ones dropped on the way", st)
	}
}

// TestVictimsStayLimited while a flood of fresh keys passes through a store
// that is far too small for it: what is dropped is what has least to lose.
func TestVictimsStayLimited(t *testing.T) {
	const victims, room, flood = 2000, 20_000, 400_000
	store := memstore.New(memstore.Options{Keys: room})
	k := &taker{tb: t, store: store}
	rule := limitertest.MustCompile(t, limiter.Limit{Rate: 100, Interval: time.Minute})
	now := limitertest.Epoch
	for i := range victims {
		k.take(now, fmt.Sprint("victim.", i), rule, 100)
	}
	for i := range flood { // over 400 ms, in which no bucket gets full again
		now = now.Add(time.Microsecond)
		k.take(now, "fresh."+strconv.Itoa(i), rule, 1)
	}
	limited := 0
	for i := range victims {
		if !k.take(now, fmt.Sprint("victim.", i), rule, 1).Allowed {
			limited++
		}
	}
	if limited < victims*999/1000 {
		t.Errorf("%d of %d victims are still limited", limited, victims)
	}
	t.Logf("%d of %d victims are still limited; %+v", limited, victims, store.Stats())
}

func TestStats(t *testing.T) {
	store := memstore.New(memstore.Options{})
	k := &taker{tb: t, store: store}
	rule := limitertest.MustCompile(t, limiter.Limit{Rate: 10, Interval: time.Second})
	other := limitertest.MustCompile(t, limiter.Limit{Name: "other", Rate: 10, Interval: time.Second})
	now := limitertest.Epoch
	for _, step := range []struct {
		name string
		do   func()
		want int
	}{
		{"nothing", func() {}, 0},
		{"a look stores nothing", func() { k.take(now, "a", rule, 0) }, 0},
		{"a take", func() { k.take(now, "a", rule, 1) }, 1},
		{"another of the same", func() { k.take(now, "a", rule, 1) }, 1},
		{"another limit", func() { k.take(now, "a", other, 10) }, 2},
		{"a denial stores nothing new", func() { k.take(now, "a", other, 10) }, 2},
		{"another key", func() { k.take(now, "b", rule, 1) }, 3},
		{"a refund that fills", func() {
			k.checks[0].Op = limiter.Refund
			k.take(now, "b", rule, 5)
			k.checks[0].Op = limiter.Take
		}, 2},
	} {
		step.do()
		if got := store.Stats(); got.Keys != step.want || got.Evicted != 0 {
			t.Errorf("%s: %+v, want %d keys", step.name, got, step.want)
		}
	}
}

func TestSmallestStore(t *testing.T) {
	for _, keys := range []int{1, 63, 64} {
		store := memstore.New(memstore.Options{Keys: keys})
		k := &taker{tb: t, store: store}
		rule := limitertest.MustCompile(t, limiter.Limit{Rate: 1, Interval: time.Hour})
		for i := range 1000 {
			k.take(limitertest.Epoch, fmt.Sprint(i), rule, 1)
		}
		if st := store.Stats(); st.Keys > 64 || st.Keys < 1 {
			t.Errorf("Keys %d: %+v, want at most one per shard", keys, st)
		}
	}
}

// TestStoreKeepsNoMessageAlive: a key may be a piece of a message.
func TestStoreKeepsNoMessageAlive(t *testing.T) {
	store := memstore.New(memstore.Options{})
	k := &taker{tb: t, store: store}
	rule := limitertest.MustCompile(t, limiter.Limit{Rate: 10, Interval: time.Hour})
	const messages, size = 100, 1 << 20
	before := heap()
	for i := range messages {
		message := fmt.Sprintf("key.%d", i) + strings.Repeat(" ", size)
		k.take(limitertest.Epoch, message[:len(message)-size], rule, 1)
		k.take(limitertest.Epoch, strings.Clone(message)[:len(message)-size], rule, 1) // again
	}
	k.take(limitertest.Epoch, "last", rule, 1)
	if grown := heap() - before; grown > messages*size/10 {
		t.Errorf("the heap grew by %d bytes for %d keys", grown, messages)
	}
	runtime.KeepAlive(store)
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestCrossingChecks asks for the same buckets in every order from many
// goroutines: none waits for ever, and every grant charged all of its buckets.
func TestCrossingChecks(t *testing.T) {
	const callers, each, keys = 16, 2000, 40
	store := memstore.New(memstore.Options{})
	rule := limitertest.MustCompile(t, limiter.Limit{Rate: 1, Interval: time.Hour, Burst: 1_000_000})
	var taken [keys]atomic.Int64
	var wg sync.WaitGroup
	for c := range callers {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(1, uint64(c)))
			results := make([]limiter.Result, 1)
			for range each {
				picked := rng.Perm(keys)[:1+rng.IntN(limiter.MaxDemands)]
				check := limiter.Check{}
				for _, i := range picked {
					check.Demands = append(check.Demands, limiter.Demand{Key: fmt.Sprint(i), Rule: rule, Cost: int64(1 + rng.IntN(1000))})
				}
				if err := store.TakeAt(t.Context(), limitertest.Epoch, []limiter.Check{check}, results); err != nil {
					t.Error(err)
					return
				}
				if results[0].Allowed {
					for j, i := range picked {
						taken[i].Add(check.Demands[j].Cost)
					}
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Fatal("deadlock: the checks did not end within a minute")
	}
	k := &taker{tb: t, store: store}
	for i := range taken {
		want := 1_000_000 - taken[i].Load()
		if got := k.take(limitertest.Epoch, fmt.Sprint(i), rule, 0).Levels[0].Remaining; got != want || taken[i].Load() == 0 {
			t.Errorf("key %d: %d left, want %d", i, got, want)
		}
	}
}
