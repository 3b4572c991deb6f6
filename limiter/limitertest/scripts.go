package limitertest

import (
	"testing"
	"time"

	"github.com/quotaworker/ratelimit/limiter"
)

// row is one step of a script: at this time after Epoch, do op with this cost
// and expect that.
type row struct {
	at         time.Duration
	op         limiter.Op
	cost       int64
	allowed    bool
	remaining  int64
	retryAfter time.Duration
	resetAfter time.Duration
}

func testScript(t *testing.T, open func(t *testing.T) TimedStore) {
	const (
		take, refund, reset = limiter.Take, limiter.Refund, limiter.Reset
		ms, s, us           = time.Millisecond, time.Second, time.Microsecond
		day                 = 24 * time.Hour
	)
	for _, tt := range []struct {
		name  string
		limit limiter.Limit
		rows  []row
	}{
		{"burst 5 at 1/s", limiter.Limit{Rate: 1, Interval: s, Burst: 5}, []row{
			{0, take, 0, true, 5, 0, 0},
			{0, take, 1, true, 4, 0, 1 * s},
			{0, take, 1, true, 3, 0, 2 * s},
			{0, take, 1, true, 2, 0, 3 * s},
			{0, take, 1, true, 1, 0, 4 * s},
			{0, take, 1, true, 0, 0, 5 * s},
			{0, take, 1, false, 0, 1 * s, 5 * s},
			{0, take, 5, false, 0, 5 * s, 5 * s},
			{0, take, 0, true, 0, 0, 5 * s},
			{3 * s, take, 1, true, 2, 0, 3 * s},
			{3100 * ms, take, 1, true, 1, 0, 3900 * ms},
			{3100 * ms, take, 2, false, 1, 900 * ms, 3900 * ms},
			{4 * s, take, 2, true, 0, 0, 5 * s},
			{9 * s, take, 0, true, 5, 0, 0},
			{1000 * s, take, 5, true, 0, 0, 5 * s}, // never more than the burst
			{1000 * s, take, 1, false, 0, 1 * s, 5 * s},
		}},
		{"burst 1", limiter.Limit{Rate: 1, Interval: time.Minute}, []row{
			{0, take, 1, true, 0, 0, 60 * s},
			{0, take, 1, false, 0, 60 * s, 60 * s},
			{60*s - us, take, 1, false, 0, us, us},
			{60 * s, take, 1, true, 0, 0, 60 * s},
			{60 * s, take, 1, false, 0, 60 * s, 60 * s},
		}},
		{"a rate that does not divide: 3/s", limiter.Limit{Rate: 3, Interval: s}, []row{
			{0, take, 3, true, 0, 0, 1 * s},
			{0, take, 1, false, 0, 333334 * us, 1 * s},
			{333333 * us, take, 1, false, 0, us, 666667 * us},
			{333334 * us, take, 1, true, 0, 0, 1 * s}, // 2/3 us of refill kept
			{666667 * us, take, 1, true, 0, 0, 1 * s}, // and again
			{1 * s, take, 1, true, 0, 0, 1 * s},       // exactly a second: nothing was lost
			{1 * s, take, 1, false, 0, 333334 * us, 1 * s},
			{1333333 * us, take, 1, false, 0, us, 666667 * us},
		}},
		{"more than one per microsecond", limiter.Limit{Rate: 1_000_000_000, Interval: s, Burst: 10_000}, []row{
			{0, take, 10_000, true, 0, 0, 10 * us},
			{0, take, 1, false, 0, us, 10 * us},
			{1 * us, take, 1000, true, 0, 0, 10 * us},
			{1 * us, take, 1, false, 0, us, 10 * us},
			{3 * us, take, 1, true, 1999, 0, 9 * us}, // 8.001 us, and full at a whole one
		}},
		{"an interval under a second", limiter.Limit{Rate: 5, Interval: 500 * ms}, []row{
			{0, take, 5, true, 0, 0, 500 * ms},
			{0, take, 1, false, 0, 100 * ms, 500 * ms},
			{100 * ms, take, 1, true, 0, 0, 500 * ms},
		}},
		{"refund and reset", limiter.Limit{Rate: 10, Interval: s}, []row{
			{0, refund, 3, true, 10, 0, 0}, // never more than full
			{0, take, 7, true, 3, 0, 700 * ms},
			{0, refund, 2, true, 5, 0, 500 * ms},
			{0, take, 6, false, 5, 100 * ms, 500 * ms},
			{0, refund, 100, true, 10, 0, 0},
			{0, take, 10, true, 0, 0, 1 * s},
			{0, reset, 0, true, 10, 0, 0},
			{0, take, 10, true, 0, 0, 1 * s},
			{0, refund, 0, true, 0, 0, 1 * s},
		}},
		{"the clock jumps back", limiter.Limit{Rate: 1, Interval: s, Burst: 5}, []row{
			{3600 * s, take, 2, true, 3, 0, 2 * s},
			{0, take, 1, false, 0, 1 * s, 5 * s}, // empty at worst
			{1 * s, take, 1, true, 0, 0, 5 * s},  // and refilling at its rate
			{3600 * s, take, 1, true, 4, 0, 1 * s},
		}},
		{"milliseconds: two hundred leap years", limiter.Limit{Rate: 1, Interval: 366 * day, Burst: 200}, []row{
			{0, take, 200, true, 0, 0, 200*366*day - 457*us},
			{0, take, 1, false, 0, 366*day - 457*us, 200*366*day - 457*us},
			{366*day - 458*us, take, 1, false, 0, us, 199*366*day + us},
			{366*day - 457*us, take, 1, true, 0, 0, 200 * 366 * day},
			{366*day - 457*us, reset, 0, true, 200, 0, 0},
		}},
		{"seconds: a billion at a million a day", limiter.Limit{Rate: 1_000_003, Interval: day, Burst: 1_000_000_000}, []row{
			{0, take, 1, true, 999_999_999, 0, 1*s - 123457*us},
			{0, take, 2_000_006, true, 997_999_993, 0, 2*day + 1*s - 123457*us},
			{1*day - 123457*us, take, 0, true, 998_999_996, 0, 1*day + 1*s},
		}},
		{"leaky bucket: admits as the token bucket", limiter.Limit{Algorithm: limiter.LeakyBucket, Rate: 1, Interval: s, Burst: 3}, []row{
			{0, take, 2, true, 1, 0, 2 * s},
			{0, take, 2, false, 1, 1 * s, 2 * s},
			{1 * s, take, 2, true, 0, 0, 3 * s},
		}},
		{"sliding window", limiter.Limit{Algorithm: limiter.SlidingWindow, Rate: 10, Interval: 10 * s}, []row{
			{0, take, 0, true, 10, 0, 0},
			{0, take, 10, true, 0, 0, 20*s - 123457*us},
			{0, take, 1, false, 0, 11*s - 123457*us, 20*s - 123457*us},
			{11*s - 123458*us, take, 1, false, 0, us, 9*s + us}, // 9.000001 of the last 10 count
			{11*s - 123457*us, take, 1, true, 0, 0, 19 * s},
			{15*s - 123457*us, take, 4, true, 0, 0, 15 * s}, // 5 of the last and 1 of this
			{15*s - 123457*us, refund, 2, true, 2, 0, 15 * s},
			{40 * s, take, 10, true, 0, 0, 20*s - 123457*us},
			{40 * s, reset, 0, true, 10, 0, 0},
		}},
		{"fixed window", limiter.Limit{Algorithm: limiter.FixedWindow, Rate: 3, Interval: 10 * s}, []row{
			{0, take, 2, true, 1, 0, 10*s - 123457*us},
			{0, take, 2, false, 1, 10*s - 123457*us, 10*s - 123457*us},
			{0, refund, 1, true, 2, 0, 10*s - 123457*us},
			{10*s - 123458*us, take, 2, true, 0, 0, us},
			{10*s - 123458*us, take, 1, false, 0, us, us},
			{10*s - 123457*us, take, 3, true, 0, 0, 10 * s},
			{30 * s, take, 0, true, 3, 0, 0},
		}},
		{"fixed window: a month in Berlin", limiter.Limit{Algorithm: limiter.FixedWindow, Rate: 2, Calendar: limiter.Calendar{Period: "month", Zone: "Europe/Berlin"}}, []row{
			{0, take, 2, true, 0, 0, 231*time.Hour - 123457*us},
			{0, take, 1, false, 0, 231*time.Hour - 123457*us, 231*time.Hour - 123457*us},
			{231*time.Hour - 123458*us, take, 1, false, 0, us, us},
			{231*time.Hour - 123457*us, take, 1, true, 1, 0, 31 * day},
			{(231+24*40)*time.Hour - 123457*us, take, 2, true, 0, 0, 22 * day},
			{0, take, 0, true, 0, 0, 231*time.Hour - 123457*us}, // the clock went back
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			store := open(t)
			rule := MustCompile(t, tt.limit)
			for i, row := range tt.rows {
				check := limiter.Check{Op: row.op, Demands: []limiter.Demand{{Key: "k", Rule: rule, Cost: row.cost}}}
				got := takeAt(t, store, Epoch.Add(row.at), check)[0]
				for j := range got.Levels {
					got.Levels[j].Delay = 0 // see testSpacing
				}
				want := limiter.Level{Admitted: row.allowed, Remaining: row.remaining, RetryAfter: row.retryAfter, ResetAfter: row.resetAfter}
				if got.Allowed != row.allowed || len(got.Levels) != 1 || got.Levels[0] != want {
					t.Fatalf("step %d at %s, op %d, cost %d:\n got %+v\nwant %+v", i, row.at, row.op, row.cost, got, want)
				}
			}
		})
	}
}

// testSpacing: the leaky bucket admits at once and says how long to wait, so
// that those who do are evenly apart.
func testSpacing(t *testing.T, store TimedStore) {
	rule := MustCompile(t, limiter.Limit{Algorithm: limiter.LeakyBucket, Rate: 2, Interval: time.Second, Burst: 4})
	for i, step := range []struct {
		at    time.Duration
		cost  int64
		delay time.Duration
	}{
		{0, 1, 0},
		{0, 1, 500 * time.Millisecond},
		{0, 0, 0}, // a look has nothing to wait for
		{100 * time.Millisecond, 1, 900 * time.Millisecond},
		{100 * time.Millisecond, 1, 1400 * time.Millisecond},
		{500 * time.Millisecond, 1, 1500 * time.Millisecond},
		{10 * time.Second, 1, 0},
	} {
		check := limiter.Check{Demands: []limiter.Demand{{Key: "k", Rule: rule, Cost: step.cost}}}
		got := takeAt(t, store, Epoch.Add(step.at), check)[0]
		if !got.Allowed || got.Delay() != step.delay {
			t.Errorf("step %d at %s: got %+v, want a delay of %s", i, step.at, got, step.delay)
		}
	}
}
