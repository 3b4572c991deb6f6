package limiter_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/quotaworker/ratelimit/limiter"
)

const day = 24 * time.Hour

func TestParseLimit(t *testing.T) {
	for _, tt := range []struct {
		text     string
		rate     int64
		interval time.Duration
		burst    int64
	}{
		{"10/s", 10, time.Second, 0},
		{"10/ms", 10, time.Millisecond, 0},
		{"1000/h", 1000, time.Hour, 0},
		{"1/m", 1, time.Minute, 0},
		{"1/d", 1, day, 0},
		{"10/second", 10, time.Second, 0},
		{"10/minute burst 5", 10, time.Minute, 5},
		{"10/hour", 10, time.Hour, 0},
		{"50000/day", 50000, day, 0},
		{"1/week", 1, 7 * day, 0},
		{"10/s burst 100", 10, time.Second, 100},
		{"  10/s   burst\t100 ", 10, time.Second, 100},
		{"5/1m30s", 5, 90 * time.Second, 0},
		{"5/0.5s", 5, 500 * time.Millisecond, 0},
		{"5/1500us", 5, 1500 * time.Microsecond, 0},
		{"5/30d", 5, 30 * day, 0},
		{"5/1d12h", 5, 36 * time.Hour, 0},
		{"5/0d1s", 5, time.Second, 0},
		{"5/366d", 5, limiter.MaxInterval, 0},
		{"5/8784h0m0s", 5, limiter.MaxInterval, 0},
		{"1_000_000/d burst 1_0", 1_000_000, day, 10},
		{"9007199254740992/s", limiter.MaxCount, time.Second, 0},
		{"007/s", 7, time.Second, 0},
	} {
		got, err := limiter.ParseLimit(tt.text)
		want := limiter.Limit{Rate: tt.rate, Interval: tt.interval, Burst: tt.burst}
		if err != nil || got != want {
			t.Errorf("ParseLimit(%q) = %+v, %v; want %+v", tt.text, got, err, want)
		}
	}
}

func TestParseLimitRefuses(t *testing.T) {
	for _, text := range []string{
		"", " ", "10", "/", "/s", "10/", "10 /s", "10/ s", "s/10", "10/s/s",
		"10/s burst", "10/s burst 0", "10/s burst -1", "10/s burst x", "10/s bursts 5", "10/s 5 burst", "10/s burst 5 5", "burst 5 10/s",
		"0/s", "-1/s", "+1/s", "1.5/s", "1e3/s", "0x10/s", "_1/s", "1_/s", "_/s", " /s", "NaN/s", "Inf/s", "１/s",
		"9007199254740993/s", "99999999999999999999/s", "10/s burst 9007199254740993",
		"10/0s", "10/0", "10/-5s", "10/+5s", "10/.5s", "10/h30m", "10/999us", "10/us", "10/ns", "10/year", "10/month", "10/Day", "10/days", "10/1week", "10/2day", "10/S", "10/5",
		"10/367d", "10/366d1us", "10/-1d", "10/1.5d", "10/d12h", "10/1d-5s", "10/1d+5s", "10/1d.5s", "10/1d1d", "10/1h1d", "10/99999999999999999999d",
		"10/8784h0m0.000001s", "10/2562047h47m16s", "10/366d2562047h", "10/s\x00", strings.Repeat("9", 1<<16) + "/s",
	} {
		got, err := limiter.ParseLimit(text)
		if !errors.Is(err, limiter.ErrInvalidLimit) {
			t.Errorf("ParseLimit(%.40q) = %+v, %v; want an error that wraps ErrInvalidLimit", text, got, err)
		}
		if got != (limiter.Limit{}) {
			t.Errorf("ParseLimit(%.40q) returned %+v together with an error", text, got)
		}
	}
}

