package redisstore_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/quotaworker/ratelimit/limiter"
	"github.com/quotaworker/ratelimit/limiter/limitertest"
	"github.com/quotaworker/ratelimit/limiter/redisstore"
)

// TestExpiry: a bucket that owes something is kept until it is full and 10 to
// 20 seconds longer, so expiry never changes a decision; a full one is not kept.
func TestExpiry(t *testing.T) {
	server, store := start(t)
	rdb := open(t, server.URL())
	ctx := t.Context()
	const slack = 10 * time.Second
	for _, limit := range []limiter.Limit{
		{Rate: 5, Interval: time.Second},
		{Rate: 1, Interval: time.Hour, Burst: 3},
		{Rate: 1, Interval: time.Millisecond},
		{Rate: 1_000_000_000, Interval: time.Second, Burst: 10}, // full again within a microsecond
		{Rate: 1, Interval: 366 * 24 * time.Hour, Burst: 200},
		{Algorithm: limiter.SlidingWindow, Rate: 10, Interval: time.Hour},
		{Algorithm: limiter.FixedWindow, Rate: 10, Interval: time.Hour},
		{Algorithm: limiter.FixedWindow, Rate: 10, Calendar: limiter.Calendar{Period: "year"}},
		{Rate: 1_000_003, Interval: 24 * time.Hour, Burst: 1_000_000_000},
	} {
		server.MustDo("FLUSHALL")
		rule := limitertest.MustCompile(t, limit)
		burst := rule.Limit().Burst
		ttl := func() time.Duration {
			t.Helper()
			d, err := rdb.PTTL(ctx, "rl:{k}:default").Result() // -2 without a key, -1 without an end
			if err != nil {
				t.Fatal(err)
			}
			return d
		}
		mustTake(t, store, "k", rule, 0)
		if got := ttl(); got != -2 {
			t.Errorf("%s: a look left a key, which lives %s", limit, got)
		}
		for _, cost := range []int64{1, burst - 1, burst} {
			if cost == 0 {
				continue
			}
			level := mustTake(t, store, "k", rule, cost)
			if !level.Admitted {
				before := ttl()
				if mustTake(t, store, "k", rule, burst); ttl() > before {
					t.Errorf("%s: a denial lengthened the life of the key", limit)
				}
				continue
			}
			got, least := ttl(), level.ResetAfter+slack
			most := least + slack + time.Second        // the longest tick
			if got > most || got < least-time.Second { // which is time for the test to run in
				t.Errorf("%s, cost %d: lives %s, full in %s, want 10 to 20 seconds more", limit, cost, got, level.ResetAfter)
			}
		}
		if level := mustTake(t, store, "k", rule, burst); level.ResetAfter < 10*time.Millisecond {
			continue // it fills by itself before anybody can look
		}
		for _, op := range []limiter.Op{limiter.Reset, limiter.Refund} {
			mustTake(t, store, "k", rule, 1)
			check := one("k", rule, burst)
			check[0].Op = op
			if _, err := take(store, check); err != nil {
				t.Fatal(err)
			}
			if got := ttl(); got != -2 {
				t.Errorf("%s: op %d filled the bucket and left a key, which lives %s", limit, op, got)
			}
		}
	}
}

