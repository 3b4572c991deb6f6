package bench

import (
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Admissions adds up the tokens that each key was granted, and judges whether
// a limiter could have granted them. It is safe for concurrent use.
//
// What came from a worker's memory is counted apart, and too much of it is not
// over-admission, because each worker then has buckets of its own, as the
// service says with each answer.
type Admissions struct {
	keys  []keyCount
	exact *Limit // if known beforehand, the limit with exactly that name

	// windowed says that limits grant their tokens by windows of the clock,
	// two of which a span of time can touch without covering either.
	windowed bool

	start time.Time

	mu     sync.Mutex // held by who adds a limit
	limits atomic.Pointer[[]Limit]
}

// keyCount is about one key.
type keyCount struct {
	first    atomic.Int64  // when it was first asked about, after start, in ns; 0: never
	granted  atomic.Int64  // tokens
	degraded atomic.Int64  // tokens, granted from memory
	limits   atomic.Uint64 // bit i: answers named limits[i]
}

// maxLimits is how many limits are told apart. Answers that name others are
// judged by those that they named before.
const maxLimits = 64

// NewAdmissions returns Admissions for n keys. Exact is the limit that the
// requests bring along, or nil if they have none: a limit of its name is then
// known better than answers tell it, which round to milliseconds. Windowed is
// true if limits follow windows of the clock (fixed_window, sliding_window).
func NewAdmissions(n int, exact *Limit, windowed bool) *Admissions {
	a := &Admissions{keys: make([]keyCount, n), exact: exact, windowed: windowed, start: time.Now()}
	a.limits.Store(new([]Limit))
	return a
}

func (a *Admissions) sent(key int) {
	k := &a.keys[key]
	if k.first.Load() == 0 {
		k.first.CompareAndSwap(0, max(1, int64(time.Since(a.start))))
	}
}

func (a *Admissions) unknown(key int) bool { return a.keys[key].limits.Load() == 0 }

func (a *Admissions) answered(key int, ans Answer, tokens int64) {
	k := &a.keys[key]
	if ans.Limit.Tokens > 0 {
		if bit := a.bit(ans.Limit); bit&^k.limits.Load() != 0 {
			k.limits.Or(bit)
		}
	}
	switch {
	case !ans.Allowed || ans.Shadow:
	case ans.Degraded:
		k.degraded.Add(tokens)
	default:
		k.granted.Add(tokens)
	}
}

// bit returns the bit of a limit in keyCount.limits, or 0 if there are too
// many.
func (a *Admissions) bit(l Limit) uint64 {
	if i := slices.Index(*a.limits.Load(), l); i >= 0 {
		return 1 << i
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	limits := *a.limits.Load()
	i := slices.Index(limits, l)
	switch {
	case i >= 0:
	case len(limits) == maxLimits:
		return 0
	default:
		i = len(limits)
		more := append(slices.Clip(limits), l)
		a.limits.Store(&more)
	}
	return 1 << i
}

// Verdict is what Admissions found.
type Verdict struct {
	// Granted is how many tokens came from the shared store, and Degraded how
	// many from memory.
	Granted  int64 `json:"granted_tokens"`
	Degraded int64 `json:"degraded_tokens"`

	// Keys is how many keys were asked about, and Judged how many of them have
	// a limit that answers told well enough.
	Keys   int `json:"keys"`
	Judged int `json:"keys_judged"`

	// Over has at most ten keys that were granted too much; OverKeys is how
	// many there are and OverTokens how much too much in all.
	Over       []Excess `json:"over,omitempty"`
	OverKeys   int      `json:"over_keys"`
	OverTokens int64    `json:"over_tokens"`

	// DegradedKeys is how many keys were granted too much only together with
	// what came from memory.
	DegradedKeys int `json:"degraded_keys"`

	// Nearest is the most that a judged key was granted, from memory too, as a
	// part of what its limit grants: 1 is all of it.
	Nearest float64 `json:"nearest"`
}

// Excess is a key that was granted too much.
type Excess struct {
	Key     int           `json:"-"`
	Name    string        `json:"key"`
	Granted int64         `json:"granted_tokens"`
	Most    int64         `json:"most_tokens"`
	Within  time.Duration `json:"within_ns"`
	Limit   Limit         `json:"-"`
}

// Judge compares what was granted until now with the limits.
func (a *Admissions) Judge(keys *Keys) Verdict {
	now := time.Since(a.start)
	limits := *a.limits.Load()
	var v Verdict
	for i := range a.keys {
		k := &a.keys[i]
		first := k.first.Load()
		if first == 0 {
			continue
		}
		v.Keys++
		granted, degraded := k.granted.Load(), k.degraded.Load()
		v.Granted += granted
		v.Degraded += degraded
		within := now - time.Duration(first)
		most, by := a.most(limits, k.limits.Load(), within)
		if math.IsInf(most, 1) {
			continue
		}
		v.Judged++
		v.Nearest = max(v.Nearest, float64(granted+degraded)/most)
		if granted <= int64(most) {
			if granted+degraded > int64(most) {
				v.DegradedKeys++
			}
			continue
		}
		v.OverKeys++
		v.OverTokens += granted - int64(most)
		if len(v.Over) < 10 {
			v.Over = append(v.Over, Excess{Key: i, Name: keys.Name(i), Granted: granted, Most: int64(most), Within: within, Limit: by})
		}
	}
	return v
}

// most returns how many tokens the limits grant one key within a time, and
// which of them grants that few. A limit that was changed meanwhile, which is
// one name with different tokens, grants as much as the most generous version.
func (a *Admissions) most(limits []Limit, seen uint64, within time.Duration) (float64, Limit) {
	least, by := math.Inf(1), Limit{}
	for i, l := range limits {
		if seen&(1<<i) == 0 {
			continue
		}
		most := a.grants(l, within)
		for j, other := range limits {
			if seen&(1<<j) != 0 && other.Name == l.Name {
				most = max(most, a.grants(other, within))
			}
		}
		if most < least {
			least, by = most, l
		}
	}
	return least, by
}

// grants returns how many tokens a limit grants within a time: all that a full
// bucket holds, and what flows in. Answers round the window up to a whole
// millisecond, so it may be that much shorter; and two clocks may differ by
// one in a thousand.
func (a *Admissions) grants(l Limit, within time.Duration) float64 {
	window := l.Window - time.Millisecond
	if a.exact != nil && a.exact.Name == l.Name && a.exact.Tokens == l.Tokens {
		window = a.exact.Window
	}
	if window <= 0 {
		return math.Inf(1)
	}
	elapsed := 1.001*within.Seconds() + 0.001
	most := float64(l.Tokens) * (1 + elapsed/window.Seconds())
	if a.windowed {
		most += float64(l.Tokens)
	}
	return most
}
