package limiter_test

import (
	"testing"
	"time"

	"github.com/quotaworker/ratelimit/limiter"
)

// TestPackedMark: a mark survives being packed, whatever its form and numbers,
// and most take 9 bytes.
func TestPackedMark(t *testing.T) {
	const now = 1_763_712_000_123_457
	for _, tt := range []struct {
		limit limiter.Limit
		state limiter.State
		want  int // bytes
	}{
		{limiter.Limit{Rate: 100, Interval: time.Hour}, limiter.State{36_000_000}, 9},
		{limiter.Limit{Rate: 3, Interval: time.Second}, limiter.State{3_000_000}, 9},
		{limiter.Limit{Rate: 3, Interval: time.Second}, limiter.State{1_000_000}, 13}, // and a third of a microsecond
		{limiter.Limit{Rate: 1<<33 - 1, Interval: time.Second}, limiter.State{1<<33 - 2}, 17},
		{limiter.Limit{Rate: 1, Interval: 366 * 24 * time.Hour, Burst: 200}, limiter.State{1}, 9},           // in milliseconds
		{limiter.Limit{Rate: 1_000_003, Interval: 24 * time.Hour, Burst: 1e9}, limiter.State{1}, 13},        // in seconds
		{limiter.Limit{Rate: 1_000_003, Interval: 24 * time.Hour, Burst: 1e9}, limiter.State{1_000_003}, 9}, // the same
		{limiter.Limit{Algorithm: limiter.LeakyBucket, Rate: 1, Interval: time.Second}, limiter.State{1}, 9},
		{limiter.Limit{Algorithm: limiter.SlidingWindow, Rate: 10, Interval: time.Hour}, limiter.State{10, 0}, 21},
		{limiter.Limit{Algorithm: limiter.SlidingWindow, Rate: 10, Interval: time.Hour}, limiter.State{0, 10}, 21},
		{limiter.Limit{Algorithm: limiter.SlidingWindow, Rate: 10, Interval: 24 * time.Hour}, limiter.State{3, 4}, limiter.MaxPackedMark},
		{limiter.Limit{Algorithm: limiter.FixedWindow, Rate: 10, Interval: time.Minute}, limiter.State{10}, 13},
		{limiter.Limit{Algorithm: limiter.FixedWindow, Rate: limiter.MaxCount, Interval: time.Minute}, limiter.State{limiter.MaxCount}, 17},
	} {
		rule, err := tt.limit.Compile()
		if err != nil {
			t.Fatal(err)
		}
		mark := rule.Mark(tt.state, now)
		space := [limiter.MaxPackedMark]byte{}
		for i := range space {
			space[i] = 0xFF // what is not written must not be read
		}
		n := mark.Pack(&space)
		if got := limiter.UnpackMark(space[:n]); got != mark || n != tt.want {
			t.Errorf("%s %v: %+v became %d bytes and then %+v, want %d bytes", tt.limit, tt.state, mark, n, got, tt.want)
		}
	}
}

// FuzzPackedMark: so does a mark that Redis brought.
func FuzzPackedMark(f *testing.F) {
	for _, text := range []string{"1", "1:2", "1:2m", "9s", "w1:2:3:4", "w99999999999:9999999999:0:1", "f1:2", "99999999999999999999"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		mark := limiter.ParseMark(text)
		if mark == (limiter.Mark{}) {
			return // full: nobody packs it
		}
		var space [limiter.MaxPackedMark]byte
		if got := limiter.UnpackMark(space[:mark.Pack(&space)]); got != mark {
			t.Errorf("%q is %+v, and then %+v", text, mark, got)
		}
	})
}
