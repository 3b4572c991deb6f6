package memstore

import (
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/quotaworker/ratelimit/limiter"
)

const noon = 1_763_712_000_123_457 // some time, in microseconds

// mustCompile compiles a limit or fails the test.
func mustCompile(t *testing.T, l limiter.Limit) *limiter.Rule {
	t.Helper()
	rule, err := l.Compile()
	if err != nil {
		t.Fatal(err)
	}
	return rule
}

// TestShardGrowsAndShrinks puts so many buckets into one shard that its index
// splits many times, and drops them in another order.
func TestShardGrowsAndShrinks(t *testing.T) {
	const buckets = 60_000
	seed := maphash.MakeSeed()
	sh := &shard{index: newIndex(), room: buckets, seed: seed}
	rule := mustCompile(t, limiter.Limit{Rate: 100, Interval: time.Hour})
	all := make([]bucket, buckets)
	largest := 0
	for i := range all {
		b := &all[i]
		*b = bucket{key: strings.Repeat("x", i%40) + fmt.Sprint(i), name: uint16(1 + i%2)}
		b.tag = tagOf(maphash.String(seed, b.key), b.name)
		sh.put(b, sh.find(b, new(found)), rule.Mark(limiter.State{int64(i + 1)}, noon), noon)
		largest = max(largest, len(sh.index.segment(b.tag).slots))
	}
	// What the allocator rounds up to is not much.
	if most := segmentSlots * 3 / 2; largest > most || len(sh.index.segments) < 8 {
		t.Errorf("%d segments of up to %d slots, want many of at most %d", len(sh.index.segments), largest, most)
	}
	check := func(from int) {
		t.Helper()
		for i := range all {
			f := sh.find(&all[i], new(found))
			if i < from {
				if f.record != nil {
					t.Fatalf("with %d dropped, bucket %d is still there", from, i)
				}
			} else if f.record == nil || f.record.mark() != rule.Mark(limiter.State{int64(i + 1)}, noon) && len(all) == buckets {
				t.Fatalf("with %d dropped, bucket %d is not what it was: %v", from, i, f.record)
			}
		}
	}
	check(0)
	full := sh.bytes()
	if perBucket := full / buckets; perBucket > 70 { // of keys of 25 bytes on average, a sixth of them in slabs of their own
		t.Errorf("%d bytes a bucket", perBucket)
	}
	order := rand.New(rand.NewPCG(1, 2)).Perm(buckets)
	for n, i := range order {
		sh.put(&all[i], sh.find(&all[i], new(found)), limiter.Mark{}, noon)
		if f := sh.find(&all[i], new(found)); f.record != nil {
			t.Fatalf("bucket %d is still there", i)
		}
		if n%10_000 == 0 {
			for _, j := range order[n+1:] {
				if f := sh.find(&all[j], new(found)); f.record == nil || f.record.mark() != rule.Mark(limiter.State{int64(j + 1)}, noon) {
					t.Fatalf("with %d dropped, bucket %d is %v", n+1, j, f.record)
				}
			}
		}
	}
	if got := sh.bytes(); sh.n != 0 || got > full/50 {
		t.Errorf("%d buckets are left and %d bytes of %d", sh.n, got, full)
	}
}

// TestKeysNeverShare: buckets whose hashes are the same are still two, whether
// it is the key or the limit in which they differ.
func TestKeysNeverShare(t *testing.T) {
	sh := &shard{index: newIndex(), room: 1000, seed: maphash.MakeSeed()}
	rule := mustCompile(t, limiter.Limit{Rate: 1_000_000, Interval: time.Hour})
	var all []bucket
	for _, key := range []string{"", "a", "b", "a\x00", "\x00a", "aa", digest("a", "default"), strings.Repeat("a", longestKey), strings.Repeat("a", longestKey-1) + "b"} {
		for _, name := range []uint16{0, 1, 2, 256, mostNames} {
			all = append(all, bucket{key: key, name: name, tag: 0xDEADBEEF})
		}
	}
	for i := range all {
		if f := sh.find(&all[i], new(found)); f.record != nil {
			t.Errorf("%+v is there before it was put", all[i])
		}
		wrong := sh.guess(&all[i]) // another's, from the second on
		sh.put(&all[i], sh.find(&all[i], &wrong), rule.Mark(limiter.State{int64(i + 1)}, noon), noon)
	}
	for i := range all {
		if got, want := sh.find(&all[i], new(found)).record.mark(), rule.Mark(limiter.State{int64(i + 1)}, noon); got != want {
			t.Errorf("%+v has %+v, want %+v", all[i], got, want)
		}
	}
}

