package redisstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/quotaworker/ratelimit/limiter"
)

// Checks over several slots of Redis Cluster. No script may touch two slots, so
// such a check is cut into parts, one for each slot, and the parts of all such
// checks of a batch go through the same few round trips:
//
//  1. look at all parts, together with the other checks of the batch. Most
//     denials end here, which is why looking comes first: taking first would
//     spare a grant this round trip, but make every denial take and give back,
//     and a limiter is made for the hour in which most checks are denied;
//  2. take the parts of those that would be granted. Where checks of the same
//     batch want the same tokens, the first ones take, and the others look
//     again, to hear what is left for them;
//  3. take the parts of those that looked twice and still would be granted;
//  4. give back what was taken for checks that were denied in 2 or 3, because
//     somebody else was faster.
//
// So a batch has at most four round trips, and two without a race.

// undoTimeout is how long giving back may take at least, because it must also be
// done when the time of the caller is over: another node used it up.
const undoTimeout = 50 * time.Millisecond

// takeInTurn decides checks of which some are over several slots.
func (s *Store) takeInTurn(ctx context.Context, now time.Time, checks []limiter.Check, results []limiter.Result) error {
	var first round
	var turns, others []*turn
	for i := range checks {
		switch c := &checks[i]; {
		case !s.layout.apart(c):
			first.add(c, &results[i])
		case c.Taking():
			turns = append(turns, s.layout.newTurn(c, &results[i]))
			first.addTurn(turns[len(turns)-1], limiter.Look)
		default: // no part depends on another
			others = append(others, s.layout.newTurn(c, &results[i]))
			first.addTurn(others[len(others)-1], c.Op)
		}
	}
	failed := first.run(ctx, now, s)
	for _, t := range others {
		t.answer()
	}
	turns, again, err := s.takeLooked(ctx, now, turns, make(map[string]int64))
	failed = errors.Join(failed, err)
	if len(again) > 0 {
		more, _, err := s.takeLooked(ctx, now, again, nil)
		turns, failed = append(turns, more...), errors.Join(failed, err)
	}
	failed = s.giveBack(ctx, now, turns, failed)
	for _, t := range turns {
		t.answer()
	}
	return failed
}

// takeLooked takes for those turns that would be granted by what they saw, and
// answers those that would not. It returns those that took, and those that
// looked again, because there are not enough tokens for them and for the ones
// before them. wanted counts these by bucket; nil lets all take.
func (s *Store) takeLooked(ctx context.Context, now time.Time, turns []*turn, wanted map[string]int64) (took, looked []*turn, err error) {
	var r round
	for _, t := range turns {
		switch decided, allowed := t.state(); {
		case !decided:
		case !allowed:
			t.answer()
		case wanted == nil || s.layout.fits(t, wanted):
			took = append(took, t)
			r.addTurn(t, limiter.Take)
		default:
			looked = append(looked, t)
			r.addTurn(t, limiter.Look)
		}
	}
	return took, looked, r.run(ctx, now, s)
}

// fits reports whether there are enough tokens for a turn beside what is
// wanted, to which it then adds.
func (l layout) fits(t *turn, wanted map[string]int64) bool {
	var names [limiter.MaxDemands]string
	for i := range t.parts {
		p := &t.parts[i]
		for j, d := range p.demands {
			names[d] = l.name(&t.check.Demands[d])
			if wanted[names[d]]+t.check.Demands[d].Cost > p.res.Levels[j].Remaining {
				return false
			}
		}
	}
	for d := range t.check.Demands {
		wanted[names[d]] += t.check.Demands[d].Cost
	}
	return true
}

// giveBack gives back what was taken by turns that were not granted, and says in
// the error that there is, or in one of its own, what became of that.
func (s *Store) giveBack(ctx context.Context, now time.Time, turns []*turn, failed error) error {
	var r round
	for _, t := range turns {
		if _, allowed := t.state(); !allowed {
			r.addUndo(t)
		}
	}
	if len(r.checks) == 0 {
		return failed
	}
	undo := context.WithoutCancel(ctx)
	if deadline, ok := ctx.Deadline(); ok {
		least := time.Now().Add(undoTimeout)
		if deadline.Before(least) {
			deadline = least
		}
		var cancel context.CancelFunc
		undo, cancel = context.WithDeadline(undo, deadline)
		defer cancel()
	}
	if err := r.run(undo, now, s); err != nil {
		return errors.Join(failed, fmt.Errorf("what checks had taken in some slots of Redis Cluster before others denied or failed could not all be given back, and is missing until it flows in again: %w", err))
	}
	if failed != nil {
		return fmt.Errorf("%w; what checks had taken in other slots of Redis Cluster was given back", failed)
	}
	return nil
}

