package bench

import (
	"runtime"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// slowest is the longest latency that is told from longer ones.
const slowest = time.Minute

// newHistogram returns a histogram of latencies in nanoseconds. Three digits
// are exact, from a microsecond to a minute.
func newHistogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(int64(time.Microsecond), int64(slowest), 3)
}

func record(h *hdrhistogram.Histogram, latency time.Duration) {
	// An error would say that the value is out of bounds.
	_ = h.RecordValue(int64(min(max(latency, 0), slowest)))
}

// recorder takes in what came of the checks of one round. It is safe for
// concurrent use.
type recorder struct {
	clock clock

	// Latencies count of checks that were due between from and to, and
	// answers that came in between them, so that neither the start nor the
	// end of a round is measured.
	from, to time.Duration

	tokens     int64 // that each granted check takes
	admissions *Admissions

	shards []shard
}

// shard has a part of the counts, for a part of the callers.
type shard struct {
	*recorder

	mu       sync.Mutex // guards what follows
	latency  *hdrhistogram.Histogram
	inTime   int64 // answers, denials too, between from and to
	counts   Counts
	errors   map[string]int64
	firstErr error
	_        [64]byte // no two shards in one cache line
}

// Counts says how many checks came to what, from the first to the last of a
// round.
type Counts struct {
	Allowed  int64 `json:"allowed"`
	Denied   int64 `json:"denied"`
	Degraded int64 `json:"degraded"` // of both
	Failed   int64 `json:"failed"`
	Unsent   int64 `json:"unsent"` // due, and never sent
}

// Answered returns how many checks were decided.
func (c *Counts) Answered() int64 { return c.Allowed + c.Denied }

func (c *Counts) add(o *Counts) {
	c.Allowed += o.Allowed
	c.Denied += o.Denied
	c.Degraded += o.Degraded
	c.Failed += o.Failed
	c.Unsent += o.Unsent
}

func newRecorder(c clock, from, to time.Duration, a *Admissions, tokens int64) *recorder {
	r := &recorder{clock: c, from: from, to: to, admissions: a, tokens: tokens}
	r.shards = make([]shard, 2*runtime.GOMAXPROCS(0))
	for i := range r.shards {
		r.shards[i].recorder = r
		r.shards[i].latency = newHistogram()
		r.shards[i].errors = make(map[string]int64)
	}
	return r
}

// shard returns the shard of the i-th caller.
func (r *recorder) shard(i int) *shard { return &r.shards[i%len(r.shards)] }

// sent notes that a check of a key is about to be sent.
func (r *recorder) sent(key int) {
	if r.admissions != nil {
		r.admissions.sent(key)
	}
}

// unknown reports whether no answer has named the limit of a key yet.
func (r *recorder) unknown(key int) bool {
	return r.admissions != nil && r.admissions.unknown(key)
}

// done takes in what came of a check of a key, which was due at that time.
func (s *shard) done(key int, due time.Duration, a Answer, err error) {
	now := s.clock.now()
	if err == nil && s.admissions != nil {
		s.admissions.answered(key, a, s.tokens)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if due >= s.from && due < s.to {
		record(s.latency, now-due)
	}
	if err != nil {
		s.counts.Failed++
		s.errors[codeOf(err)]++
		if s.firstErr == nil {
			s.firstErr = err
		}
		return
	}
	if now >= s.from && now < s.to {
		s.inTime++
	}
	if a.Allowed {
		s.counts.Allowed++
	} else {
		s.counts.Denied++
	}
	if a.Degraded {
		s.counts.Degraded++
	}
}

// unsent takes in that a check which was due was never sent.
func (s *shard) unsent(due, until time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts.Unsent++
	if due >= s.from && due < s.to {
		record(s.latency, until-due)
	}
}

// progress returns how many checks were answered, and the counts so far.
func (r *recorder) progress() (Counts, *hdrhistogram.Histogram) {
	var c Counts
	h := newHistogram()
	for i := range r.shards {
		s := &r.shards[i]
		s.mu.Lock()
		c.add(&s.counts)
		h.Merge(s.latency)
		s.mu.Unlock()
	}
	return c, h
}

// round returns everything.
func (r *recorder) round() *Round {
	out := &Round{Latency: newHistogram(), Errors: make(map[string]int64)}
	var inTime int64
	for i := range r.shards {
		s := &r.shards[i]
		s.mu.Lock()
		out.Counts.add(&s.counts)
		out.Latency.Merge(s.latency)
		for code, n := range s.errors {
			out.Errors[code] += n
		}
		if out.FirstError == nil {
			out.FirstError = s.firstErr
		}
		inTime += s.inTime
		s.mu.Unlock()
	}
	if took := r.to - r.from; took > 0 {
		out.PerSecond = float64(inTime) / took.Seconds()
	}
	return out
}
