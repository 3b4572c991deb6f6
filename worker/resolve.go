package worker

import (
	"cmp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/quotaworker/ratelimit/client/wire"
	"github.com/quotaworker/ratelimit/limiter"
	"github.com/quotaworker/ratelimit/limiter/policy"
)

// Names of the limits that do not come from a policy. They keep the buckets
// apart: what a key used up under one is not missing under the other.
//
// Limits that come with requests have names of their own each, behind the
// prefix, so that callers who bring different ones for a key do not disturb
// each other's buckets. Replies call all of them inlineName.
const (
	defaultName  = "default"
	inlineName   = "inline"
	inlinePrefix = inlineName + "--"
)

// nameOf returns the name of a rule as replies have it.
func nameOf(r *limiter.Rule) string {
	if strings.HasPrefix(r.Name(), inlinePrefix) {
		return inlineName
	}
	return r.Name()
}

// Inline says whether requests may bring their own limits.
type Inline uint8

const (
	// InlineNever refuses them.
	InlineNever Inline = iota

	// InlineUnmatched uses them for keys that no policy matches. For others
	// the policy counts and the limit in the request says nothing, so that an
	// operator can write a policy before the callers have changed.
	InlineUnmatched

	// InlineAlways prefers them to policies. Callers can then lift every
	// limit, so it is for callers that are trusted.
	InlineAlways
)

// limits knows which limits there are. It is safe for concurrent use.
type limits struct {
	policies *policy.Book  // nil if there are none
	def      *limiter.Rule // nil if there is none
	inline   Inline
	rules    ruleCache
}

func newLimits(policies *policy.Book, inline Inline, def limiter.Limit) (*limits, error) {
	l := &limits{policies: policies, inline: inline}
	if def == (limiter.Limit{}) {
		return l, nil
	}
	def.Name = defaultName
	rule, err := def.Compile()
	l.def = rule
	return l, err
}

// plan is what a request comes to: demands for the store or, if there are
// none, an answer that needs no store.
type plan struct {
	demands  []limiter.Demand
	policy   string // the name of the policy that decides, if any
	onOutage limiter.Outage
	lenient  bool // a denial is only reported, because the policy is not enforced
	deny     bool // if there are no demands: whether to deny
}

// resolve finds out what a request asks of which buckets: it is the one place
// that knows whose limit counts. The demands are appended to space; the first
// is the one that the reply to a reset is about.
func (l *limits) resolve(space []limiter.Demand, verb wire.Verb, key string, r *wire.Request) (plan, error) {
	cost := r.Cost
	if verb == wire.VerbPeek || verb == wire.VerbReset {
		if cost > 1 {
			return plan{}, wire.Errorf(wire.CodeInvalidRequest, "cost: a %s has none; leave it out", verb)
		}
		cost = 0
	}
	if r.Rate != 0 && l.inline == InlineNever {
		return plan{}, wire.Errorf(wire.CodeInlineLimitRefused, "rate: this service does not accept limits in requests; leave out rate, interval and burst to use its own")
	}
	match, err := l.match(key, r)
	if err != nil {
		return plan{}, err
	}
	if match.Policy != nil {
		return planOf(space, verb, key, r, cost, &match), nil
	}
	p := plan{demands: space}
	if r.Rate != 0 {
		rule, err := l.rules.compile(limiter.Limit{
			Rate:      r.Rate,
			Interval:  time.Duration(r.IntervalMicros) * time.Microsecond,
			Burst:     r.Burst,
			Algorithm: r.Algorithm,
		})
		p.demands = append(p.demands, limiter.Demand{Key: key, Rule: rule, Cost: cost})
		return p, err
	}
	if l.def != nil {
		p.demands = append(p.demands, limiter.Demand{Key: key, Rule: l.def, Cost: cost})
	}
	if len(p.demands) == 0 {
		how := `bring one in the request, as in {"rate":5,"interval":"1s"}, or ask the operator for a policy or a default limit`
		if l.inline == InlineNever {
			how = "ask the operator of the service for a policy or a default limit"
		}
		return plan{}, wire.Errorf(wire.CodeNoPolicy, "no limit applies to this key: %s", how)
	}
	return p, nil
}

// match returns the policy that counts. There is none in the match if it is
// the limit in the request, or the default one.
func (l *limits) match(key string, r *wire.Request) (policy.Match, error) {
	var set *policy.Set
	if l.policies != nil {
		set = l.policies.Set()
	}
	if r.Policy == "" {
		if set == nil || r.Rate != 0 && l.inline == InlineAlways {
			return policy.Match{}, nil
		}
		return set.Match(key), nil
	}
	if set != nil {
		if m, ok := set.MatchNamed(key, r.Policy); ok {
			if r.Rate != 0 {
				return policy.Match{}, wire.Errorf(wire.CodeInvalidRequest, "policy: the request names a policy and brings a limit of its own; leave one of them out")
			}
			return m, nil
		}
	}
	return policy.Match{}, wire.Errorf(wire.CodeUnknownPolicy, "policy: there is no policy %q; leave it out for the one that matches the key, the limit in the request or the default one", r.Policy)
}

// planOf says what a policy makes of a request.
func planOf(space []limiter.Demand, verb wire.Verb, key string, r *wire.Request, cost int64, m *policy.Match) plan {
	a := m.Allowance()
	p := plan{
		demands:  space,
		policy:   m.Policy.Name,
		lenient:  !m.Policy.Enforced(key),
		onOutage: outages[m.Policy.OnOutage],
	}
	switch {
	case m.Policy.Mode == policy.Off, a.Unlimited:
		return p
	case a.Deny:
		// There is nothing that the other verbs could not do.
		p.deny = verb == wire.VerbCheck
		return p
	}
	own := !r.CostGiven && (verb == wire.VerbCheck || verb == wire.VerbRefund)
	for i := range a.Limits {
		if own {
			cost = a.Limits[i].Cost
		}
		p.demands = append(p.demands, limiter.Demand{Key: m.Bucket, Rule: a.Limits[i].Rule, Cost: cost})
	}
	return p
}

var outages = [...]limiter.Outage{
	policy.OutageMemory: limiter.OutageMemory,
	policy.OutageAllow:  limiter.OutageAllow,
	policy.OutageDeny:   limiter.OutageDeny,
}

// ruleCache remembers compiled inline limits. Requests bring the same few limits over
// and over; should there be many, it starts afresh rather than grow.
type ruleCache struct {
	mu    sync.RWMutex
	rules map[limiter.Limit]*limiter.Rule
}

// maxRules bounds a ruleCache, at about 200 bytes each.
const maxRules = 1024

func (c *ruleCache) compile(limit limiter.Limit) (*limiter.Rule, error) {
	c.mu.RLock()
	rule := c.rules[limit]
	c.mu.RUnlock()
	if rule != nil {
		return rule, nil
	}
	named := limit
	named.Name = inlinePrefix + strings.Join([]string{
		strconv.FormatInt(limit.Rate, 36), strconv.FormatInt(limit.Interval.Microseconds(), 36),
		strconv.FormatInt(cmp.Or(limit.Burst, limit.Rate), 36), cmp.Or(limit.Algorithm, limiter.TokenBucket),
	}, "-")
	rule, err := named.Compile()
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.rules == nil || len(c.rules) >= maxRules {
		c.rules = make(map[limiter.Limit]*limiter.Rule)
	}
	c.rules[limit] = rule
	return rule, nil
}
