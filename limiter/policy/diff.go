package policy

import (
	"fmt"
	"strings"
)

// Change is one difference between two sets.
type Change struct {
	// Kind is Added, Removed or Changed.
	Kind ChangeKind

	// What names what is different: "policy user.*", "plan free" or
	// "override user.42".
	What string

	// Details are what it says, or, if Changed, each field that differs:
	// "limit second: 10/s -> 20/s".
	Details []string
}

// ChangeKind is how two sets differ in something.
type ChangeKind string

// Kinds of changes.
const (
	Added   ChangeKind = "added"
	Removed ChangeKind = "removed"
	Changed ChangeKind = "changed"
)

// String writes the change on a line, and its details on lines of their own.
func (c Change) String() string {
	mark := map[ChangeKind]string{Added: "+", Removed: "-", Changed: "~"}[c.Kind]
	return fmt.Sprintf("%s %s", mark, strings.Join(append([]string{c.What}, c.Details...), "\n    "))
}

// Diff returns how one set becomes another: plans, policies and overrides, each
// in the order of the document. What was removed comes last of its kind. A policy is the same if it has the same name, whatever its place in
// the document, and nil stands for a set without policies.
func Diff(from, to *Set) []Change {
	if from == nil {
		from = new(Set)
	}
	if to == nil {
		to = new(Set)
	}
	changes := diff(nil, "plan", from.plans, to.plans, func(p *Plan) string { return p.Name }, func(p *Plan) []detail {
		return limitDetails(p.Limits)
	})
	changes = diff(changes, "policy", from.policies, to.policies, func(p *Policy) string { return p.Name }, (*Policy).details)
	return diff(changes, "override", from.overrides, to.overrides, func(o *Override) string { return o.Pattern }, func(o *Override) []detail {
		return o.Allowance.details()
	})
}

// detail is a field and what it says.
type detail struct{ field, says string }

func diff[T any](changes []Change, what string, from, to []*T, name func(*T) string, details func(*T) []detail) []Change {
	before := make(map[string]*T, len(from))
	for _, x := range from {
		before[name(x)] = x
	}
	for _, x := range to {
		n := what + " " + name(x)
		was, ok := before[name(x)]
		if !ok {
			changes = append(changes, Change{Added, n, lines(details(x))})
			continue
		}
		delete(before, name(x))
		if d := compare(details(was), details(x)); len(d) > 0 {
			changes = append(changes, Change{Changed, n, d})
		}
	}
	for _, x := range from {
		if _, gone := before[name(x)]; gone {
			changes = append(changes, Change{Removed, what + " " + name(x), lines(details(x))})
		}
	}
	return changes
}

func lines(details []detail) []string {
	var all []string
	for _, d := range details {
		all = append(all, d.field+": "+d.says)
	}
	return all
}

func compare(from, to []detail) []string {
	var all []string
	before := make(map[string]string, len(from))
	for _, d := range from {
		before[d.field] = d.says
	}
	for _, d := range to {
		was, ok := before[d.field]
		delete(before, d.field)
		switch {
		case !ok:
			all = append(all, fmt.Sprintf("%s: %s (new)", d.field, d.says))
		case was != d.says:
			all = append(all, fmt.Sprintf("%s: %s -> %s", d.field, was, d.says))
		}
	}
	for _, d := range from {
		if _, gone := before[d.field]; gone {
			all = append(all, fmt.Sprintf("%s: %s (removed)", d.field, d.says))
		}
	}
	return all
}

func limitDetails(limits []Limit) []detail {
	var all []detail
	for _, l := range limits {
		all = append(all, detail{"limit " + l.Rule.Name(), l.terms()})
	}
	return all
}

// details of an allowance leave out the limits of a plan, whose changes are
// those of the plan.
func (a *Allowance) details() []detail {
	switch {
	case a.Plan != "":
		return []detail{{"plan", a.Plan}}
	case a.Unlimited:
		return []detail{{"unlimited", "true"}}
	case a.Deny:
		return []detail{{"deny", "true"}}
	}
	return limitDetails(a.Limits)
}

func (p *Policy) details() []detail {
	var all []detail
	if p.Pattern != p.Name {
		all = append(all, detail{"match", p.Pattern})
	}
	all = append(all, p.Allowance.details()...)
	all = append(all, detail{"on_outage", p.OnOutage.String()}, detail{"mode", p.Mode.String()})
	if p.EnforcePercent != 100 {
		all = append(all, detail{"enforce_percent", fmt.Sprint(p.EnforcePercent)})
	}
	return all
}
