package worker

import (
	"github.com/quotaworker/ratelimit/client/wire"
	"github.com/quotaworker/ratelimit/limiter"
)

// tier is one of several keys that are taken together.
type tier struct {
	key   string
	plan  plan
	index int // among the checks of the request
}

// all submits several checks that are granted together or not at all. Those
// of policies that are not enforced are not part of that: they are decided on
// their own, and only reported.
func (q *request) all(calls []*call, g *group) error {
	var one *call
	var tiers []tier
	denied := false
	for _, c := range calls {
		if !c.plan.lenient {
			denied = denied || c.plan.deny
			if len(c.plan.demands) > 0 {
				tiers = append(tiers, tier{c.key, c.plan, c.index})
				one = c
			}
		}
	}
	check := limiter.Check{Op: q.endpoint.op}
	for i := range tiers {
		check.Demands = append(check.Demands, tiers[i].plan.demands...)
		check.OnOutage = strictest(i, check.OnOutage, tiers[i].plan.onOutage)
	}
	if len(check.Demands) > limiter.MaxDemands {
		return wire.Errorf(wire.CodeInvalidRequest, "checks: the keys have %d limits together and can have at most %d to be taken all or none; send fewer keys", len(check.Demands), limiter.MaxDemands)
	}
	// The calls go, and the demands in them.
	for i, from := 0, 0; i < len(tiers); i++ {
		p := &tiers[i].plan
		p.demands = check.Demands[from : from+len(p.demands)]
		from += len(p.demands)
	}
	if len(tiers) > 0 {
		if err := validate(&check); err != nil {
			return err
		}
	}
	for _, c := range calls {
		if c.plan.lenient && len(c.plan.demands) > 0 {
			if err := c.valid(); err != nil {
				return err
			}
		}
	}
	if denied {
		// Nothing will be taken, whatever the others have. They are only looked at.
		for i := range check.Demands {
			check.Demands[i].Cost = 0
		}
	}
	for _, c := range calls {
		switch {
		case c == one:
			// Last, because one is then gone.
		case len(c.plan.demands) > 0 && !c.plan.lenient:
			c.free() // a part of one
		default:
			q.start(c)
		}
	}
	if one != nil {
		one.tiers, one.check = tiers, check
		q.start(one)
	}
	return nil
}

// strictest returns what to do in an outage for the first n keys and one more.
func strictest(n int, so, next limiter.Outage) limiter.Outage {
	switch {
	case n == 0:
		return next
	case so == limiter.OutageDeny || next == limiter.OutageDeny:
		return limiter.OutageDeny
	case so == limiter.OutageMemory || next == limiter.OutageMemory:
		return limiter.OutageMemory
	}
	return limiter.OutageAllow
}

// together sets the answers to the keys of c. An error is one about all.
func (g *group) together(c *call, res *limiter.Result, err error) {
	if err != nil {
		g.refused.Store(c.failed(err))
		for range c.tiers {
			g.release()
		}
		return
	}
	g.inTurn = res.InTurn
	levels := res.Levels
	for i := range c.tiers {
		t := &c.tiers[i]
		n := len(t.plan.demands)
		part := limiter.Result{Allowed: true, Source: res.Source, Levels: levels[:n]}
		for j := range part.Levels {
			part.Allowed = part.Allowed && part.Levels[j].Admitted
		}
		levels = levels[n:]
		c.answer(&g.replies[t.index], t.key, &t.plan, &part)
		g.release()
	}
}
