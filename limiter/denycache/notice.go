package denycache

import (
	"math"
	"time"

	"github.com/quotaworker/ratelimit/limiter"
)

const (
	// shareAfter is how often a bucket is asked about before what is known of
	// it is worth telling others.
	shareAfter = 16

	// shareLeft is how much longer a denial must last for that: less is over
	// before the others have gained anything.
	shareLeft = 20 * time.Millisecond
)

// Notice is what caches tell each other about a bucket.
type Notice struct {
	// Refilled reports that the bucket was reset or got tokens back, so that
	// what was decided until At is not to be remembered. Otherwise the bucket
	// denied, and State is what it was like at At.
	Refilled bool

	// Key and Limit name the bucket; of a refilled one only the name of the
	// limit says anything.
	Key   string
	Limit limiter.Limit

	// Mark is what the bucket is like, see limiter.Rule.Open.
	Mark limiter.Mark

	// At is in microseconds since the Unix epoch, by the clock of the store.
	// Of a refill whose time is not known it is math.MaxInt64.
	At int64
}

// OnNotice sets the function that is told what other caches of the fleet should
// [Cache.Hear]: each reset and refund, before it is answered, and the denial of
// a bucket that is asked about again and again, once. It is called by whoever
// called Take or Known and must not block. Nil, the default, tells nobody.
func (c *Cache) OnNotice(f func(Notice)) {
	if f == nil {
		c.notice.Store(nil)
	} else {
		c.notice.Store(&f)
	}
}

// tell tells the others.
func (c *Cache) tell(n Notice) {
	if f := c.notice.Load(); f != nil {
		c.shared.Add(1)
		(*f)(n)
	}
}

// share tells the others about a bucket, if that is of use to them.
func (c *Cache) share(d *limiter.Demand, v view, now int64, wait time.Duration) {
	left := time.Duration(v.decided-now)*time.Microsecond + Life
	if min(left, wait) >= shareLeft {
		c.tell(Notice{Key: d.Key, Limit: d.Rule.Limit(), Mark: v.mark, At: v.decided})
	}
}

// refilled forgets the buckets of a reset or a refund, and tells the others.
// Of one that was not decided by the shared store nobody knows when it was, or
// if, only that it was not later than now.
func (c *Cache) refilled(check *limiter.Check, res *limiter.Result, decided bool) {
	local := c.local(c.clock())
	at := res.At
	if !decided {
		at = math.MaxInt64
		if lead := c.lead.Load(); lead != unknown {
			at = storeTime(local, lead)
		}
	}
	for i := range check.Demands {
		d := &check.Demands[i]
		c.table.refill(d, at, local)
		c.tell(Notice{Refilled: true, Key: d.Key, Limit: d.Rule.Limit(), At: at})
	}
}

// Hear takes in what another cache has told, which may be late, twice, out of
// order, or not true: what cannot be is ignored, and the rest ends after a Life.
// It may have been told by this cache itself.
func (c *Cache) Hear(n Notice) {
	c.heard.Add(1)
	local := c.local(c.clock())
	if n.Refilled {
		// Any limit of the name will do.
		rule, err := limiter.Limit{Name: n.Limit.Name, Rate: 1, Interval: time.Second}.Compile()
		if err == nil {
			c.table.refill(&limiter.Demand{Key: n.Key, Rule: rule}, n.At, local)
		}
		return
	}
	lead := c.lead.Load()
	if lead == unknown || n.At < 0 || n.At > maxNow {
		return // it cannot be said when this ends
	}
	rule, err := n.Limit.Compile()
	if err != nil {
		return
	}
	c.table.put(&limiter.Demand{Key: n.Key, Rule: rule}, entry{mark: n.Mark, decided: n.At, lead: lead, heard: true}, local)
}
