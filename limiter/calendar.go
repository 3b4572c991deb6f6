package limiter

import (
	"fmt"
	"time"
)

// Calendar is a window that begins and ends where a calendar has it, rather
// than being so and so long. The zero value means none.
type Calendar struct {
	// Period is minute, hour, day, week, month or year. A week begins on
	// Monday.
	Period string

	// Zone is an IANA time zone such as Europe/Berlin. Empty means UTC.
	Zone string

	// AnchorDay is the day of the month, 1 to 31, on which a month begins,
	// for billing; in a shorter month it is the last day. 0 means 1.
	AnchorDay int
}

// Periods of a calendar.
const (
	minutely = "minute"
	hourly   = "hour"
	daily    = "day"
	weekly   = "week"
	monthly  = "month"
	yearly   = "year"
)

// almanac is a compiled Calendar. Its windows follow each other without gaps
// or overlaps, whatever the zone does to its clocks: an hour that is set back
// is two windows, and a day may have 23 or 25 hours.
type almanac struct {
	period string
	zone   *time.Location
	anchor int
}

// compile checks the calendar.
func (c Calendar) compile() (almanac, error) {
	a := almanac{period: c.Period, anchor: c.AnchorDay}
	switch c.Period {
	case minutely, hourly, daily, weekly, monthly, yearly:
	default:
		return a, fmt.Errorf("%w: calendar period %q must be minute, hour, day, week, month or year", ErrInvalidLimit, c.Period)
	}
	var err error
	if a.zone, err = time.LoadLocation(c.Zone); err != nil || c.Zone == "Local" {
		return a, fmt.Errorf("%w: there is no time zone %q; use an IANA name such as Europe/Berlin, or none for UTC", ErrInvalidLimit, c.Zone)
	}
	switch {
	case c.AnchorDay < 0 || c.AnchorDay > 31:
		return a, fmt.Errorf("%w: anchor day %d must be between 1 and 31", ErrInvalidLimit, c.AnchorDay)
	case c.AnchorDay != 0 && c.Period != monthly:
		return a, fmt.Errorf("%w: an anchor day goes with the period month, not with %s", ErrInvalidLimit, c.Period)
	}
	a.anchor = max(1, a.anchor)
	return a, nil
}

// window returns the window that t is in: from start, and before end.
func (a almanac) window(t time.Time) (start, end time.Time) {
	t = t.In(a.zone)
	switch a.period {
	case minutely:
		return aligned(t, time.Minute)
	case hourly:
		return aligned(t, time.Hour)
	}
	// The local date tells the window, except around a clock that is set back
	// over midnight: there a date comes twice, and its window began with the
	// first.
	start, end = a.from(t, 0), a.from(t, 1)
	for !t.Before(end) {
		start, end = end, a.from(end, 1)
	}
	for t.Before(start) {
		start, end = a.from(start, -1), start
	}
	return start, end
}

// from returns the beginning of the window with the local date of t, or of the
// one that is so many windows later.
func (a almanac) from(t time.Time, later int) time.Time {
	year, month, day := t.Date()
	switch a.period {
	case daily:
		return firstInstant(year, month, day+later, a.zone)
	case weekly:
		sinceMonday := (int(t.Weekday()) + 6) % 7
		return firstInstant(year, month, day-sinceMonday+7*later, a.zone)
	case monthly:
		if day < anchored(year, month, a.anchor) {
			later-- // the window began last month
		}
		first := time.Date(year, month+time.Month(later), 1, 0, 0, 0, 0, time.UTC) // for the carry
		year, month = first.Year(), first.Month()
		return firstInstant(year, month, anchored(year, month, a.anchor), a.zone)
	}
	return firstInstant(year+later, time.January, 1, a.zone)
}

// anchored returns the day of a month on which its window begins.
func anchored(year int, month time.Month, day int) int {
	last := time.Date(year, month+1, 0, 0, 0, 0, 0, time.UTC).Day()
	return min(day, last)
}

// firstInstant returns when a date begins in a zone. That need not be
// midnight, which clocks may skip, and midnight may come twice.
func firstInstant(year int, month time.Month, day int, zone *time.Location) time.Time {
	utc := time.Date(year, month, day, 0, 0, 0, 0, time.UTC)
	// No clock is a day and a half away from UTC, so the date begins after
	// this and, going from one change of the clocks to the next, is found.
	t := utc.Add(-36 * time.Hour).In(zone)
	for {
		_, offset := t.Zone()
		_, change := t.ZoneBounds()
		midnight := utc.Add(-time.Duration(offset) * time.Second).In(zone)
		if midnight.Before(t) {
			return t // the change skipped midnight
		}
		if change.IsZero() || midnight.Before(change) {
			return midnight
		}
		t = change
	}
}

// aligned returns the window of that length which begins on the hour, or the
// minute, of the local clock. A change of the clock ends a window.
func aligned(t time.Time, length time.Duration) (start, end time.Time) {
	_, offset := t.Zone()
	shift := time.Duration(offset) * time.Second
	start = t.Add(shift).Truncate(length).Add(-shift)
	end = start.Add(length)
	from, to := t.ZoneBounds()
	if start.Before(from) {
		start = from
	}
	if !to.IsZero() && to.Before(end) {
		end = to
	}
	return start, end
}
