package limiter

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// ParseLimit reads a limit as a person writes it: a rate, a slash, an interval
// and, if it is not the rate, the burst:
//
//	10/s
//	10/s burst 100
//	1000/h
//	50000/day
//	5/1m30s
//
// The interval is as [ParseInterval] reads it. Numbers may be grouped with
// underscores. The error wraps ErrInvalidLimit and says what is wrong; a limit
// that parses may still not compile.
func ParseLimit(s string) (Limit, error) {
	fail := func(format string, args ...any) (Limit, error) {
		return Limit{}, fmt.Errorf("%w: %q: %s; write a limit as 10/s or 10/s burst 100", ErrInvalidLimit, s, fmt.Sprintf(format, args...))
	}
	words := strings.Fields(s)
	if len(words) != 1 && (len(words) != 3 || words[1] != "burst") {
		return fail("it is not a rate with or without a burst")
	}
	rate, interval, ok := strings.Cut(words[0], "/")
	if !ok {
		return fail("there is no slash between rate and interval")
	}
	var l Limit
	var err error
	if l.Rate, err = parseCount(rate); err != nil {
		return fail("rate %v", err)
	}
	if l.Interval, err = parseInterval(interval); err != nil {
		return fail("%v", err)
	}
	if len(words) == 3 {
		if l.Burst, err = parseCount(words[2]); err != nil {
			return fail("burst %v", err)
		}
	}
	return l, nil
}

func parseCount(s string) (int64, error) {
	digits := strings.ReplaceAll(s, "_", "")
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n < 1 || n > MaxCount || strings.HasPrefix(s, "+") || strings.HasPrefix(s, "_") || strings.HasSuffix(s, "_") {
		return 0, fmt.Errorf("%q is not a whole number between 1 and %d", s, int64(MaxCount))
	}
	return n, nil
}

// ParseInterval reads an interval: a unit (ms, s, m, h, or a day, d), the word
// second, minute, hour, day or week, or a Go duration, which may begin with a
// number of days, as in 30d. There is no month, which is not always as long:
// that takes an algorithm with a calendar. The error wraps ErrInvalidLimit.
func ParseInterval(s string) (time.Duration, error) {
	d, err := parseInterval(s)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", ErrInvalidLimit, err)
	}
	return d, nil
}

// words are what units are called in full.
var words = map[string]time.Duration{
	"second": time.Second, "minute": time.Minute, "hour": time.Hour, "day": 24 * time.Hour, "week": 7 * 24 * time.Hour,
}

func parseInterval(s string) (time.Duration, error) {
	for _, unit := range units {
		if s == unit.name {
			return unit.length, nil
		}
	}
	if d, ok := words[s]; ok {
		return d, nil
	}
	if s == "month" || s == "year" {
		return 0, fmt.Errorf("interval %q is not always as long; use 30d or 365d, or the algorithm fixed_window with a calendar", s)
	}
	wrong := fmt.Errorf("interval %q is neither a unit (ms, s, m, h, d), a word (second, minute, hour, day, week) nor a duration such as 1m30s", s)
	text := s
	var days int64
	if before, after, ok := strings.Cut(s, "d"); ok {
		n, err := strconv.ParseInt(before, 10, 64)
		if err != nil || !startsWithDigit(before) || n > int64(MaxInterval/(24*time.Hour)) {
			return 0, fmt.Errorf("interval %q does not begin with 1 to 366 days", s)
		}
		days, text = n, after
		if text == "" {
			text = "0s"
		}
	}
	// A sign, or .5s, would be read as something else than it looks like when
	// days stand before it.
	if !startsWithDigit(text) {
		return 0, wrong
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		return 0, wrong
	}
	d += time.Duration(days) * 24 * time.Hour
	if d < MinInterval || d > MaxInterval {
		return 0, fmt.Errorf("interval %q must be between %s and 366 days", s, MinInterval)
	}
	return d, nil
}

func startsWithDigit(s string) bool {
	return s != "" && s[0] >= '0' && s[0] <= '9'
}
