package worker

import (
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/quotaworker/ratelimit/client/wire"
	"github.com/quotaworker/ratelimit/limiter"
	"github.com/quotaworker/ratelimit/limiter/denycache"
)

// DenialsSubject is where the workers of a fleet tell each other about buckets:
// that one was reset or refunded, so that nobody goes by what it was before, and
// that one denies again and again. All of them listen; nobody else should be
// allowed to publish there.
const DenialsSubject = "ratelimit.internal.denials"

// maxNotice bounds a message on DenialsSubject, in bytes.
const maxNotice = 2048

// denials is the worker's part in a deny cache: it asks it before a check is
// queued, and carries its notices.
type denials struct {
	cache   *denycache.Cache
	sub     *nats.Subscription
	results sync.Pool // of *limiter.Result
}

// openDenials subscribes to what other workers tell. Without a cache there is
// nothing to do, and it returns nil.
func (w *Worker) openDenials(cache *denycache.Cache) (*denials, error) {
	if cache == nil {
		return nil, nil
	}
	d := &denials{cache: cache}
	d.results.New = func() any { return new(limiter.Result) }
	sub, err := w.nc.Subscribe(DenialsSubject, func(msg *nats.Msg) {
		if n, ok := decodeNotice(msg.Data); ok {
			cache.Hear(n)
		}
	})
	if err == nil {
		err = sub.SetPendingLimits(pendingMessages, pendingBytes)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot subscribe to %q: %w", DenialsSubject, err)
	}
	d.sub = sub
	cache.OnNotice(func(n denycache.Notice) {
		if err := w.nc.Publish(DenialsSubject, encodeNotice(n)); err != nil {
			w.metrics.nats.publish.Inc()
			w.log.error("notice", "the other workers could not be told about a bucket; they may deny for up to a second more", err)
		}
	})
	return d, nil
}

// close ends the subscription.
func (d *denials) close() {
	if d == nil {
		return
	}
	d.cache.OnNotice(nil)
	_ = d.sub.Unsubscribe() // fails on a connection that is gone
}

// answer answers a call that is known to be denied, and reports whether it was.
func (d *denials) answer(c *call) bool {
	if d == nil {
		return false
	}
	res := d.results.Get().(*limiter.Result)
	known := d.cache.Known(c.arrived, &c.check, res)
	if known {
		c.Done(res, nil)
	}
	d.results.Put(res)
	return known
}

// noticeMessage is a denycache.Notice on its way. Workers of several versions
// listen, so fields may only be added.
type noticeMessage struct {
	Refilled bool         `json:"refilled,omitempty"`
	Key      string       `json:"key"`
	Limit    limitMessage `json:"limit"`
	Mark     string       `json:"mark,omitempty"`
	At       int64        `json:"at"`
}

// limitMessage is a limiter.Limit on its way.
type limitMessage struct {
	Name           string `json:"name"`
	Rate           int64  `json:"rate"`
	IntervalMicros int64  `json:"interval_us,omitempty"`
	Burst          int64  `json:"burst"`
	Algorithm      string `json:"algorithm"`
	Period         string `json:"period,omitempty"`
	Zone           string `json:"zone,omitempty"`
	AnchorDay      int    `json:"anchor_day,omitempty"`
}

func encodeNotice(n denycache.Notice) []byte {
	l := n.Limit
	text, err := json.Marshal(noticeMessage{
		Refilled: n.Refilled, Key: n.Key, Mark: n.Mark.String(), At: n.At,
		Limit: limitMessage{
			Name: l.Name, Rate: l.Rate, IntervalMicros: l.Interval.Microseconds(), Burst: l.Burst, Algorithm: l.Algorithm,
			Period: l.Calendar.Period, Zone: l.Calendar.Zone, AnchorDay: l.Calendar.AnchorDay,
		},
	})
	if err != nil {
		panic(err) // strings and numbers
	}
	return text
}

// decodeNotice is the inverse of encodeNotice, and reports whether that is what
// it was.
func decodeNotice(text []byte) (denycache.Notice, bool) {
	var m noticeMessage
	if len(text) > maxNotice || json.Unmarshal(text, &m) != nil || wire.CheckKey(m.Key) != nil {
		return denycache.Notice{}, false
	}
	l := &m.Limit
	if l.IntervalMicros < 0 || l.IntervalMicros > limiter.MaxInterval.Microseconds() {
		return denycache.Notice{}, false
	}
	return denycache.Notice{
		Refilled: m.Refilled, Key: m.Key, Mark: limiter.ParseMark(m.Mark), At: m.At,
		Limit: limiter.Limit{
			Name: l.Name, Rate: l.Rate, Interval: time.Duration(l.IntervalMicros) * time.Microsecond, Burst: l.Burst, Algorithm: l.Algorithm,
			Calendar: limiter.Calendar{Period: l.Period, Zone: l.Zone, AnchorDay: l.AnchorDay},
		},
	}, true
}
