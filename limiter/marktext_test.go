package limiter_test

import (
	"strings"
	"testing"
	"time"

	"github.com/quotaworker/ratelimit/limiter"
)

// TestMarkText: a mark survives its text, for every algorithm and tick.
func TestMarkText(t *testing.T) {
	now := time.UnixMicro(1_763_712_000_123_457)
	for _, limit := range []limiter.Limit{
		{Rate: 1, Interval: time.Second, Burst: 5},
		{Rate: 3, Interval: time.Second},
		{Rate: 1, Interval: 366 * 24 * time.Hour, Burst: 200},
		{Rate: 1_000_003, Interval: 24 * time.Hour, Burst: 1_000_000_000},
		{Algorithm: limiter.LeakyBucket, Rate: 3, Interval: time.Second},
		{Algorithm: limiter.SlidingWindow, Rate: 10, Interval: time.Minute},
		{Algorithm: limiter.FixedWindow, Rate: 10, Interval: time.Minute},
		{Algorithm: limiter.FixedWindow, Rate: 10, Calendar: limiter.Calendar{Period: "month", Zone: "Europe/Berlin"}},
	} {
		rule, err := limit.Compile()
		if err != nil {
			t.Fatal(err)
		}
		states := make([]limiter.State, 1)
		var res limiter.Result
		limiter.Decide(&limiter.Check{Demands: []limiter.Demand{{Key: "k", Rule: rule, Cost: 1}}}, states, now.UnixMicro(), &res)
		mark := rule.Mark(states[0], now.UnixMicro())
		text := mark.String()
		if got := limiter.ParseMark(text); got != mark || text == "" {
			t.Errorf("%s: %+v became %q and then %+v", limit, mark, text, got)
		}
	}
	if got := (limiter.Mark{}).String(); got != "" {
		t.Errorf("a full bucket is %q, want nothing", got)
	}
}

// TestParseMarkDamaged: what nobody should have written is a full bucket, or
// says at most that the bucket is empty.
func TestParseMarkDamaged(t *testing.T) {
	nines := strings.Repeat("9", 17)
	for _, text := range []string{
		"", " ", "abc", "0x10", "1e400", "nan", "-5", "+5", "5.5", ":", ":5", "5:5:5", "5x", "s", "m", ":s", "5:-5", "5sm", " 5", "5 ", "5\x00",
		"f", "f5", "f:5", "f5:", "f5:5:5", "f5:5s", "w1:1:1", "w1:1:1:", "w1:1:1:1:1", "w::::", strings.Repeat("9", 41), "f" + strings.Repeat("9", 38) + ":9",
		"w" + strings.Repeat("9", 66) + ":1:1:1",
	} {
		if got := limiter.ParseMark(text); got != (limiter.Mark{}) {
			t.Errorf("%q is %+v, want a full bucket", text, got)
		}
	}
	rule, err := limiter.Limit{Rate: 5, Interval: time.Second}.Compile()
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{strings.Repeat("9", 40), nines + ":" + nines, nines + "m", nines + ":" + nines + "s", nines + nines + "s", "10000000000000000000"} {
		mark := limiter.ParseMark(text)
		if s, stale := rule.Open(mark, 1_763_712_000_123_457); mark.Until < 0 || s.Full() || !stale {
			t.Errorf("%q is %+v, opened as %v, %t; want an empty bucket", text, mark, s, stale)
		}
	}
}

// FuzzParseMark: no text crashes it, and what it reads is read again.
func FuzzParseMark(f *testing.F) {
	for _, text := range []string{"1763712002123457", "1763712001123456:1m", "w1763712000000000:1000000:3:4", "f1763712060000000:3", "5:"} {
		f.Add(text)
	}
	rules := make([]*limiter.Rule, 3)
	for i, l := range []limiter.Limit{
		{Rate: 5, Interval: time.Second}, {Algorithm: limiter.SlidingWindow, Rate: 5, Interval: time.Second}, {Algorithm: limiter.FixedWindow, Rate: 5, Interval: time.Second},
	} {
		var err error
		if rules[i], err = l.Compile(); err != nil {
			f.Fatal(err)
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		mark := limiter.ParseMark(text)
		if again := limiter.ParseMark(mark.String()); again != mark {
			t.Errorf("%q is %+v, and then %+v", text, mark, again)
		}
		for _, rule := range rules {
			if s, _ := rule.Open(mark, 1_763_712_000_123_457); s[0] < 0 || s[1] < 0 {
				t.Errorf("%q opens as %v", text, s)
			}
		}
	})
}
