package policy

import (
	"fmt"
	"strings"
)

// Explanation says why a key is treated as it is.
type Explanation struct {
	Key string

	// Match is what decides.
	Match Match

	// Others are the policies that match as well, the most specific first.
	Others []*Policy

	// Idle are the overrides that match without effect, either because the
	// policy has no plan that they could replace, or because another override
	// is more specific.
	Idle []*Override

	// Enforced reports whether a denial of the key is a denial.
	Enforced bool
}

// Explain says what Match(key) returns, and why.
func (s *Set) Explain(key string) Explanation {
	e := Explanation{Key: key, Match: s.Match(key)}
	for _, o := range s.overridden.all(nil, key) {
		if o != e.Match.Override {
			e.Idle = append(e.Idle, o)
		}
	}
	if e.Match.Policy == nil {
		return e
	}
	e.Others = s.byKey.all(nil, key)[1:]
	e.Enforced = e.Match.Policy.Enforced(key)
	return e
}

// String writes the explanation for people, in a few lines.
func (e Explanation) String() string {
	var b strings.Builder
	p := e.Match.Policy
	if p == nil {
		fmt.Fprintf(&b, "No policy matches the key %s.\n", e.Key)
		for _, o := range e.Idle {
			fmt.Fprintf(&b, "  The override %s (line %d) has no effect: there is no policy that it could change.\n", o.Pattern, o.place.line)
		}
		return b.String()
	}
	fmt.Fprintf(&b, "The key %s is decided by the policy %s (line %d).\n", e.Key, p.title(), p.place.line)
	for _, o := range e.Others {
		fmt.Fprintf(&b, "  %s is more specific than %s (line %d): %s\n", p.Pattern, o.Pattern, o.place.line, difference(p.Pattern, o.Pattern))
	}
	if len(e.Others) == 0 {
		b.WriteString("  No other policy matches.\n")
	}
	if o := e.Match.Override; o != nil {
		fmt.Fprintf(&b, "  The override %s (line %d) gives %s instead of %s.\n", o.Pattern, o.place.line, &o.Allowance, &p.Allowance)
	}
	for i, o := range e.Idle {
		why := "a more specific one counts"
		if i == 0 && e.Match.Override == nil {
			why = "it changes the plan, and the policy has none"
		}
		fmt.Fprintf(&b, "  The override %s (line %d) has no effect: %s.\n", o.Pattern, o.place.line, why)
	}
	fmt.Fprintf(&b, "  Allowed: %s.\n", e.Match.Allowance())
	switch {
	case p.Mode != Enforce:
		fmt.Fprintf(&b, "  Mode: %s, nothing is denied.\n", p.Mode)
	case !e.Enforced:
		fmt.Fprintf(&b, "  Mode: enforce, but for %d %% of the keys, and this is not one of them: nothing is denied.\n", p.EnforcePercent)
	case p.EnforcePercent < 100:
		fmt.Fprintf(&b, "  Mode: enforce, for %d %% of the keys, and this is one of them.\n", p.EnforcePercent)
	default:
		b.WriteString("  Mode: enforce.\n")
	}
	fmt.Fprintf(&b, "  On an outage: %s.\n", p.OnOutage)
	return b.String()
}

// title names the policy, with its pattern if that is not its name.
func (p *Policy) title() string {
	if p.Pattern == "" || p.Pattern == p.Name {
		return p.Name
	}
	return fmt.Sprintf("%s, which is for %s", p.Name, p.Pattern)
}

// difference says in which token one pattern is more specific than another,
// which comes later in the order of tokens.
func difference(a, b string) string {
	as, bs := strings.Split(a, "."), strings.Split(b, ".")
	for i := range min(len(as), len(bs)) {
		if as[i] != bs[i] {
			return fmt.Sprintf("token %d is %s rather than %s", i+1, as[i], bs[i])
		}
	}
	return "it has more tokens"
}