// TestExpiryGoesOn: a bucket that is charged again and again never expires
// before it is full, though most writes leave the expiry as it is, whichever
// strategy wrote before.
func TestExpiryGoesOn(t *testing.T) {
	server, _ := start(t)
	rdb := open(t, server.URL())
	script := redisstore.New(rdb)
	transaction := redisstore.NewWithOptions(rdb, redisstore.Options{Strategy: redisstore.Transaction})
	for _, limit := range []limiter.Limit{
		{Rate: 3, Interval: time.Second, Burst: 1000},
		{Algorithm: limiter.SlidingWindow, Rate: 1000, Interval: 7 * time.Second},
		{Algorithm: limiter.FixedWindow, Rate: 1000, Interval: 13 * time.Second},
	} {
		server.MustDo("FLUSHALL")
		rule := limitertest.MustCompile(t, limit)
		begun, passed := time.Now(), time.Duration(0) // here, and for the buckets
		for i := range 60 {
			store := script
			if i%10 == 9 {
				store = transaction
			}
			results := make([]limiter.Result, 2)
			checks := append(one("k", rule, 1), one("several", rule, 5)...)
			if err := store.TakeAt(t.Context(), limitertest.Epoch.Add(passed), checks, results); err != nil {
				t.Fatal(err)
			}
			for j, res := range results {
				// The server's clock stood still, compared with the one of the buckets.
				lives := rdb.PTTL(t.Context(), "rl:{"+checks[j].Demands[0].Key+"}:default").Val()
				least, most := res.Levels[0].ResetAfter+10*time.Second-time.Since(begun), res.Levels[0].ResetAfter+20*time.Second+passed
				if !res.Allowed || lives < least || lives > most {
					t.Fatalf("%s, step %d: allowed %t, lives %s, want between %s and %s", limit, i, res.Allowed, lives, least, most)
				}
			}
			passed += time.Duration(i) * 10 * time.Millisecond
		}
	}
}

// TestDenialWritesNothing, nor does a look.
func TestDenialWritesNothing(t *testing.T) {
	server, store := start(t)
	rdb := open(t, server.URL())
	rule := hundred(t)
	key := "rl:{k}:default"
	mustTake(t, store, "k", rule, 100)
	before := rdb.Get(t.Context(), key).Val()
	server.MustDo("CONFIG RESETSTAT")
	for range 10 {
		if mustTake(t, store, "k", rule, 1).Admitted || !mustTake(t, store, "k", rule, 0).Admitted {
			t.Fatal("want a denial, and a look that is granted")
		}
	}
	if after := rdb.Get(t.Context(), key).Val(); after != before || before == "" {
		t.Errorf("%q became %q", before, after)
	}
	for _, command := range []string{"set", "del"} {
		if stats, err := rdb.InfoMap(t.Context(), "commandstats").Result(); err != nil {
			t.Error(err)
		} else if s := fmt.Sprint(stats); len(stats) == 0 || contains(stats, "cmdstat_"+command) {
			t.Errorf("there was a %s: %s", command, s)
		}
	}
}

func contains(stats map[string]map[string]string, name string) bool {
	for _, section := range stats {
		if _, ok := section[name]; ok {
			return true
		}
	}
	return false
}

// TestReadsStored looks at buckets that somebody stored, in every form there
// is; what is in no such form is no bucket, and so a full one.
func TestReadsStored(t *testing.T) {
	server, store := start(t)
	rdb := open(t, server.URL())
	tokens := limiter.Limit{Rate: 1, Interval: time.Second, Burst: 5}
	for i, tt := range []struct {
		value string
		limit limiter.Limit
		want  int64 // remaining at Epoch, 1763712000.123457
	}{
		{"1763712002123457", tokens, 3},
		{"1763712002123458", tokens, 2},
		{"1763712005123457", tokens, 0},
		{"1763712005123458", tokens, 0}, // more than it can owe
		{"1763712000123457", tokens, 5},
		{"1763712000123456", tokens, 5},
		{"0", tokens, 5},
		{"1763712002123457:0", tokens, 3},
		{"1763712002123457:", tokens, 3},
		{"1763712001123456:1", tokens, 4},
		{"1763712001123457:1", tokens, 3},
		{"1763712002123m", tokens, 3},   // before the microseconds
		{"1763712002124m", tokens, 2},   // after them
		{"1763712002123:1m", tokens, 2}, // is less than the next millisecond
		{"1763712002s", tokens, 3},
		{"1763712000s", tokens, 5},
		{"1763712000:1s", tokens, 4},
		{"1763712002123457x", tokens, 5},
		{"1763712002123457 ", tokens, 5},
		{"1763712002123457:1:1", tokens, 5},
		{"1763712002123457sm", tokens, 5},
		{" 1763712002123457", tokens, 5},
		{"-1763712002123457", tokens, 5},
		{"1763712002123457.5", tokens, 5},
		{"1.763712002123457e15", tokens, 5},
		{"0x6441a1d2e3c41", tokens, 5},
		{strings.Repeat("9", 41), tokens, 5}, // longer than any bucket
	} {
		key := fmt.Sprint("k", i)
		if err := rdb.Set(t.Context(), "rl:{"+key+"}:default", tt.value, 0).Err(); err != nil {
			t.Fatal(err)
		}
		results := make([]limiter.Result, 1)
		if err := store.TakeAt(t.Context(), limitertest.Epoch, one(key, limitertest.MustCompile(t, tt.limit), 0), results); err != nil {
			t.Fatal(err)
		}
		if got := results[0].Levels[0].Remaining; got != tt.want {
			t.Errorf("%q has %d left, want %d", tt.value, got, tt.want)
		}
	}
}