// turn is a check that is taken in turn.
type turn struct {
	check *limiter.Check
	res   *limiter.Result
	parts []part
}

// part is what a turn wants of one slot.
type part struct {
	slot    uint16
	demands []int // indexes into those of the check
	res     limiter.Result
}

func (l layout) newTurn(c *limiter.Check, res *limiter.Result) *turn {
	t := &turn{check: c, res: res}
next:
	for d := range c.Demands {
		slot := l.slot(&c.Demands[d])
		for i := range t.parts {
			if p := &t.parts[i]; p.slot == slot {
				p.demands = append(p.demands, d)
				continue next
			}
		}
		t.parts = append(t.parts, part{slot: slot, demands: []int{d}})
	}
	return t
}

// state reports whether all parts were decided, and whether all were allowed.
func (t *turn) state() (decided, allowed bool) {
	decided, allowed = true, true
	for i := range t.parts {
		res := &t.parts[i].res
		decided = decided && res.Source != limiter.SourceNone
		allowed = allowed && res.Source != limiter.SourceNone && res.Allowed
	}
	return decided, allowed
}

// answer puts the answers of the parts together, if all were decided.
func (t *turn) answer() {
	decided, allowed := t.state()
	if !decided {
		return
	}
	var levels [limiter.MaxDemands]limiter.Level
	t.res.At = 0
	for i := range t.parts {
		p := &t.parts[i]
		for j, d := range p.demands {
			levels[d] = p.res.Levels[j]
			if !allowed {
				levels[d].Delay = 0 // of what was given back
			}
		}
		t.res.At = max(t.res.At, p.res.At)
	}
	t.res.Allowed, t.res.Source, t.res.InTurn = allowed, limiter.SourceRedis, true
	t.res.Levels = append(t.res.Levels[:0], levels[:len(t.check.Demands)]...)
	t.res.States = t.res.States[:0] // which are of no one moment
}

// round is a batch of checks of one slot each, and where their answers go.
type round struct {
	checks  []limiter.Check
	answers []*limiter.Result
	undo    bool
}

func (r *round) add(c *limiter.Check, res *limiter.Result) {
	r.checks, r.answers = append(r.checks, *c), append(r.answers, res)
}

// addTurn adds the parts of a turn.
func (r *round) addTurn(t *turn, op limiter.Op) {
	for i := range t.parts {
		r.addPart(t, &t.parts[i], op)
	}
}

// addUndo adds the parts of a turn that took. What became of one whose answer
// is missing nobody knows.
func (r *round) addUndo(t *turn) {
	r.undo = true
	for i := range t.parts {
		if p := &t.parts[i]; p.res.Source != limiter.SourceNone && p.res.Allowed {
			r.addPart(t, p, limiter.Undo)
		}
	}
}

func (r *round) addPart(t *turn, p *part, op limiter.Op) {
	c := limiter.Check{Op: op}
	for _, d := range p.demands {
		demand := t.check.Demands[d]
		if r.undo {
			demand.Taken = p.res.At
		}
		c.Demands = append(c.Demands, demand)
	}
	r.add(&c, &p.res)
}

// run decides the checks in one round trip.
func (r *round) run(ctx context.Context, now time.Time, s *Store) error {
	if len(r.checks) == 0 {
		return nil
	}
	results := make([]limiter.Result, len(r.checks))
	for i, res := range r.answers {
		if !r.undo { // else what is there stays, should it not be decided
			results[i].Levels = res.Levels
		}
	}
	err := s.decide(ctx, now, r.checks, results)
	for i, res := range r.answers {
		if results[i].Source != limiter.SourceNone || !r.undo {
			*res = results[i]
		}
	}
	return err
}