func TestParseInterval(t *testing.T) {
	for text, want := range map[string]time.Duration{"s": time.Second, "week": 7 * day, "30d": 30 * day, "1m30s": 90 * time.Second} {
		if got, err := limiter.ParseInterval(text); got != want || err != nil {
			t.Errorf("ParseInterval(%q) = %v, %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "0s", "60", "-1s", "999us", "367d", "month", "year", "1s "} {
		if got, err := limiter.ParseInterval(text); got != 0 || !errors.Is(err, limiter.ErrInvalidLimit) {
			t.Errorf("ParseInterval(%q) = %v, %v; want an error that wraps ErrInvalidLimit", text, got, err)
		}
	}
	// Whoever writes a month should hear what to write instead.
	if _, err := limiter.ParseLimit("10/month"); err == nil || !strings.Contains(err.Error(), "calendar") {
		t.Errorf("ParseLimit(10/month): %v, want a word about the calendar", err)
	}
}

func TestLimitString(t *testing.T) {
	for _, tt := range []struct {
		limit limiter.Limit
		want  string
	}{
		{limiter.Limit{Rate: 10, Interval: time.Second}, "10/s"},
		{limiter.Limit{Rate: 10, Interval: time.Second, Burst: 10}, "10/s"},
		{limiter.Limit{Rate: 10, Interval: time.Second, Burst: 100}, "10/s burst 100"},
		{limiter.Limit{Name: "quota", Rate: 1, Interval: day}, "1/d"},
		{limiter.Limit{Rate: 5, Interval: 90 * time.Second, Burst: 1}, "5/1m30s burst 1"},
	} {
		if got := tt.limit.String(); got != tt.want {
			t.Errorf("%+v.String() = %q, want %q", tt.limit, got, tt.want)
		}
	}
}

// drawLimit draws a limit whose fields are in bounds.
func drawLimit(t *rapid.T) limiter.Limit {
	count := rapid.OneOf(rapid.Int64Range(1, 20), rapid.Int64Range(1, 1e6), rapid.Int64Range(1, limiter.MaxCount))
	return limiter.Limit{
		Rate: count.Draw(t, "rate"),
		Interval: rapid.OneOf(
			rapid.SampledFrom([]time.Duration{limiter.MinInterval, time.Second, time.Minute, time.Hour, day, 30 * day, limiter.MaxInterval}),
			rapid.Map(rapid.Int64Range(1000, limiter.MaxInterval.Microseconds()), func(us int64) time.Duration { return time.Duration(us) * time.Microsecond }),
		).Draw(t, "interval"),
		Burst: rapid.OneOf(rapid.Just(int64(0)), count).Draw(t, "burst"),
	}
}

// drawRule draws a limit that compiles.
func drawRule(t *rapid.T) *limiter.Rule {
	for {
		if r, err := drawLimit(t).Compile(); err == nil {
			return r
		}
	}
}

func TestParseLimitReadsWhatStringWrites(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := drawLimit(t)
		got, err := limiter.ParseLimit(want.String())
		if want.Burst == want.Rate {
			want.Burst = 0 // which means the same
		}
		if err != nil || got != want {
			t.Fatalf("ParseLimit(%q) = %+v, %v; want %+v", want.String(), got, err, want)
		}
	})
}

func FuzzParseLimit(f *testing.F) {
	for _, s := range []string{"10/s", "10/s burst 100", "5/1m30s", "5/1d12h", "1_0/30d", "10/.5s", "10/1d-5s", "/", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		l, err := limiter.ParseLimit(s)
		if err != nil {
			if !errors.Is(err, limiter.ErrInvalidLimit) {
				t.Fatalf("%q: error %v does not wrap ErrInvalidLimit", s, err)
			}
			return
		}
		if l.Rate < 1 || l.Rate > limiter.MaxCount || l.Burst < 0 || l.Burst > limiter.MaxCount || l.Interval < limiter.MinInterval || l.Interval > limiter.MaxInterval {
			t.Fatalf("%q: out of bounds: %+v", s, l)
		}
		again, err := limiter.ParseLimit(l.String())
		if l.Burst == l.Rate {
			l.Burst = 0
		}
		if err != nil || again != l {
			t.Fatalf("%q: %q reads as %+v, %v; want %+v", s, l.String(), again, err, l)
		}
		if _, err := l.Compile(); err != nil && !errors.Is(err, limiter.ErrInvalidLimit) && !errors.Is(err, limiter.ErrNotRepresentable) {
			t.Fatalf("%q: Compile: %v", s, err)
		}
	})
}
