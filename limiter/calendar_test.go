package limiter

import (
	"errors"
	"testing"
	"time"
	_ "time/tzdata"
)

func TestCalendarWindows(t *testing.T) {
	for _, tt := range []struct {
		name             string
		calendar         Calendar
		at, start, until string // in the zone of the calendar; an offset tells hours that come twice apart
	}{
		{"minute", Calendar{Period: "minute"}, "2026-11-21T09:30:59Z", "2026-11-21T09:30:00Z", "2026-11-21T09:31:00Z"},
		{"hour", Calendar{Period: "hour"}, "2026-11-21T09:00:00Z", "2026-11-21T09:00:00Z", "2026-11-21T10:00:00Z"},
		{"an hour of a zone of half hours", Calendar{Period: "hour", Zone: "Asia/Kolkata"}, "2026-11-21T09:59:59+05:30", "2026-11-21T09:00:00+05:30", "2026-11-21T10:00:00+05:30"},
		{"day", Calendar{Period: "day"}, "2026-11-21T23:59:59Z", "2026-11-21T00:00:00Z", "2026-11-22T00:00:00Z"},
		{"day of a zone", Calendar{Period: "day", Zone: "Asia/Tokyo"}, "2026-11-21T00:00:00+09:00", "2026-11-21T00:00:00+09:00", "2026-11-22T00:00:00+09:00"},
		{"week from Monday", Calendar{Period: "week"}, "2026-11-22T12:00:00Z", "2026-11-16T00:00:00Z", "2026-11-23T00:00:00Z"},
		{"week on Monday", Calendar{Period: "week"}, "2026-11-23T00:00:00Z", "2026-11-23T00:00:00Z", "2026-11-30T00:00:00Z"},
		{"week over the new year", Calendar{Period: "week"}, "2027-01-01T00:00:00Z", "2026-12-28T00:00:00Z", "2027-01-04T00:00:00Z"},
		{"month", Calendar{Period: "month"}, "2026-11-21T00:00:00Z", "2026-11-01T00:00:00Z", "2026-12-01T00:00:00Z"},
		{"December", Calendar{Period: "month"}, "2026-12-31T23:59:59Z", "2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z"},
		{"month from the 15th", Calendar{Period: "month", AnchorDay: 15}, "2026-11-14T00:00:00Z", "2026-10-15T00:00:00Z", "2026-11-15T00:00:00Z"},
		{"month from the 15th, over the new year", Calendar{Period: "month", AnchorDay: 15}, "2027-01-14T00:00:00Z", "2026-12-15T00:00:00Z", "2027-01-15T00:00:00Z"},
		{"month from the 31st, in January", Calendar{Period: "month", AnchorDay: 31}, "2026-01-31T00:00:00Z", "2026-01-31T00:00:00Z", "2026-02-28T00:00:00Z"},
		{"month from the 31st, in February", Calendar{Period: "month", AnchorDay: 31}, "2026-02-28T00:00:00Z", "2026-02-28T00:00:00Z", "2026-03-31T00:00:00Z"},
		{"month from the 31st, in March", Calendar{Period: "month", AnchorDay: 31}, "2026-03-30T00:00:00Z", "2026-02-28T00:00:00Z", "2026-03-31T00:00:00Z"},
		{"month from the 31st, in a leap year", Calendar{Period: "month", AnchorDay: 31}, "2028-02-29T12:00:00Z", "2028-02-29T00:00:00Z", "2028-03-31T00:00:00Z"},
		{"month from the 30th, in April", Calendar{Period: "month", AnchorDay: 30}, "2026-04-30T00:00:00Z", "2026-04-30T00:00:00Z", "2026-05-30T00:00:00Z"},
		{"leap year", Calendar{Period: "year"}, "2028-02-29T00:00:00Z", "2028-01-01T00:00:00Z", "2029-01-01T00:00:00Z"},
		{"29 February is a day", Calendar{Period: "day"}, "2028-02-29T12:00:00Z", "2028-02-29T00:00:00Z", "2028-03-01T00:00:00Z"},

		// Clocks go forward: a day of 23 hours, an hour that is not there.
		{"spring day", Calendar{Period: "day", Zone: "Europe/Berlin"}, "2026-03-29T12:00:00+02:00", "2026-03-29T00:00:00+01:00", "2026-03-30T00:00:00+02:00"},
		{"hour before the gap", Calendar{Period: "hour", Zone: "Europe/Berlin"}, "2026-03-29T01:59:59+01:00", "2026-03-29T01:00:00+01:00", "2026-03-29T03:00:00+02:00"},
		{"spring month", Calendar{Period: "month", Zone: "America/New_York"}, "2026-03-08T12:00:00-04:00", "2026-03-01T00:00:00-05:00", "2026-04-01T00:00:00-04:00"},
		// Clocks go back: a day of 25 hours, an hour that comes twice.
		{"autumn day", Calendar{Period: "day", Zone: "Europe/Berlin"}, "2026-10-25T23:00:00+01:00", "2026-10-25T00:00:00+02:00", "2026-10-26T00:00:00+01:00"},
		{"the hour comes", Calendar{Period: "hour", Zone: "Europe/Berlin"}, "2026-10-25T02:30:00+02:00", "2026-10-25T02:00:00+02:00", "2026-10-25T02:00:00+01:00"},
		{"the hour comes again", Calendar{Period: "hour", Zone: "Europe/Berlin"}, "2026-10-25T02:30:00+01:00", "2026-10-25T02:00:00+01:00", "2026-10-25T03:00:00+01:00"},
		{"half an hour is repeated", Calendar{Period: "hour", Zone: "Australia/Lord_Howe"}, "2026-04-05T01:45:00+10:30", "2026-04-05T01:30:00+10:30", "2026-04-05T02:00:00+10:30"},
		// Clocks change at midnight.
		{"no midnight", Calendar{Period: "day", Zone: "America/Santiago"}, "2026-09-06T12:00:00-03:00", "2026-09-06T01:00:00-03:00", "2026-09-07T00:00:00-03:00"},
		{"the day before has no midnight at its end", Calendar{Period: "day", Zone: "America/Santiago"}, "2026-09-05T23:59:59-04:00", "2026-09-05T00:00:00-04:00", "2026-09-06T01:00:00-03:00"},
		{"two midnights", Calendar{Period: "day", Zone: "America/Havana"}, "2026-11-01T00:30:00-05:00", "2026-11-01T00:00:00-04:00", "2026-11-02T00:00:00-05:00"},
		{"23 o'clock comes twice", Calendar{Period: "day", Zone: "America/Santiago"}, "2026-04-04T23:30:00-04:00", "2026-04-04T00:00:00-03:00", "2026-04-05T00:00:00-04:00"},
		{"a day that was not", Calendar{Period: "day", Zone: "Pacific/Apia"}, "2011-12-29T12:00:00-10:00", "2011-12-29T00:00:00-10:00", "2011-12-31T00:00:00+14:00"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a, err := tt.calendar.compile()
			if err != nil {
				t.Fatal(err)
			}
			start, end := a.window(parseTime(t, tt.at))
			if !start.Equal(parseTime(t, tt.start)) || !end.Equal(parseTime(t, tt.until)) {
				t.Errorf("the window of %s is\n     %s to %s, want\n     %s to %s", tt.at,
					start.Format(time.RFC3339), end.Format(time.RFC3339), tt.start, tt.until)
			}
		})
	}
}

