package limiter_test

import (
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/quotaworker/ratelimit/limiter"
)

func TestCompileBounds(t *testing.T) {
	good := limiter.Limit{Name: "a", Rate: 10, Interval: time.Second, Burst: 20}
	for _, tt := range []struct {
		name   string
		change func(*limiter.Limit)
		want   error
		says   string // a part of the message
	}{
		{"good", func(l *limiter.Limit) {}, nil, ""},
		{"no name", func(l *limiter.Limit) { l.Name = "" }, nil, ""},
		{"longest name", func(l *limiter.Limit) { l.Name = strings.Repeat("a", 64) }, nil, ""},
		{"all letters", func(l *limiter.Limit) { l.Name = "azAZ09_-" }, nil, ""},
		{"name too long", func(l *limiter.Limit) { l.Name = strings.Repeat("a", 65) }, limiter.ErrInvalidLimit, "name"},
		{"name with a colon", func(l *limiter.Limit) { l.Name = "a:b" }, limiter.ErrInvalidLimit, "name"},
		{"name with a brace", func(l *limiter.Limit) { l.Name = "}" }, limiter.ErrInvalidLimit, "name"},
		{"name with a space", func(l *limiter.Limit) { l.Name = "a b" }, limiter.ErrInvalidLimit, "name"},
		{"name past ASCII", func(l *limiter.Limit) { l.Name = "\u00e9" }, limiter.ErrInvalidLimit, "name"},
		{"rate 0", func(l *limiter.Limit) { l.Rate = 0 }, limiter.ErrInvalidLimit, "rate 0"},
		{"rate -1", func(l *limiter.Limit) { l.Rate = -1 }, limiter.ErrInvalidLimit, "rate -1"},
		{"rate 2^53", func(l *limiter.Limit) { l.Rate = 1 << 53; l.Burst = 1 }, nil, ""},
		{"rate past 2^53", func(l *limiter.Limit) { l.Rate = 1<<53 + 1 }, limiter.ErrInvalidLimit, "rate"},
		{"rate 2^63-1", func(l *limiter.Limit) { l.Rate = math.MaxInt64 }, limiter.ErrInvalidLimit, "rate"},
		{"burst 0 means rate", func(l *limiter.Limit) { l.Burst = 0 }, nil, ""},
		{"burst -1", func(l *limiter.Limit) { l.Burst = -1 }, limiter.ErrInvalidLimit, "burst -1"},
		{"burst past 2^53", func(l *limiter.Limit) { l.Burst = 1<<53 + 1 }, limiter.ErrInvalidLimit, "burst"},
		{"burst -2^63", func(l *limiter.Limit) { l.Burst = math.MinInt64 }, limiter.ErrInvalidLimit, "burst"},
		{"interval 0", func(l *limiter.Limit) { l.Interval = 0 }, limiter.ErrInvalidLimit, "interval"},
		{"negative interval", func(l *limiter.Limit) { l.Interval = -time.Second }, limiter.ErrInvalidLimit, "interval"},
		{"shortest interval", func(l *limiter.Limit) { l.Interval = time.Millisecond }, nil, ""},
		{"shorter interval", func(l *limiter.Limit) { l.Interval = 999 * time.Microsecond }, limiter.ErrInvalidLimit, "interval"},
		{"longest interval", func(l *limiter.Limit) { l.Interval = 366 * day }, nil, ""},
		{"longer interval", func(l *limiter.Limit) { l.Interval = 366*day + time.Microsecond }, limiter.ErrInvalidLimit, "interval"},
		{"interval with nanoseconds", func(l *limiter.Limit) { l.Interval = time.Second + 1 }, limiter.ErrInvalidLimit, "microseconds"},
		{"capacity past 2^53 seconds", func(l *limiter.Limit) { l.Rate, l.Interval, l.Burst = 7, limiter.MaxInterval, 1<<53 }, limiter.ErrNotRepresentable, "smaller burst"},
	} {
		l := good
		tt.change(&l)
		r, err := l.Compile()
		switch {
		case !errors.Is(err, tt.want):
			t.Errorf("%s: error %v, want %v", tt.name, err, tt.want)
		case err != nil && (r != nil || !strings.Contains(err.Error(), tt.says)):
			t.Errorf("%s: rule %v and error %q, want none and one that says %q", tt.name, r, err, tt.says)
		}
	}
}

func TestCompileFillsInDefaults(t *testing.T) {
	r, err := limiter.Limit{Rate: 10, Interval: time.Second}.Compile()
	if err != nil {
		t.Fatal(err)
	}
	if got, want := r.Limit(), (limiter.Limit{Name: "default", Rate: 10, Interval: time.Second, Burst: 10, Algorithm: limiter.TokenBucket}); got != want || r.Name() != "default" {
		t.Errorf("got %+v named %q, want %+v", got, r.Name(), want)
	}
}