// TestNamesRunOut: limits that come after the last number are told apart, and
// from keys that look like what is written for them.
func TestNamesRunOut(t *testing.T) {
	store := New(Options{})
	var names []string
	for i := range mostNames + 10 {
		names = append(names, fmt.Sprintf("limit-%d", i))
	}
	var keys []string
	for _, name := range append(slices.Clone(names[mostNames-2:]), "limit-0") {
		keys = append(keys, digest("k", name))
	}
	keys = append(keys, "k", strings.Repeat("k", longestKey), strings.Repeat("k", longestKey+1), strings.Repeat("k", longestKey+2))
	for round, want := range []bool{true, false} {
		for _, name := range names {
			rule := mustCompile(t, limiter.Limit{Name: name, Rate: 1, Interval: time.Hour})
			for _, key := range keys {
				checks, results := []limiter.Check{{Demands: []limiter.Demand{{Key: key, Rule: rule, Cost: 1}}}}, make([]limiter.Result, 1)
				if err := store.TakeAt(t.Context(), time.UnixMicro(noon), checks, results); err != nil || results[0].Allowed != want {
					t.Fatalf("round %d: key %q, limit %s: %t, %v; want %t", round, key, name, results[0].Allowed, err, want)
				}
			}
		}
	}
	if got := len(*store.names.numbers.Load()); got != mostNames {
		t.Errorf("%d names have a number, want %d", got, mostNames)
	}
}

// TestMemory: a bucket of the default limit whose key has 25 bytes takes less
// than 60, at every stage of growth; and a store that was large becomes small
// when its buckets are full again.
func TestMemory(t *testing.T) {
	store := New(Options{})
	rule := mustCompile(t, limiter.Limit{Rate: 10_000, Interval: time.Hour})
	now := time.UnixMicro(noon)
	checks, results := []limiter.Check{{Demands: []limiter.Demand{{Rule: rule, Cost: 1}}}}, make([]limiter.Result, 1)
	take := func(i int) {
		checks[0].Demands[0].Key = fmt.Sprintf("tenant.acme.user.%08d", i)
		if err := store.TakeAt(t.Context(), now, checks, results); err != nil {
			t.Fatal(err)
		}
	}
	const buckets, used = 160_000, 1000
	for i := range buckets {
		take(i)
		if i > buckets/2 && i%1000 == 0 {
			if st := store.Stats(); st.Bytes >= 60*st.Keys {
				t.Fatalf("%+v are %d bytes a bucket", st, st.Bytes/st.Keys)
			}
		}
	}
	now = now.Add(time.Hour)
	for i := range buckets {
		take(i % used)
	}
	// Each of these checks looked at an eighth of a bucket.
	if st := store.Stats(); st.Keys > buckets*9/10 || st.Keys < used || st.Evicted > 0 {
		t.Errorf("%+v, want at least a tenth of the buckets gone", st)
	}
	for i := range buckets { // and each of these at two
		take(buckets + i)
		now = now.Add(time.Hour / 10_000 / used)
	}
	if st := store.Stats(); st.Keys > 5*used || st.Bytes > 2<<20 || st.Evicted > 0 {
		t.Errorf("%+v, want little more than the %d that are not full", st, used)
	}
}
