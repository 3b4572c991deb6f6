package policy

import (
	"fmt"
	"strconv"
	"strings"
)

// rawPolicy is a policy or an override on its way. What was not given is nil.
type rawPolicy struct {
	place                         place
	match, name, inherit          *value
	plan, limits, unlimited, deny *value

	own      []Limit // what limits says
	onOutage *OnOutage
	mode     *Mode
	percent  *int

	allowance *Allowance // what plan, limits, unlimited and deny come to
	policy    *Policy    // once it is built
	failed    bool       // when it cannot be built, which was recorded
	open      bool       // while what it inherits from is built
}

// fields calls set with each field of v, which reports whether there is such a
// field. The names are all fields that there are.
func (d *document) fields(v *value, what, names string, set func(name string, v *value) bool) bool {
	if v.kind != kindFields {
		return d.fail(v.place, "%s must have fields (%s), and this is %s", what, names, v)
	}
	seen := make(map[string]int, len(v.fields))
	for _, f := range v.fields {
		switch first := seen[f.name.text]; {
		case first > 0:
			d.fail(f.name.place, "field %s is given twice, first on line %d", f.name, first)
		case !set(f.name.text, f.value):
			d.fail(f.name.place, "unknown field %s; %s has the fields %s", f.name, what, names)
		}
		seen[f.name.text] = f.name.place.line
	}
	return true
}

// scalar keeps a value in target, if it is text.
func (d *document) scalar(target **value, name string, v *value) bool {
	if v.kind != kindText {
		d.fail(v.place, "%s: must be a single value, and this is %s", name, v)
		return true
	}
	*target = v
	return true
}

const (
	policyFields   = "match, name, inherit, plan, limits, unlimited, deny, on_outage, mode, enforce_percent"
	overrideFields = "match, plan, limits, unlimited, deny"
	limitFields    = "rate, interval, burst, algorithm, calendar, zone, anchor_day, cost"
)

func (d *document) policy(v *value, c *compiler) *rawPolicy {
	r := &rawPolicy{place: v.place}
	ok := d.fields(v, "a policy", policyFields, func(name string, v *value) bool {
		switch name {
		case "name":
			return d.scalar(&r.name, name, v)
		case "inherit":
			return d.scalar(&r.inherit, name, v)
		case "on_outage":
			o := OnOutage(d.word(v, name, outages))
			r.onOutage = &o
			return true
		case "mode":
			m := Mode(d.word(v, name, modes))
			r.mode = &m
			return true
		case "enforce_percent":
			n, _ := d.number(v, name, 0, 100)
			percent := int(n)
			r.percent = &percent
			return true
		}
		return r.common(d, c, name, v)
	})
	if !ok {
		return nil
	}
	return r
}

func (d *document) override(v *value, c *compiler) *rawPolicy {
	r := &rawPolicy{place: v.place}
	ok := d.fields(v, "an override", overrideFields, func(name string, v *value) bool {
		return r.common(d, c, name, v)
	})
	if !ok {
		return nil
	}
	return r
}

// common sets the fields that policies and overrides have in common.
func (r *rawPolicy) common(d *document, c *compiler, name string, v *value) bool {
	switch name {
	case "match":
		return d.scalar(&r.match, name, v)
	case "plan":
		return d.scalar(&r.plan, name, v)
	case "unlimited":
		return d.scalar(&r.unlimited, name, v)
	case "deny":
		return d.scalar(&r.deny, name, v)
	case "limits":
		r.limits, r.own = v, d.limits(v, c)
		return true
	}
	return false
}

// limits reads one limit in its short form, or several with names.
func (d *document) limits(v *value, c *compiler) []Limit {
	const how = "limits: must be a limit such as 10/s burst 20, or names with a limit each"
	switch {
	case v.kind == kindText:
		if l, ok := c.short(d, "", v); ok {
			return []Limit{l}
		}
		return nil
	case v.kind != kindFields:
		d.fail(v.place, "%s, and this is %s", how, v)
		return nil
	case len(v.fields) == 0:
		d.fail(v.place, "%s, and there is none", how)
		return nil
	case len(v.fields) > MaxLimits:
		d.fail(v.fields[MaxLimits].name.place, "there are %d limits and may be at most %d, because they are all taken together", len(v.fields), MaxLimits)
		return nil
	}
	var all []Limit
	seen := make(map[string]int, len(v.fields))
	for _, f := range v.fields {
		name := f.name.text
		if (name == "rate" || name == "interval") && f.value.kind == kindText && !strings.Contains(f.value.text, "/") {
			d.fail(f.name.place, "a limit with fields needs a name, as in limits: {second: {rate: 10, interval: 1s}}")
			return nil
		}
		if seen[name] > 0 {
			d.fail(f.name.place, "limit %s is given twice, first on line %d", f.name, seen[name])
			continue
		}
		seen[name] = f.name.place.line
		l, ok := c.limit(d, f)
		if ok {
			all = append(all, l)
		}
	}
	return all
}

// flag reads true or false; nil is false.
func (d *document) flag(v *value, name string) bool {
	if v == nil {
		return false
	}
	if v.quoted || v.text != "true" && v.text != "false" {
		return d.fail(v.place, "%s: must be true or false, and this is %s", name, v)
	}
	return v.text == "true"
}

// word reads one of several words and returns its index.
func (d *document) word(v *value, name string, words []string) int {
	for i, w := range words {
		if v.kind == kindText && v.text == w {
			return i
		}
	}
	d.fail(v.place, "%s: must be %s or %s, and this is %s", name, strings.Join(words[:len(words)-1], ", "), words[len(words)-1], v)
	return 0
}

// number reads a whole number between least and most. It returns false for
// anything else.
func (d *document) number(v *value, name string, least, most int64) (int64, bool) {
	n, err := strconv.ParseInt(strings.ReplaceAll(v.text, "_", ""), 10, 64)
	if v.kind != kindText || v.quoted || err != nil || n < least || n > most || strings.Trim(v.text, "-0123456789_") != "" {
		hint := ""
		if _, err := strconv.ParseFloat(v.text, 64); err == nil && name == "rate" && strings.Contains(v.text, ".") {
			hint = "; for less than one per interval, make the interval longer"
		}
		return 0, d.fail(v.place, "%s: must be a whole number between %d and %d, and this is %s%s", name, least, most, v, hint)
	}
	return n, true
}

// checkName says why s cannot be the name of a policy or a plan. They have
// the letters of keys, so that requests can state them.
func checkName(s string) error {
	ok := s != "" && len(s) <= MaxNameLength
	for i := range len(s) {
		ok = ok && (plain(s[i]) || s[i] == '.')
	}
	if !ok {
		return fmt.Errorf("%.80q is no name, which is 1 to %d of A-Z a-z 0-9 _ : @ / + = ~ . and -", s, MaxNameLength)
	}
	return nil
}