// TestMendsStored: a bucket that is further from full than its limit allows is
// written down as empty by a check that takes, to the microsecond, whatever the
// digits that were there.
func TestMendsStored(t *testing.T) {
	server, store := start(t)
	rdb := open(t, server.URL())
	rule := limitertest.MustCompile(t, limiter.Limit{Rate: 1, Interval: time.Second, Burst: 5})
	for i, value := range []string{
		"1763712009123457",
		"0001763712009123457",
		"9999999999999999",
		"17637120091234570",
		strings.Repeat("9", 40),
	} {
		key := fmt.Sprint("k", i)
		if err := rdb.Set(t.Context(), "rl:{"+key+"}:default", value, 0).Err(); err != nil {
			t.Fatal(err)
		}
		results := make([]limiter.Result, 1)
		if err := store.TakeAt(t.Context(), limitertest.Epoch, one(key, rule, 1), results); err != nil {
			t.Errorf("%q: %v", value, err)
		}
		if got, want := rdb.Get(t.Context(), "rl:{"+key+"}:default").Val(), "1763712005123457"; results[0].Allowed || got != want {
			t.Errorf("%q: allowed %t, then stored %q, want a denial and %q", value, results[0].Allowed, got, want)
		}
	}
}

// TestClock: the time is that of Redis, to the microsecond.
func TestClock(t *testing.T) {
	_, store := start(t)
	rule := limitertest.MustCompile(t, limiter.Limit{Rate: 1, Interval: time.Hour, Burst: 5})
	for range 3 {
		before := time.Now()
		mustTake(t, store, "k", rule, 0)
		first := mustTake(t, store, "k", rule, 1).ResetAfter
		<-time.After(20 * time.Millisecond)
		second := mustTake(t, store, "k", rule, 0).ResetAfter
		if passed, most := first-second, time.Since(before); passed < 20*time.Millisecond || passed > most {
			t.Errorf("%s passed for Redis, between 20 ms and %s here", passed, most)
		}
	}
}

// TestStoredForm pins what is stored, because other versions read it.
func TestStoredForm(t *testing.T) {
	server, store := start(t)
	rdb := open(t, server.URL())
	for i, tt := range []struct {
		limit limiter.Limit
		cost  int64
		want  string
	}{
		{limiter.Limit{Rate: 1, Interval: time.Second, Burst: 5}, 2, "1763712002123457"},
		{limiter.Limit{Rate: 3, Interval: time.Second}, 1, "1763712000456790:1"},                                  // a third of a second
		{limiter.Limit{Rate: 1, Interval: 366 * 24 * time.Hour, Burst: 200}, 1, "1795334400123m"},                 // a leap year later
		{limiter.Limit{Rate: 1_000_003, Interval: 24 * time.Hour, Burst: 1_000_000_000}, 12, "1763712001:36797s"}, // a little more than a second
	} {
		key := fmt.Sprint("k", i)
		results := make([]limiter.Result, 1)
		if err := store.TakeAt(t.Context(), limitertest.Epoch, one(key, limitertest.MustCompile(t, tt.limit), tt.cost), results); err != nil {
			t.Fatal(err)
		}
		if got := rdb.Get(t.Context(), "rl:{"+key+"}:default").Val(); got != tt.want {
			t.Errorf("%s, cost %d: stored %q, want %q", tt.limit, tt.cost, got, tt.want)
		}
	}
}
