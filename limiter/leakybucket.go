package limiter

import "time"

// LeakyBucket spaces what it admits: a queue of depth Burst, which Rate
// requests leave per Interval, at even distances. A check that finds room in
// the queue is admitted at once, and its Level says how long to wait before
// proceeding (Delay), so that those who do so are Interval/Rate apart.
//
// It admits what the token bucket admits and keeps the same state: what a
// bucket lacks to be full is what is in the queue.
const LeakyBucket = "leaky_bucket"

// leakyBucket implements algorithm.
type leakyBucket struct{ tokenBucket }

func newLeakyBucket(l Limit) (algorithm, error) {
	if err := l.noCalendar(); err != nil {
		return nil, err
	}
	b := new(leakyBucket)
	return b, fitTicks(l, func(tick int64) bool { return b.fit(l, tick) })
}

// delay is the time until the queue, as it is before the check, has run out.
func (b *leakyBucket) delay(s State, now int64) time.Duration { return b.until(s[0], now) }
