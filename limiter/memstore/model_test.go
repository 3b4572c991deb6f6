package memstore

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/quotaworker/ratelimit/limiter"
)

// TestModel drives a store and a plain map with random checks: buckets of all
// forms and sizes come, change, refill and go, and the answers stay the same.
// The clock takes steps at which buckets become full, and the tables are
// inspected on the way.
func TestModel(t *testing.T) { rapid.Check(t, testModel) }

// FuzzModel is TestModel with bytes that the fuzzer picks.
func FuzzModel(f *testing.F) { f.Fuzz(rapid.MakeFuzz(testModel)) }

// modelRules are limits whose marks are of every size.
func modelRules() []*limiter.Rule {
	var rules []*limiter.Rule
	for _, l := range []limiter.Limit{
		{Rate: 10, Interval: time.Second},
		{Name: "odd", Rate: 1_000_003, Interval: time.Second, Burst: 2_000_000}, // fractions come and go
		{Name: "wide", Rate: 1<<33 - 1, Interval: time.Second},                  // and fractions of more than 4 bytes
		{Name: "slow", Rate: 1, Interval: 24 * time.Hour, Burst: 3},
		{Name: "sliding", Algorithm: limiter.SlidingWindow, Rate: 5, Interval: time.Second},
		{Name: "days", Algorithm: limiter.SlidingWindow, Rate: 5, Interval: 24 * time.Hour},
		{Name: "fixed", Algorithm: limiter.FixedWindow, Rate: 5, Interval: time.Second},
		{Name: "fixed", Algorithm: limiter.FixedWindow, Rate: limiter.MaxCount, Interval: time.Second},
		{Name: "odd", Algorithm: limiter.SlidingWindow, Rate: 7, Interval: time.Minute}, // another form in place
	} {
		rule, err := l.Compile()
		if err != nil {
			panic(err)
		}
		rules = append(rules, rule)
	}
	return rules
}

func testModel(t *rapid.T) {
	rules := modelRules()
	store := New(Options{Keys: 64 * 4096})
	if rapid.Bool().Draw(t, "names run out") {
		full := map[string]uint16{}
		for i := range mostNames - 3 {
			full[fmt.Sprint(i)] = uint16(i + 1)
		}
		store.names.numbers.Store(&full)
	}
	model := map[[2]string]limiter.Mark{}
	now := time.UnixMicro(1_763_712_000_123_457)
	keys := rapid.SampledFrom([]int{1, 10, 3000}).Draw(t, "keys")
	for range rapid.IntRange(1, 12).Draw(t, "batches") {
		now = now.Add(rapid.SampledFrom([]time.Duration{0, time.Microsecond, 100 * time.Millisecond, time.Second, time.Minute, 48 * time.Hour}).Draw(t, "step"))
		us := now.UnixMicro()
		rule := rapid.SampledFrom(rules).Draw(t, "rule")
		other := rapid.SampledFrom(rules).Draw(t, "other rule")
		op := rapid.SampledFrom([]limiter.Op{limiter.Take, limiter.Take, limiter.Take, limiter.Refund, limiter.Reset}).Draw(t, "op")
		cost := rapid.SampledFrom([]int64{0, 1, 2, 3}).Draw(t, "cost")
		if rule.Name() == "wide" {
			cost *= 5000
		}
		from, count := rapid.IntRange(0, keys-1).Draw(t, "from"), rapid.IntRange(1, keys).Draw(t, "count")
		checks := make([]limiter.Check, count)
		for i := range checks {
			key := modelKey((from + i*7) % keys)
			checks[i] = limiter.Check{Op: op, Demands: []limiter.Demand{{Key: key, Rule: rule, Cost: cost}}}
			if other.Name() != rule.Name() && i%3 == 0 {
				checks[i].Demands = append(checks[i].Demands, limiter.Demand{Key: key, Rule: other, Cost: 1})
			}
			if i%5 == 0 && keys > 1 {
				checks[i].Demands = append(checks[i].Demands, limiter.Demand{Key: modelKey((from + i*7 + 1) % keys), Rule: rule, Cost: cost})
			}
		}
		results := make([]limiter.Result, count)
		if err := store.TakeAt(t.Context(), now, checks, results); err != nil {
			t.Fatal(err)
		}
		for i := range checks {
			want := decideModel(model, &checks[i], us)
			if got := results[i]; fmt.Sprint(got.Allowed, got.Levels) != fmt.Sprint(want.Allowed, want.Levels) {
				t.Fatalf("check %d of %d at %s: %+v\n got %+v\nwant %+v", i, count, now, checks[i], got, want)
			}
		}
		inspect(t, store)
	}
	live := 0
	for _, m := range model {
		if m.Until > now.UnixMicro() {
			live++
		}
	}
	if got := store.Stats(); got.Keys < live || got.Evicted != 0 {
		t.Fatalf("%+v, want at least the %d that are not full", got, live)
	}
}

// modelKey returns keys of many lengths, also past the longest that is kept.
func modelKey(i int) string {
	return strings.Repeat("k", []int{0, 3, 17, 40, 250, 400}[i%6]) + fmt.Sprint(i)
}

// decideModel decides with a plain map.
func decideModel(model map[[2]string]limiter.Mark, c *limiter.Check, now int64) limiter.Result {
	states, stale := make([]limiter.State, len(c.Demands)), make([]bool, len(c.Demands))
	name := func(d *limiter.Demand) [2]string { return [2]string{d.Key, d.Rule.Name()} }
	for i := range c.Demands {
		d := &c.Demands[i]
		states[i], stale[i] = d.Rule.Open(model[name(d)], now)
	}
	before := append([]limiter.State(nil), states...)
	var res limiter.Result
	limiter.Decide(c, states, now, &res)
	for i := range c.Demands {
		if d := &c.Demands[i]; states[i] != before[i] || stale[i] && c.Takes(i) || c.Op == limiter.Reset {
			model[name(d)] = d.Rule.Mark(states[i], now)
		}
	}
	return res
}

// inspect fails unless the tables of a store are as they should be: each
// record is found by its own tag, once, and nothing else is.
func inspect(t *rapid.T, s *Store) {
	t.Helper()
	for i := range s.shards {
		sh := &s.shards[i]
		entries, records := 0, 0
		for j := 0; j < len(sh.index.segments); {
			g := sh.index.segments[j]
			n := 0
			for slot, e := range g.slots {
				if e == 0 {
					continue
				}
				n++
				r := sh.record(e.place())
				b := &bucket{key: string(r.key()), name: r.name(), tag: e.tag()}
				if got := sh.find(b, new(found)); sh.index.segment(b.tag) != g || got.slot != slot {
					t.Fatalf("shard %d: the record of %+v is in slot %d of a segment, and found in %d", i, b, slot, got.slot)
				}
			}
			if n != g.n || 5*n > 4*len(g.slots) {
				t.Fatalf("shard %d: a segment of %d slots has %d entries and counts %d", i, len(g.slots), n, g.n)
			}
			entries += n
			j += 1 << (sh.index.depth - g.depth)
		}
		for c := range sh.slabs {
			records += int(sh.slabs[c].n)
		}
		if entries != sh.n || records != sh.n || sh.n > sh.room {
			t.Fatalf("shard %d: %d entries, %d records and a count of %d of at most %d", i, entries, records, sh.n, sh.room)
		}
	}
}
