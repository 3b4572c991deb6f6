package policy

import (
	"errors"
	"strings"

	"github.com/quotaworker/ratelimit/limiter"
)

// compiler turns what a document says about limits into rules. A limit that is
// stated many times is compiled once.
type compiler struct {
	rules map[limiter.Limit]*limiter.Rule
}

// limit reads a limit with a name, in its short or its long form.
func (c *compiler) limit(d *document, f field) (Limit, bool) {
	if f.name.kind != kindText || f.name.text == "" {
		return Limit{}, d.fail(f.name.place, "a limit must have a name, and this is %s", f.name)
	}
	switch f.value.kind {
	case kindText:
		return c.short(d, f.name.text, f.value)
	case kindFields:
		return c.long(d, f.name.text, f.value)
	}
	return Limit{}, d.fail(f.value.place, "limit %s must be written as 10/s burst 20, or have fields (%s), and this is %s", f.name, limitFields, f.value)
}

func (c *compiler) short(d *document, name string, v *value) (Limit, bool) {
	limit, err := limiter.ParseLimit(v.text)
	if err != nil {
		return Limit{}, d.fail(v.place, "%s", complaint(err))
	}
	limit.Name = name
	rule, err := c.compile(limit)
	if err != nil {
		return Limit{}, d.fail(v.place, "%s", complaint(err))
	}
	return Limit{Rule: rule, Cost: 1}, true
}

func (c *compiler) long(d *document, name string, v *value) (Limit, bool) {
	limit := limiter.Limit{Name: name}
	cost, anchor := int64(1), int64(0)
	places := map[string]place{}
	ok := true
	number := func(target *int64, field string, v *value, most int64) bool {
		n, fine := d.number(v, field, 1, most)
		*target, ok = n, ok && fine
		return true
	}
	word := func(target *string, field string, v *value) bool {
		if v.kind != kindText || v.text == "" {
			ok = d.fail(v.place, "%s: must be a word, and this is %s", field, v)
		}
		*target = v.text
		return true
	}
	before := len(d.errs)
	d.fields(v, "a limit", limitFields, func(field string, v *value) bool {
		places[field] = v.place
		switch field {
		case "rate":
			return number(&limit.Rate, field, v, limiter.MaxCount)
		case "burst":
			return number(&limit.Burst, field, v, limiter.MaxCount)
		case "cost":
			return number(&cost, field, v, limiter.MaxCount)
		case "anchor_day":
			return number(&anchor, field, v, 31)
		case "algorithm":
			return word(&limit.Algorithm, field, v)
		case "calendar":
			return word(&limit.Calendar.Period, field, v)
		case "zone":
			return word(&limit.Calendar.Zone, field, v)
		case "interval":
			var err error
			if limit.Interval, err = limiter.ParseInterval(v.text); err != nil || v.kind != kindText {
				ok = d.fail(v.place, "%s", complaint(err))
			}
			return true
		}
		return false
	})
	if !ok || len(d.errs) > before || d.full() {
		return Limit{}, false
	}
	limit.Calendar.AnchorDay = int(anchor)
	for _, missing := range []struct {
		is   bool
		what string
	}{
		{limit.Rate == 0, "a rate: how many per interval"},
		{limit.Interval == 0 && limit.Calendar == limiter.Calendar{}, "an interval such as 1s, 1m, day or 30d, or a calendar"},
		{limit.Calendar.Period == "" && limit.Calendar != limiter.Calendar{}, "a calendar, which a zone or an anchor_day is for: minute, hour, day, week, month or year"},
	} {
		if missing.is {
			return Limit{}, d.fail(v.place, "limit %q needs %s", name, missing.what)
		}
	}
	rule, err := c.compile(limit)
	if err != nil {
		return Limit{}, d.fail(blame(v.place, places, err), "%s", complaint(err))
	}
	if burst := rule.Limit().Burst; cost > burst {
		return Limit{}, d.fail(places["cost"], "cost: %d is more than the burst of %d, so that no check would ever pass; lower the cost or raise the burst", cost, burst)
	}
	return Limit{Rule: rule, Cost: cost}, true
}

func (c *compiler) compile(limit limiter.Limit) (*limiter.Rule, error) {
	if rule := c.rules[limit]; rule != nil {
		return rule, nil
	}
	rule, err := limit.Compile()
	if err == nil {
		c.rules[limit] = rule
	}
	return rule, err
}

// complaint returns the message of an error of the limiter without what goes
// without saying here.
func complaint(err error) string {
	if err == nil {
		return "interval: must be written as 1s, 1m, day or 30d"
	}
	s := err.Error()
	for _, kind := range []error{limiter.ErrInvalidLimit, limiter.ErrNotRepresentable} {
		if errors.Is(err, kind) {
			s = strings.TrimPrefix(s, kind.Error()+": ")
		}
	}
	return s
}

// blame returns the place of the field that the error of a whole limit is
// about, as far as its words tell.
func blame(whole place, places map[string]place, err error) place {
	s := complaint(err)
	for _, about := range []struct{ field, words string }{
		{"calendar", " follows no calendar"},
		{"zone", "there is no time zone "},
		{"anchor_day", "an anchor day "},
		{"rate", "rate "}, {"interval", "interval "}, {"burst", "burst "}, {"algorithm", "algorithm "}, {"calendar", "calendar "},
	} {
		at := strings.Index(s, about.words)
		if p, given := places[about.field]; given && (at == 0 || at > 0 && about.words[0] == ' ') {
			return p
		}
	}
	return whole
}
