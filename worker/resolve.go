package worker

import (
	"sync"
	"time"

	"github.com/quotaworker/ratelimit/client/wire"
	"github.com/quotaworker/ratelimit/limiter"
)

// Names of the limits that do not come from a policy. They keep the buckets
// apart: what a key used up under one is not missing under the other.
const (
	defaultName = "default"
	inlineName  = "inline"
)

// limits knows which limits there are. It is safe for concurrent use.
type limits struct {
	def    *limiter.Rule // nil if there is none
	inline bool          // whether requests may bring limits
	rules  ruleCache

	// anyInline stands for the inline limit of a reset that does not say
	// which one: a reset fills the bucket under any rule of that name.
	anyInline *limiter.Rule
}

func newLimits(inline bool, def limiter.Limit) (*limits, error) {
	anyInline, err := limiter.Limit{Name: inlineName, Rate: 1, Interval: time.Second}.Compile()
	if err != nil {
		return nil, err
	}
	l := &limits{inline: inline, anyInline: anyInline}
	if def == (limiter.Limit{}) {
		return l, nil
	}
	def.Name = defaultName
	l.def, err = def.Compile()
	return l, err
}

// resolve appends to demands what a request asks of which buckets: it is the
// one place that knows whose limit counts. The first demand is the one that
// the reply to a reset is about.
func (l *limits) resolve(demands []limiter.Demand, verb wire.Verb, key string, r *wire.Request) ([]limiter.Demand, error) {
	cost := r.Cost
	if verb == wire.VerbPeek || verb == wire.VerbReset {
		if cost > 1 {
			return nil, wire.Errorf(wire.CodeInvalidRequest, "cost: a %s has none; leave it out", verb)
		}
		cost = 0
	}
	if r.Policy != "" {
		return nil, wire.Errorf(wire.CodeUnknownPolicy, "policy: there is no policy %q; leave it out for the limit in the request or the default one", r.Policy)
	}
	if r.Rate != 0 {
		if !l.inline {
			return nil, wire.Errorf(wire.CodeInlineLimitRefused, "rate: this service does not accept limits in requests; leave out rate, interval and burst to use its own")
		}
		rule, err := l.rules.compile(limiter.Limit{
			Name:     inlineName,
			Rate:     r.Rate,
			Interval: time.Duration(r.IntervalMicros) * time.Microsecond,
			Burst:    r.Burst,
		})
		return append(demands, limiter.Demand{Key: key, Rule: rule, Cost: cost}), err
	}
	if l.def != nil {
		demands = append(demands, limiter.Demand{Key: key, Rule: l.def, Cost: cost})
	}
	if l.inline && verb == wire.VerbReset {
		demands = append(demands, limiter.Demand{Key: key, Rule: l.anyInline})
	}
	if len(demands) == 0 {
		how := `bring one in the request, as in {"rate":5,"interval":"1s"}, or ask the operator for a default limit`
		if !l.inline {
			how = "ask the operator of the service for one"
		}
		return nil, wire.Errorf(wire.CodeNoPolicy, "no limit applies to this key: %s", how)
	}
	return demands, nil
}

// ruleCache remembers compiled limits. Requests bring the same few limits over
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
	rule, err := limit.Compile()
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
