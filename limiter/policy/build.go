package policy

import (
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
	if r := b.d.override(v, &b.compiler); r != nil && len(b.d.errs) == before {
		b.overrides = append(b.overrides, r)
	}
}

// build puts together what was added. The set is complete if no error was
// recorded.
func (b *builder) build() *Set {
	for _, r := range b.policies {
		if b.d.full() {
			return nil
		}
		if p := b.resolve(r); p != nil {
			b.addPolicy(r, p)
		}
	}
	for _, r := range b.overrides {
		if b.d.full() {
			return nil
		}
		b.addOverride(r)
	}
	// Patterns that are missing because of another error could be missed here.
	if len(b.d.errs) > 0 {
		return nil
	}
	checkTree(b.d, &b.set.byKey, "policy", func(p *Policy) (string, place) { return p.Pattern, p.place })
	checkTree(b.d, &b.set.overridden, "override", func(o *Override) (string, place) { return o.Pattern, o.place })
	return b.set
}

func (b *builder) addPolicy(r *rawPolicy, p *Policy) {
	b.set.policies = append(b.set.policies, p)
	if b.set.names[p.Name] == nil {
		b.set.names[p.Name] = p
	}
	if r.match == nil {
		return
	}
	if err := checkPattern(p.Pattern); err != nil {
		b.d.fail(r.match.place, "match: %v", err)
		return
	}
	if other := b.set.byKey.insert(p.Pattern, p); other != nil {
		b.d.fail(r.match.place, "match: pattern %q is there twice, first on line %d; put both into one policy, or make one of them more specific", p.Pattern, other.place.line)
	}
}

func (b *builder) addOverride(r *rawPolicy) {
	if r.match == nil {
		b.d.fail(r.place, "the override has no match; say which keys it is for")
		return
	}
	o := &Override{Pattern: r.match.text, place: r.match.place}
	a, given := b.allowance(r)
	if a == nil {
		if !given {
			b.d.fail(r.place, "the override %q changes nothing; give it a plan, limits, unlimited: true or deny: true", o.Pattern)
		}
		return
	}
	o.Allowance = *a
	if err := checkPattern(o.Pattern); err != nil {
		b.d.fail(r.match.place, "match: %v", err)
		return
	}
	b.set.overrides = append(b.set.overrides, o)
	if other := b.set.overridden.insert(o.Pattern, o); other != nil {
		b.d.fail(r.match.place, "match: pattern %q is there twice, first on line %d; put both into one override, or make one of them more specific", o.Pattern, other.place.line)
	}
}

// resolve builds the policy and, before it, those that it inherits from. It
// returns nil if it cannot be built, which is recorded.
func (b *builder) resolve(r *rawPolicy) *Policy {
	if r.policy != nil || r.failed {
		return r.policy
	}
	// A chain is followed in a loop, because it can be as long as the document.
	chain := []*rawPolicy{r}
	r.open = true
	for last := r; last.inherit != nil; last = chain[len(chain)-1] {
		parent := b.byName[last.inherit.text]
		if parent == nil {
			b.d.fail(last.inherit.place, "inherit: there is no policy %.80q; write the name of one, which is its pattern if it has no name", last.inherit.text)
			break
		}
		if parent.open {
			b.d.fail(last.inherit.place, "inherit: this goes in a circle: %s", circle(chain, parent))
			break
		}
		if parent.policy != nil || parent.failed {
			break
		}
		parent.open = true
		chain = append(chain, parent)
	}
	for i := len(chain) - 1; i >= 0; i-- {
		chain[i].open = false
		chain[i].policy = b.make(chain[i])
		chain[i].failed = chain[i].policy == nil
	}
	return r.policy
}

// circle names the policies of a circle for a message.
func circle(chain []*rawPolicy, again *rawPolicy) string {
	var names []string
	for _, r := range chain {
		if r == again || len(names) > 0 {
			names = append(names, r.name.text)
		}
	}
	if len(names) > 5 {
		names = append(names[:4], "...")
	}
	return strings.Join(append(names, again.name.text), " from ")
}

// make builds the policy, whose parent, if it has one, was built before.
func (b *builder) make(r *rawPolicy) *Policy {
	p := &Policy{EnforcePercent: 100}
	a, given := b.allowance(r)
	if r.inherit != nil {
		parent := b.byName[r.inherit.text]
		if parent == nil || parent.policy == nil {
			return nil
		}
		*p = *parent.policy
		p.Pattern = ""
	}
	p.place = r.place
	p.Name = r.name.text
	if r.match != nil {
		p.Pattern, p.place = r.match.text, r.match.place
	}
	if r.onOutage != nil {
		p.OnOutage = OnOutage(b.d.word(r.onOutage, "on_outage", outages))
	}
	if r.mode != nil {
		p.Mode = Mode(b.d.word(r.mode, "mode", modes))
	}
	if r.percent != nil {
		n, _ := b.d.number(r.percent, "enforce_percent", 0, 100)
		p.EnforcePercent = int(n)
	}
	switch {
	case a != nil:
		p.Allowance = *a
	case given:
		return nil
	case r.inherit == nil:
		b.d.fail(r.place, "policy %q does not say how much; give it a plan, limits, unlimited: true or deny: true", p.Name)
		return nil
	}
	return p
}

// allowance returns what r says about how much, and whether it says anything;
// nil if that is nothing, or wrong.
func (b *builder) allowance(r *rawPolicy) (a *Allowance, given bool) {
	a = new(Allowance)
	before := len(b.d.errs)
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
		return nil, true
	}
	if len(a.Limits) == 0 && !a.Unlimited && !a.Deny {
		return nil, len(said) > 0 || len(b.d.errs) > before
	}
	return a, true
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

// checkTree refuses patterns between which there is no telling which of them
// decides, and patterns that would make matching slow.
func checkTree[T any](d *document, t *trie[T], what string, patternOf func(*T) (string, place)) {
	done := t.crossings(crossingBudget, func(x, y *T) bool {
		a, at := patternOf(x)
		b, before := patternOf(y)
		both := intersect(a, b)
		if t.exactly(both) != nil {
			return true
		}
		if at.line < before.line {
			a, b, at, before = b, a, before, at
		}
		d.fail(at, "match: patterns %q and %q (line %d) both match %q, and neither is more specific; add a %s for that", a, b, before.line, both, what)
		return !d.full()
	})
	switch {
	case len(d.errs) > 0:
	case !done:
		d.fail(place{}, "the patterns cross each other in too many ways to check them; have * in fewer places, or list fewer names beside it")
	case t.steps() > MaxSteps:
		d.fail(place{}, "finding the %s for a key could take %d steps and must take at most %d; have fewer patterns with * in different places", what, t.steps(), MaxSteps)
	}
}
