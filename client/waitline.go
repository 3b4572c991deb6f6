package client

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/quotaworker/ratelimit/client/wire"
)

// recheck is how long the first in line sleeps at most before asking again:
// somebody may have filled the bucket, or the operator may have changed the
// limit.
const recheck = 10 * time.Second

// waitLines are the lines of a client in which somebody stands, by key and
// limit.
type waitLines struct {
	mu    sync.Mutex // guards the lines as well
	lines map[string]*waitLine
}

// waitLine is the line of those who wait for the tokens of one bucket. It has
// a goroutine while it is in the map.
type waitLine struct {
	c    *Client
	id   string
	key  string
	full string
	wake chan struct{} // holds a token when the first in line is another

	line  list.List // of *waiting
	total float64   // tokens that they wait for

	// What the last reply said: when there will be as many tokens as cost, and
	// how long each further one takes, at least. The zero time if not known.
	next time.Time
	cost int64
	fill time.Duration
	even string // the limit that is known to refill evenly
}

// waiting is one who stands in line.
type waiting struct {
	opts     []CheckOption
	cost     int64
	given    bool // the cost
	deadline time.Time
	bounded  bool // by the deadline

	done    chan struct{} // closed when the rest is set
	res     Result
	err     error
	sent    time.Time
	brought chunk // by the clock that was 0 at sent
}

// join puts w at the end of its line.
func (c *Client) join(key, full string, r *wire.Request, w *waiting) (*waitLine, *list.Element, error) {
	limit := *r
	limit.Cost, limit.CostGiven = 1, false
	id := full + " " + string(wire.AppendRequest(nil, &limit))
	c.waits.mu.Lock()
	defer c.waits.mu.Unlock()
	q := c.waits.lines[id]
	if q == nil {
		q = &waitLine{c: c, id: id, key: key, full: full, wake: make(chan struct{}, 1)}
		if c.waits.lines == nil {
			c.waits.lines = make(map[string]*waitLine)
		}
		c.waits.lines[id] = q
		go q.run()
	}
	if err := q.late(w, q.total); err != nil {
		return nil, nil, err
	}
	q.total += float64(w.cost)
	return q, q.line.PushBack(w), nil
}

// late returns the error for w, who stands behind others that wait for as many
// tokens, if there is no chance before the deadline.
func (q *waitLine) late(w *waiting, ahead float64) error {
	if !w.bounded || q.next.IsZero() {
		return nil
	}
	at := q.when(ahead + float64(w.cost))
	if !at.After(w.deadline) {
		return nil
	}
	now := time.Now()
	return errPast(at.Sub(now), w.deadline.Sub(now))
}

// when returns when there will be that many tokens, at the earliest. It needs
// q.next.
func (q *waitLine) when(tokens float64) time.Time {
	more := (tokens - float64(q.cost)) * float64(q.fill)
	return q.next.Add(time.Duration(min(max(more, -float64(forever)), float64(forever))))
}

// leave takes w out of the line, and reports whether it was there still.
func (q *waitLine) leave(place *list.Element, w *waiting) bool {
	q.c.waits.mu.Lock()
	defer q.c.waits.mu.Unlock()
	select {
	case <-w.done: // just now
		return false
	default:
	}
	if q.line.Front() == place {
		q.poke()
	}
	q.remove(place)
	return true
}

func (q *waitLine) poke() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// answer answers the one at place, who leaves the line.
func (q *waitLine) answer(place *list.Element, res Result, err error) *waiting {
	w := q.remove(place)
	w.res, w.err = res, err
	close(w.done)
	return w
}

func (q *waitLine) remove(place *list.Element) *waiting {
	w := q.line.Remove(place).(*waiting)
	q.total -= float64(w.cost)
	return w
}

// run asks for the first in line until nobody stands there.
func (q *waitLine) run() {
	mu := &q.c.waits.mu
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		mu.Lock()
		first := q.line.Front()
		if first == nil {
			delete(q.c.waits.lines, q.id)
			mu.Unlock()
			return
		}
		w := first.Value.(*waiting)
		var wait time.Duration
		if !q.next.IsZero() {
			wait = time.Until(q.when(float64(w.cost)))
		}
		mu.Unlock()
		if wait > 0 {
			timer.Reset(min(w.spread(wait), recheck))
			select {
			case <-timer.C:
			case <-q.wake:
				continue
			}
		}
		q.ask(w)
	}
}

