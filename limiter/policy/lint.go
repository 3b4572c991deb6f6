package policy

import (
	"cmp"
	"fmt"
	"math/bits"
	"slices"
	"strings"
	"time"

	"github.com/quotaworker/ratelimit/limiter"
)

// Warning is something in a set that works, but hardly as it was meant.
type Warning struct {
	// Line is the line of the document, 0 if it is about several.
	Line int

	// Message says what to look at, and why.
	Message string
}

// String writes the warning on one line.
func (w Warning) String() string {
	if w.Line == 0 {
		return w.Message
	}
	return fmt.Sprintf("line %d: %s", w.Line, w.Message)
}

// Lint returns what in a set is probably a mistake: patterns and overrides
// that never apply, limits that can never bind, plans that nobody has, and,
// for a Redis Cluster in which the first hashTagTokens tokens of a key choose
// its slot, keys that cannot be taken together and keys that all share a slot.
// With hashTagTokens 0 it does not look at slots.
func Lint(s *Set, hashTagTokens int) []Warning {
	l := linter{set: s}
	for _, p := range s.plans {
		if !p.used {
			l.warn(p.place, "nobody has the plan %q; leave it out, or name it in a policy or an override", p.Name)
		}
		l.idleLimits(p.place, p.Limits)
	}
	for _, p := range s.policies {
		l.policy(p)
	}
	for _, o := range s.overrides {
		l.override(o)
	}
	if hashTagTokens > 0 {
		l.slots(hashTagTokens)
	}
	slices.SortStableFunc(l.warnings, func(a, b Warning) int { return cmp.Compare(a.Line, b.Line) })
	return l.warnings
}

type linter struct {
	set      *Set
	warnings []Warning
}

func (l *linter) warn(at place, format string, args ...any) {
	l.warnings = append(l.warnings, Warning{at.line, fmt.Sprintf(format, args...)})
}

const unreachable = "%s %q never applies, because more specific ones match all of its keys; leave it out"

func (l *linter) policy(p *Policy) {
	if p.Pattern != "" && l.set.byKey.covered(p.Pattern) {
		l.warn(p.place, unreachable, "policy", p.Pattern)
	}
	if p.Mode == Enforce && p.EnforcePercent == 0 {
		l.warn(p.place, "policy %q is enforced for 0 %% of its keys; to try it without denying, say mode: shadow", p.Name)
	}
	if p.Plan == "" {
		l.idleLimits(p.place, p.Limits)
	}
}

func (l *linter) override(o *Override) {
	if l.set.overridden.covered(o.Pattern) {
		l.warn(o.place, unreachable, "override", o.Pattern)
	}
	matches, applies := false, false
	l.set.byKey.overlapping(o.Pattern, func(p *Policy) bool {
		matches, applies = true, o.applies(p)
		return !applies
	})
	switch {
	case !matches:
		l.warn(o.place, "override %q has no effect, because no policy matches any of its keys", o.Pattern)
	case !applies:
		l.warn(o.place, "override %q has no effect, because it changes the plan and no policy for its keys has one; give it limits, or the policy a plan", o.Pattern)
	}
	if o.Plan == "" {
		l.idleLimits(o.place, o.Limits)
	}
}

// idleLimits warns of limits that another one makes pointless. Of two alike it
// is the second.
func (l *linter) idleLimits(at place, limits []Limit) {
	for i, a := range limits {
		for j, b := range limits {
			if i != j && tighter(b, a) && !(i < j && tighter(a, b)) {
				l.warn(at, "the limit %q (%s) can never bind, because %q (%s) is always reached before; leave it out", a.Rule.Name(), a.terms(), b.Rule.Name(), b.terms())
				break
			}
		}
	}
}

// tighter reports whether limit a is certain to deny whatever limit b denies.
// It says no when that depends on the costs, or is hard to tell.
func tighter(a, b Limit) bool {
	x, y := a.Rule.Limit(), b.Rule.Limit()
	switch {
	case a.Cost != b.Cost:
		return false
	case x.Algorithm == y.Algorithm && x.Interval == y.Interval && x.Calendar == y.Calendar:
		return x.Rate <= y.Rate && x.Burst <= y.Burst
	case x.Algorithm != limiter.TokenBucket:
		return false
	case y.Algorithm == limiter.TokenBucket:
		// From full, the smaller bucket that refills more slowly never has
		// more tokens than the other.
		return x.Burst <= y.Burst && atMost(x.Rate, int64(y.Interval), y.Rate, int64(x.Interval))
	case y.Algorithm == limiter.FixedWindow && y.Burst == y.Rate:
		// In a window a bucket gives its burst and what flows in.
		return x.Burst <= y.Rate && atMost(x.Rate, int64(longest(y)), y.Rate-x.Burst, int64(x.Interval))
	}
	return false
}

// longest returns how long a window of the limit can be, or more.
func longest(l limiter.Limit) time.Duration {
	const day = 24 * time.Hour
	length, ok := map[string]time.Duration{
		"minute": time.Minute, "hour": time.Hour, "day": day, "week": 7 * day, "month": 31 * day, "year": 366 * day,
	}[l.Calendar.Period]
	if !ok {
		return l.Interval
	}
	return length + 2*time.Hour // for clocks that are set back
}

// atMost reports whether a*b <= c*d, for numbers that are not negative.
func atMost(a, b, c, d int64) bool {
	hi1, lo1 := bits.Mul64(uint64(a), uint64(b))
	hi2, lo2 := bits.Mul64(uint64(c), uint64(d))
	return hi1 < hi2 || hi1 == hi2 && lo1 <= lo2
}

// maxTiers bounds how many beginnings of patterns are compared with each other.
const maxTiers = 1000

// slots warns of what the first n tokens of a key, which choose its slot in a
// Redis Cluster, do to the patterns.
func (l *linter) slots(n int) {
	first := map[string]*Policy{} // by the first n tokens
	var heads []string
	for _, p := range l.set.policies {
		tokens := strings.Split(p.Pattern, ".")
		if p.Pattern == "" {
			continue
		}
		head := tokens[:min(n, len(tokens))]
		fixed := !slices.ContainsFunc(head, func(t string) bool { return t == anyOne || t == anyRest })
		if fixed && len(tokens) > n && strings.ContainsAny(p.Pattern, anyOne+anyRest) {
			l.warn(p.place, "all keys of %q are in one slot, which the first tokens choose (%d): one Redis server does all of their work; use more tokens, or begin the keys with what they differ in", p.Pattern, n)
		}
		if h := strings.Join(head, "."); first[h] == nil {
			first[h] = p
			heads = append(heads, h)
		}
	}
	if len(heads) < 2 || len(heads) > maxTiers {
		return
	}
	var apart []string
	for i, h := range heads {
		alone := true
		for j := range heads {
			alone = alone && (i == j || !overlap(h, heads[j]))
		}
		if alone {
			apart = append(apart, first[h].Pattern)
		}
	}
	if len(apart) == 0 {
		return
	}
	if len(apart) > 5 {
		apart = append(apart[:5], "...")
	}
	l.warn(place{}, "keys of %s have no slot in common with those of other policies, because their first tokens (%d) differ: a check of several such keys in mode all is taken in turn in Redis Cluster, and given back on a denial; begin keys that are checked together with the same tokens", strings.Join(apart, ", "), n)
}
