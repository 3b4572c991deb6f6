package policy

import "strings"

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
	if r.inherit != nil {
		parent := b.byName[r.inherit.text]
		if parent == nil || parent.policy == nil {
			return nil
		}
		*p = *parent.policy
	}
	p.Name, p.Pattern, p.place = r.name.text, "", r.place
	if r.match != nil {
		p.Pattern, p.place = r.match.text, r.match.place
	}
	if r.onOutage != nil {
		p.OnOutage = *r.onOutage
	}
	if r.mode != nil {
		p.Mode = *r.mode
	}
	if r.percent != nil {
		p.EnforcePercent = *r.percent
	}
	if r.allowance != nil {
		p.Allowance = *r.allowance
	} else if r.inherit == nil {
		b.d.fail(r.place, "policy %q does not say how much; give it a plan, limits, unlimited: true or deny: true", p.Name)
		return nil
	}
	return p
}
