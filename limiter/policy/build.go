package policy

import (
	"slices"
	"strings"

	"github.com/quotaworker/ratelimit/limiter"
)

// builder makes a Set of what a document says. It goes on after an error, to
// find the others.
type builder struct {
	d        *document
	compiler compiler
	sections map[string]int // the line on which a section began

	plans     map[string]*Plan
	planLines map[string]int
	policies  []*rawPolicy
	overrides []*rawPolicy
	byName    map[string]*rawPolicy

	set *Set
}

func newBuilder(d *document) *builder {
	return &builder{
		d:         d,
		compiler:  compiler{rules: map[limiter.Limit]*limiter.Rule{}},
		sections:  map[string]int{},
		plans:     map[string]*Plan{},
		planLines: map[string]int{},
		byName:    map[string]*rawPolicy{},
		set:       &Set{names: map[string]*Policy{}},
	}
}

// begin reports whether key is a section that was not there before.
func (b *builder) begin(key string, at place) bool {
	switch key {
	case "plans", "policies", "overrides":
	default:
		return b.d.fail(at, "unknown field %.80q; a document has the fields %s", key, sectionNames)
	}
	if first := b.sections[key]; first > 0 {
		return b.d.fail(at, "field %q is given twice, first on line %d", key, first)
	}
	b.sections[key] = at.line
	return true
}

func (b *builder) plan(f field) {
	name := f.name.text
	if err := checkName(name); err != nil || f.name.kind != kindText {
		b.d.fail(f.name.place, "%v", err)
		return
	}
	if first := b.planLines[name]; first > 0 {
		b.d.fail(f.name.place, "plan %q is there twice, first on line %d", name, first)
		return
	}
	p := &Plan{Name: name, Limits: b.d.limits(f.value, &b.compiler), place: f.name.place}
	b.planLines[name] = f.name.place.line
	b.plans[name] = p
	b.set.plans = append(b.set.plans, p)
}

func (b *builder) policy(v *value) {
	before := len(b.d.errs)
	r := b.d.policy(v, &b.compiler)
	if r == nil {
		return
	}
	// What a wrong field would have said is not missing.
	r.failed = len(b.d.errs) > before
	b.policies = append(b.policies, r)
	switch {
	case r.name != nil:
		if err := checkName(r.name.text); err != nil {
			r.failed = true
			b.d.fail(r.name.place, "name: %v", err)
			return
		}
	case r.match != nil:
		r.name = r.match
	case r.failed:
		return
	default:
		r.failed = true
		b.d.fail(r.place, "the policy has neither match nor name, so that it would never apply; say which keys it is for")
		return
	}
	other := b.byName[r.name.text]
	switch {
	case other == nil:
		b.byName[r.name.text] = r
	case other.match == nil || r.match == nil || other.match.text != r.match.text:
		// Two of the same pattern are reported as such.
		b.d.fail(r.name.place, "name: policy %q is there twice, first on line %d", r.name.text, other.name.place.line)
	}
}

func (b *builder) override(v *value) {
	before := len(b.d.errs)
	if r := b.d.override(v, &b.compiler); r != nil {
		r.failed = len(b.d.errs) > before
		b.overrides = append(b.overrides, r)
	}
}

// build puts together what was added. The set is complete if no error was
// recorded.
func (b *builder) build() *Set {
	// The plans are known only now, and the policies to inherit from.
	for _, r := range slices.Concat(b.policies, b.overrides) {
		if b.d.full() {
			return nil
		}
		b.check(r)
	}
	for _, r := range b.policies {
		if p := b.resolve(r); p != nil && !b.d.full() {
			b.addPolicy(p)
		}
	}
	for _, r := range b.overrides {
		if !r.failed && !b.d.full() {
			b.addOverride(r)
		}
	}
	// Patterns that are missing because of another error could be missed here.
	if len(b.d.errs) > 0 {
		return nil
	}
	checkTree(b.d, &b.set.byKey, "policy", func(p *Policy) (string, place) { return p.Pattern, p.place })
	checkTree(b.d, &b.set.overridden, "override", func(o *Override) (string, place) { return o.Pattern, o.place })
	return b.set
}

// check looks for what can be told without looking at others.
func (b *builder) check(r *rawPolicy) {
	before := len(b.d.errs)
	if r.match != nil {
		if err := checkPattern(r.match.text); err != nil {
			b.d.fail(r.match.place, "match: %v", err)
		}
	}
	r.allowance = b.allowance(r)
	r.failed = r.failed || len(b.d.errs) > before
}

func (b *builder) addPolicy(p *Policy) {
	b.set.policies = append(b.set.policies, p)
	if b.set.names[p.Name] == nil {
		b.set.names[p.Name] = p
	}
	if p.Pattern == "" {
		return
	}
	if other := b.set.byKey.insert(p.Pattern, p); other != nil {
		b.d.fail(p.place, "match: pattern %q is there twice, first on line %d; put both into one policy, or make one of them more specific", p.Pattern, other.place.line)
	}
}

func (b *builder) addOverride(r *rawPolicy) {
	switch {
	case r.match == nil:
		b.d.fail(r.place, "the override has no match; say which keys it is for")
		return
	case r.allowance == nil:
		b.d.fail(r.place, "the override %q changes nothing; give it a plan, limits, unlimited: true or deny: true", r.match.text)
		return
	}
	o := &Override{Pattern: r.match.text, Allowance: *r.allowance, place: r.match.place}
	b.set.overrides = append(b.set.overrides, o)
	if other := b.set.overridden.insert(o.Pattern, o); other != nil {
		b.d.fail(o.place, "match: pattern %q is there twice, first on line %d; put both into one override, or make one of them more specific", o.Pattern, other.place.line)
	}
}

// allowance returns what r says about how much, nil if that is nothing, or
// wrong, which is recorded.
func (b *builder) allowance(r *rawPolicy) *Allowance {
	a := new(Allowance)
	var said []string
	var last *value
	say := func(what string, v *value) {
		said, last = append(said, what), v
	}
	if r.plan != nil {
		say("plan", r.plan)
		if plan := b.plans[r.plan.text]; plan == nil {
			b.d.fail(r.plan.place, "plan: there is no plan %.80q%s", r.plan.text, b.planList())
		} else {
			plan.used = true
			a.Plan, a.Limits = plan.Name, plan.Limits
		}
	}
	if r.limits != nil {
		say("limits", r.limits)
		a.Limits = r.own
	}
	if a.Unlimited = b.d.flag(r.unlimited, "unlimited"); a.Unlimited {
		say("unlimited", r.unlimited)
	}
	if a.Deny = b.d.flag(r.deny, "deny"); a.Deny {
		say("deny", r.deny)
	}
	if len(said) > 1 {
		b.d.fail(last.place, "%s: %s exclude each other; give one of them", said[len(said)-1], strings.Join(said, " and "))
		return nil
	}
	if len(a.Limits) == 0 && !a.Unlimited && !a.Deny {
		return nil
	}
	return a
}

func (b *builder) planList() string {
	var names []string
	for _, p := range b.set.plans {
		names = append(names, p.Name)
	}
	switch {
	case len(names) == 0:
		return "; describe it under plans"
	case len(names) > 10:
		names = append(names[:10], "...")
	}
	return "; there are " + strings.Join(names, ", ")
}