// TestCalendarWindowsPartitionTime walks through years of every calendar: each
// window begins where the last one ended, and every instant of it agrees.
func TestCalendarWindowsPartitionTime(t *testing.T) {
	for _, zone := range []string{"", "Europe/Berlin", "America/New_York", "America/Santiago", "America/Havana", "Australia/Lord_Howe", "Asia/Kolkata", "Asia/Beirut", "Africa/Cairo", "Pacific/Apia", "Antarctica/Troll", "Africa/Casablanca"} {
		for _, c := range []Calendar{{Period: "hour"}, {Period: "day"}, {Period: "week"}, {Period: "month"}, {Period: "month", AnchorDay: 31}, {Period: "month", AnchorDay: 29}, {Period: "year"}} {
			c.Zone = zone
			a, err := c.compile()
			if err != nil {
				t.Fatal(err)
			}
			at := time.Date(2011, 11, 1, 0, 0, 0, 0, time.UTC)
			start, end := a.window(at)
			for range 3000 {
				if at.Year() > 2027 {
					break // the rules of the zones end about here and repeat themselves
				}
				if !start.Before(end) || at.Before(start) || !at.Before(end) {
					t.Fatalf("%+v: the window of %s is %s to %s", c, at, start, end)
				}
				for _, inside := range []time.Time{start, start.Add(end.Sub(start) / 3), end.Add(-1)} {
					if s, e := a.window(inside); !s.Equal(start) || !e.Equal(end) {
						t.Fatalf("%+v: %s is in %s to %s, but also in %s to %s", c, inside, start, end, s, e)
					}
				}
				at = end
				next, nextEnd := a.window(at)
				if !next.Equal(end) {
					t.Fatalf("%+v: after %s to %s comes %s to %s", c, start, end, next, nextEnd)
				}
				start, end = next, nextEnd
			}
		}
	}
}

func TestCalendarInvalid(t *testing.T) {
	for _, c := range []Calendar{{}, {Period: "fortnight"}, {Period: "day", Zone: "Mars/Olympus"}, {Period: "day", Zone: "Local"}, {Period: "day", Zone: "../etc/passwd"}, {Period: "month", AnchorDay: 32}, {Period: "month", AnchorDay: -1}, {Period: "day", AnchorDay: 3}} {
		if _, err := c.compile(); !errors.Is(err, ErrInvalidLimit) {
			t.Errorf("%+v: got %v, want ErrInvalidLimit", c, err)
		}
	}
}

func parseTime(t *testing.T, s string) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339, s)
	if err != nil {
		t.Fatal(err)
	}
	return at
}
