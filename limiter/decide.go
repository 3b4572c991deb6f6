package limiter

// Decide is the rule that every store follows. It decides the check against
// states, where states[i] is what the bucket of Demands[i] is like at now (in
// microseconds since the Unix epoch, see [Rule.Open]), updates states and fills
// in res except for its Source. It reads no clock and touches nothing else.
//
// The check must be valid. The script in Redis makes the same decisions;
// limitertest holds the two together.
func Decide(c *Check, states []State, now int64, res *Result) {
	res.Allowed, res.At, res.InTurn = true, now, false
	res.Levels, res.States = res.Levels[:0], res.States[:0]
	if c.Op != Take && c.Op != Look {
		for i := range c.Demands {
			d := &c.Demands[i]
			switch c.Op {
			case Reset:
				states[i] = State{}
			case Refund:
				states[i] = d.Rule.alg.give(states[i], d.Cost)
			case Undo:
				states[i] = d.Rule.alg.undo(states[i], d.Cost, d.Taken, now)
			}
			res.Levels = append(res.Levels, d.Rule.alg.level(states[i], 0, now))
		}
		return
	}
	for i := range c.Demands {
		d := &c.Demands[i]
		if !d.Rule.alg.has(states[i], d.Cost, now) {
			res.Allowed = false
		}
	}
	if !res.Allowed {
		res.States = append(res.States, states[:len(c.Demands)]...)
	}
	for i := range c.Demands {
		d := &c.Demands[i]
		if !res.Allowed || d.Cost == 0 || c.Op == Look {
			res.Levels = append(res.Levels, d.Rule.alg.level(states[i], d.Cost, now))
			continue
		}
		delay := d.Rule.alg.delay(states[i], now)
		states[i] = d.Rule.alg.take(states[i], d.Cost)
		l := d.Rule.alg.level(states[i], 0, now)
		l.Delay = delay
		res.Levels = append(res.Levels, l)
	}
}

// Takes reports whether the check asks the bucket of its i-th demand for
// tokens, or would. Then a mark that is stale is written anew, see [Rule.Open].
func (c *Check) Takes(i int) bool {
	return (c.Op == Take || c.Op == Look) && c.Demands[i].Cost > 0
}