// TestUnits pins the integers, because buckets outlive the process that made
// them: if they changed, a new version would misread the state of an old one.
func TestUnits(t *testing.T) {
	for _, tt := range []struct {
		text                          string
		token, refill, capacity, tick int64
	}{
		{"1/s", 1_000_000, 1, 1_000_000, 1},
		{"10/s burst 100", 100_000, 1, 10_000_000, 1},
		{"3/s", 1_000_000, 3, 3_000_000, 1},
		{"7/m burst 3", 60_000_000, 7, 180_000_000, 1},
		{"1000000000/s burst 1", 1, 1000, 1, 1},
		{"1/ms", 1000, 1, 1000, 1},
		{"1/366d burst 142", 31_622_400_000_000, 1, 142 * 31_622_400_000_000, 1},
		// 2^52 us are 142.4 leap years; past that it is milliseconds,
		{"1/366d burst 143", 31_622_400_000, 1, 143 * 31_622_400_000, 1000},
		// and past that it is seconds.
		{"1000003/d burst 1000000000", 86_400, 1_000_003, 1_000_000_000 * 86_400, 1_000_000},
	} {
		l, err := limiter.ParseLimit(tt.text)
		if err != nil {
			t.Fatal(err)
		}
		r, err := l.Compile()
		if err != nil {
			t.Errorf("%s: %v", tt.text, err)
			continue
		}
		if token, refill, capacity, tick := r.Units(); token != tt.token || refill != tt.refill || capacity != tt.capacity || tick != tt.tick {
			t.Errorf("%s: units %d %d %d %d, want %d %d %d %d", tt.text, token, refill, capacity, tick, tt.token, tt.refill, tt.capacity, tt.tick)
		}
	}
}

// TestSlidingUnits: of a sliding window two windows are added up, and neither a
// count nor the interval is rounded.
func TestSlidingUnits(t *testing.T) {
	for _, tt := range []struct {
		rate     int64
		interval time.Duration
		tick     int64 // 0: not representable
	}{
		{10, time.Second, 1},
		{1 << 52 / 1_000_000, time.Second, 1},
		{1<<52/1_000_000 + 1, time.Second, 1000},
		{1 << 52 / 1000, time.Second, 1000},
		{1<<52/1000 + 1, time.Second, 1_000_000},
		{1 << 52, time.Second, 1_000_000},
		{1<<52 + 1, time.Second, 0},
		{1 << 33, 1000500 * time.Microsecond, 0}, // not in whole milliseconds
		{1 << 43, 1001 * time.Millisecond, 0},    // nor seconds
	} {
		l := limiter.Limit{Algorithm: limiter.SlidingWindow, Rate: tt.rate, Interval: tt.interval}
		r, err := l.Compile()
		if tt.tick == 0 {
			if !errors.Is(err, limiter.ErrNotRepresentable) {
				t.Errorf("%s: error %v, want ErrNotRepresentable", l, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", l, err)
			continue
		}
		if got, want := r.Args(time.Now()), []int64{tt.rate, tt.interval.Microseconds() / tt.tick, tt.tick}; !slices.Equal(got, want) {
			t.Errorf("%s: %d, want %d", l, got, want)
		}
	}
}

// TestUnitsAreExact holds for every limit that compiles: the integers say the
// same as the limit, and stay where doubles are exact.
func TestUnitsAreExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := drawLimit(t)
		r, err := l.Compile()
		if err != nil {
			if !errors.Is(err, limiter.ErrNotRepresentable) {
				t.Fatalf("%s: %v", l, err)
			}
			return
		}
		l = r.Limit()
		token, refill, capacity, tick := r.Units()
		if tick != 1 && tick != 1000 && tick != 1_000_000 {
			t.Fatalf("%s: tick %d", l, tick)
		}
		for name, n := range map[string]int64{"token": token, "refill": refill, "capacity": capacity} {
			if n < 1 || n > 1<<53 {
				t.Fatalf("%s: %s is %d", l, name, n)
			}
		}
		if capacity/token != l.Burst || capacity%token != 0 {
			t.Fatalf("%s: capacity %d is not %d tokens of %d", l, capacity, l.Burst, token)
		}
		if capacity/refill >= 1<<52 {
			t.Fatalf("%s: full only in %d ticks", l, capacity/refill)
		}
		// refill/token == rate*tick/interval
		if got, want := big2(refill, l.Interval.Microseconds()), big2(l.Rate, tick, token); got.Cmp(want) != 0 {
			t.Fatalf("%s: a tick of %d us brings %d/%d tokens", l, tick, refill, token)
		}
	})
}
