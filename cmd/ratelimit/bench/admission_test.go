package bench

import (
	"context"
	"math"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

var tenPerSecond = Limit{Name: "default", Tokens: 100, Window: 10 * time.Second}

// TestAdmissions grants tokens over time, and judges.
func TestAdmissions(t *testing.T) {
	type grant struct {
		after  time.Duration
		tokens int64
		answer Answer
	}
	granted := func(l Limit) Answer { return Answer{Allowed: true, Limit: l} }
	for _, c := range []struct {
		name     string
		exact    *Limit
		windowed bool
		grants   []grant
		over     int64 // tokens
		judged   int
		degraded int // keys
	}{
		{name: "a burst", grants: []grant{{0, 100, granted(tenPerSecond)}}, judged: 1},
		{name: "one more", grants: []grant{{0, 101, granted(tenPerSecond)}}, over: 1, judged: 1},
		{name: "and what flowed in", grants: []grant{{0, 100, granted(tenPerSecond)}, {5 * time.Second, 50, granted(tenPerSecond)}}, judged: 1},
		{name: "and one more", grants: []grant{{0, 100, granted(tenPerSecond)}, {5 * time.Second, 51, granted(tenPerSecond)}}, over: 1, judged: 1},
		{name: "denials take nothing", grants: []grant{{0, 100, granted(tenPerSecond)}, {0, 100, Answer{Limit: tenPerSecond}}}, judged: 1},
		{name: "policies in shadow", grants: []grant{{0, 100, granted(tenPerSecond)}, {0, 100, Answer{Allowed: true, Shadow: true, Limit: tenPerSecond}}}, judged: 1},
		{name: "memory", grants: []grant{{0, 100, granted(tenPerSecond)}, {0, 100, Answer{Allowed: true, Degraded: true, Limit: tenPerSecond}}}, judged: 1, degraded: 1},
		{name: "no limit", grants: []grant{{0, 1000, Answer{Allowed: true}}}},
		{name: "refills within a millisecond", grants: []grant{{0, 1000, granted(Limit{Name: "default", Tokens: 100, Window: time.Millisecond})}}},
		{name: "the tighter of two", judged: 1, over: 5, grants: []grant{
			{0, 5, granted(tenPerSecond)},
			{0, 5, granted(Limit{Name: "minute", Tokens: 5, Window: time.Minute})},
		}},
		{name: "a limit that was raised", judged: 1, grants: []grant{
			{0, 5, granted(Limit{Name: "default", Tokens: 5, Window: time.Minute})},
			{0, 95, granted(tenPerSecond)},
		}},
		// 7/s burst 1 fills in 143 ms, rounded up: after 100 s it granted 701.
		{name: "rounded answers", judged: 1, grants: []grant{
			{0, 1, granted(Limit{Name: "inline", Tokens: 1, Window: 143 * time.Millisecond})},
			{100 * time.Second, 700, granted(Limit{Name: "inline", Tokens: 1, Window: 143 * time.Millisecond})},
		}},
		{name: "known better", judged: 1, over: 10, exact: &Limit{Name: "inline", Tokens: 1, Window: time.Second / 7}, grants: []grant{
			{0, 1, granted(Limit{Name: "inline", Tokens: 1, Window: 143 * time.Millisecond})},
			{100 * time.Second, 710, granted(Limit{Name: "inline", Tokens: 1, Window: 143 * time.Millisecond})},
		}},
		{name: "two windows of the clock", windowed: true, judged: 1, grants: []grant{{0, 200, granted(tenPerSecond)}}},
		{name: "three", windowed: true, judged: 1, over: 100, grants: []grant{{0, 300, granted(tenPerSecond)}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := NewAdmissions(2, c.exact, c.windowed)
				for _, g := range c.grants {
					time.Sleep(g.after)
					a.sent(1)
					a.answered(1, g.answer, g.tokens)
				}
				v := a.Judge(newKeys(t, 2, Uniform))
				if v.Keys != 1 || v.Judged != c.judged || v.DegradedKeys != c.degraded {
					t.Errorf("got %+v, want 1 key, %d judged, %d degraded", v, c.judged, c.degraded)
				}
				// A hundredth is for clocks that differ.
				if math.Abs(float64(v.OverTokens-c.over)) > 1 || (v.OverKeys > 0) != (c.over > 0) {
					t.Errorf("%d tokens too much, want %d", v.OverTokens, c.over)
				}
				if c.over > 0 && (len(v.Over) != 1 || v.Over[0].Name != "bench.1") {
					t.Errorf("got %+v, want the key bench.1", v.Over)
				}
			})
		})
	}
}

// TestAdmissionsCountFromTheFirstCheck does not credit a key with the time in
// which nobody asked: its bucket was full then.
func TestAdmissionsCountFromTheFirstCheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := NewAdmissions(1, nil, false)
		time.Sleep(time.Hour)
		a.sent(0)
		a.answered(0, Answer{Allowed: true, Limit: tenPerSecond}, 101)
		if v := a.Judge(newKeys(t, 1, Hot)); v.OverTokens != 1 {
			t.Errorf("got %+v, want one token too much", v)
		}
	})
}

// TestOverAdmissionUnderLoad loads targets that grant what they should, and one
// in fifty more.
func TestOverAdmissionUnderLoad(t *testing.T) {
	limit := Limit{Name: "default", Tokens: 500, Window: time.Hour}
	for _, cheat := range []int64{0, 10} {
		var granted atomic.Int64
		ask := func(context.Context, int) (Answer, error) {
			return Answer{Allowed: granted.Add(1) <= limit.Tokens+cheat, Limit: limit}, nil
		}
		keys := newKeys(t, 1, Hot)
		a := NewAdmissions(1, nil, false)
		Run(t.Context(), Callers{ask}, &Load{Keys: keys, Concurrency: 8, Duration: 50 * time.Millisecond, Warmup: 10 * time.Millisecond, Cost: 1, Admissions: a})
		v := a.Judge(keys)
		if v.Granted != limit.Tokens+cheat || v.OverTokens != cheat || v.OverKeys != int(min(1, cheat)) {
			t.Errorf("%d too many: got %+v", cheat, v)
		}
	}
}

func TestManyLimits(t *testing.T) {
	a := NewAdmissions(1, nil, false)
	a.sent(0)
	for i := range 2 * maxLimits {
		a.answered(0, Answer{Allowed: true, Limit: Limit{Name: "default", Tokens: int64(i + 1), Window: time.Hour}}, 1)
	}
	if v := a.Judge(newKeys(t, 1, Hot)); v.Judged != 1 || v.OverTokens != maxLimits {
		t.Errorf("got %+v, want 128 tokens judged by the largest of %d limits", v, maxLimits)
	}
}