// spread adds a little to a time to wait, so that several processes do not ask
// all at once.
func (w *waiting) spread(wait time.Duration) time.Duration {
	most := min(wait/10, 50*time.Millisecond)
	if w.bounded {
		most = min(most, (time.Until(w.deadline)-wait)/2)
	}
	if most <= 0 {
		return wait
	}
	return wait + rand.N(most)
}

// ask makes the check of w. If w has left when the answer comes, it goes to
// whoever is first and wants the same.
func (q *waitLine) ask(w *waiting) {
	sent := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), q.c.timeout)
	res, err := q.c.Check(ctx, q.key, w.opts...)
	cancel()
	q.c.waits.mu.Lock()
	defer q.c.waits.mu.Unlock()
	first := q.line.Front()
	same := first != nil && first.Value.(*waiting).cost == w.cost && first.Value.(*waiting).given == w.given
	if err == nil {
		q.learn(w.cost, &res)
	}
	switch {
	case errors.Is(err, ErrCostExceedsBurst):
		if same {
			q.answer(first, Result{}, err)
		}
	case err != nil:
		q.next = time.Time{}
		q.answerAll(err)
	case res.Allowed:
		w.sent, w.brought = sent, newChunk(0, forever, max(1, w.cost), w.opts, &res)
		if !same {
			q.putBack(w)
			return
		}
		f := first.Value.(*waiting)
		f.sent, f.brought = w.sent, w.brought
		q.answer(first, res, nil)
	case res.RetryAfter == 0:
		q.answerAll(fmt.Errorf("ratelimit: wait %q: policy %q lets nobody pass, however long they wait: %w", q.full, res.Policy, ErrDenied))
	default:
		q.dropLate()
	}
}

// answerAll answers everybody with an error.
func (q *waitLine) answerAll(err error) {
	for first := q.line.Front(); first != nil; first = q.line.Front() {
		q.answer(first, Result{}, err)
	}
}

// dropLate answers those who have no chance before their deadlines.
func (q *waitLine) dropLate() {
	var ahead float64
	for e := q.line.Front(); e != nil; {
		place, w := e, e.Value.(*waiting)
		e = e.Next()
		if err := q.late(w, ahead); err != nil {
			q.answer(place, Result{}, fmt.Errorf("ratelimit: wait %q: %w", q.full, err))
			continue
		}
		ahead += float64(w.cost)
	}
}

// learn takes in what a reply to a check of cost says about the next one.
func (q *waitLine) learn(cost int64, res *Result) {
	now := time.Now()
	var s LimitStatus // the one that binds
	for _, l := range limitsOf(res) {
		if l.Name == res.LimitName {
			s = l
		}
	}
	fill := s.Window / time.Duration(max(1, s.Limit))
	// How long an empty bucket takes for so many tokens that cost are missing.
	most := time.Duration(float64(s.Limit-cost) / float64(max(1, s.Limit)) * float64(s.Window))
	if !res.Allowed {
		// A bucket that refills evenly says so by its figures, to the
		// millisecond; a window that ends says other ones.
		q.even, q.fill = "", 0
		if (s.ResetAfter - s.RetryAfter - most).Abs() <= 3*time.Millisecond {
			q.even, q.fill = limitOf(res), fill
		}
		q.next, q.cost = now.Add(min(res.RetryAfter, forever)), cost
		return
	}
	q.next = time.Time{}
	if q.even != "" && q.even == limitOf(res) {
		// It can be said when it has the tokens again, so nobody needs to ask.
		q.next, q.cost, q.fill = now.Add(s.ResetAfter-most), cost, fill
	}
}

// putBack gives back the tokens that w got and does not use.
func (q *waitLine) putBack(w *waiting) {
	n := w.brought.giveable(time.Since(w.sent))
	if n == 0 || w.given && w.cost == 0 {
		return
	}
	opts := w.brought.opts
	if w.given {
		opts = withCost(opts, n)
	}
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), q.c.timeout)
		defer cancel()
		// If it fails, the tokens are lost, and the bucket refills without.
		_, _ = q.c.Refund(ctx, q.key, opts...)
	}()
}
