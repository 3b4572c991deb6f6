package limiter

// Decide is the rule that every store follows. It decides the check against
// debts, where debts[i] is what the bucket of Demands[i] owes at now (in
// microseconds since the Unix epoch, see [Rule.Debt]), updates debts and fills
// in res except for its Source. It reads no clock and touches nothing else.
//
// The check must be valid. The script in Redis makes the same decisions;
// limitertest holds the two together.
func Decide(c *Check, debts []int64, now int64, res *Result) {
	res.Allowed = true
	res.Levels = res.Levels[:0]
	switch c.Op {
	case Take:
		for i := range c.Demands {
			d := &c.Demands[i]
			if d.Cost*d.Rule.token > d.Rule.capacity-debts[i] {
				res.Allowed = false
			}
		}
		for i := range c.Demands {
			d := &c.Demands[i]
			l := d.Rule.level(debts[i], d.Cost, now)
			if res.Allowed && d.Cost > 0 {
				debts[i] += d.Cost * d.Rule.token
				l = d.Rule.level(debts[i], 0, now)
			}
			res.Levels = append(res.Levels, l)
		}
	case Refund, Reset:
		for i := range c.Demands {
			d := &c.Demands[i]
			if c.Op == Reset || d.Cost >= d.Rule.limit.Burst {
				debts[i] = 0
			} else {
				debts[i] = max(0, debts[i]-d.Cost*d.Rule.token)
			}
			res.Levels = append(res.Levels, d.Rule.level(debts[i], 0, now))
		}
	}
}
