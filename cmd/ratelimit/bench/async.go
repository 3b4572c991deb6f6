package bench

import (
	"context"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/quotaworker/ratelimit/client/wire"
)

// Async asks over NATS without waiting: it publishes, and what answers calls
// back and publishes the next. That is the least that a client can cost, so
// what is measured is the service and the NATS server. It does not use the Go
// client of the service and is no way to write a program.
//
// Each check in flight has a slot, with a reply subject of its own.
type Async struct {
	Conns    []*nats.Conn
	subjects names
	body     []byte
	timeout  time.Duration
}

// NewAsync returns a Target that asks under root, "ratelimit.check" or that of
// an echo, with the same body each time, and gives up on an answer after
// timeout.
func NewAsync(conns []*nats.Conn, root string, keys *Keys, body []byte, timeout time.Duration) *Async {
	return &Async{Conns: conns, subjects: keys.subjects(root), body: body, timeout: timeout}
}

// flight is one drive of an Async.
type flight struct {
	*Async
	pace *pace
	rec  *recorder
	free chan int // slots, in an open loop
	left sync.WaitGroup
	all  []*lane
}

// lane is the part of a flight on one connection.
type lane struct {
	*flight
	nc    *nats.Conn
	inbox string // ends in a dot
	shard *shard

	mu    sync.Mutex // guards what follows
	next  func() int
	slots []slot
}

// slot is a check in flight, or room for one.
type slot struct {
	reply string        // its last token is number, which no other check has
	turn  int           // how often the slot was given up
	id    int           // of the slot, in the flight
	busy  bool          // from sending to answer
	key   int           //
	due   time.Duration //
	sent  time.Duration //
}

func (a *Async) drive(ctx context.Context, l *Load, p *pace, r *recorder) {
	f := &flight{Async: a, pace: p, rec: r}
	for i, nc := range a.Conns {
		f.all = append(f.all, &lane{flight: f, nc: nc, inbox: nc.NewInbox() + ".", shard: r.shard(i), next: l.Keys.stream(l.Seed ^ uint64(i))})
	}
	for i := range l.Concurrency {
		lane := f.all[i%len(f.all)]
		lane.slots = append(lane.slots, slot{id: i, reply: lane.inbox + strconv.Itoa(len(lane.slots))})
	}
	for _, lane := range f.all {
		sub, err := lane.nc.Subscribe(lane.inbox+"*", lane.answered)
		if err != nil {
			lane.shard.done(0, p.clock.now(), Answer{}, &wire.Error{Code: wire.CodeUnavailable, Message: err.Error()})
			return
		}
		defer lane.close(sub)
		// More answers than slots cannot wait.
		_ = sub.SetPendingLimits(-1, -1)
	}
	f.run(ctx, l)
}

// run keeps the checks in flight, and returns when the last one is back.
func (f *flight) run(ctx context.Context, l *Load) {
	landed := make(chan struct{})
	var watch sync.WaitGroup
	watch.Go(func() { f.giveUp(landed) })
	if f.pace.interval > 0 {
		f.free = make(chan int, l.Concurrency)
		for i := range l.Concurrency {
			f.free <- i
		}
		var pacer sync.WaitGroup
		pacer.Go(func() { f.depart(ctx) })
		pacer.Wait()
	} else {
		for i := range l.Concurrency {
			lane := f.all[i%len(f.all)]
			lane.mu.Lock()
			f.left.Add(1)
			lane.send(&lane.slots[i/len(f.all)], f.pace.clock.now())
			lane.mu.Unlock()
		}
	}
	f.left.Wait()
	close(landed)
	watch.Wait()
}

// depart sends checks when they are due, in an open loop.
func (f *flight) depart(ctx context.Context) {
	end := time.NewTimer(f.pace.end - f.pace.clock.now())
	defer end.Stop()
	f.pace.schedule(ctx, func(due time.Duration) bool {
		var i int
		select {
		case i = <-f.free:
		case <-end.C:
			return false
		case <-ctx.Done():
			return false
		}
		lane := f.all[i%len(f.all)]
		lane.mu.Lock()
		defer lane.mu.Unlock()
		f.left.Add(1)
		lane.send(&lane.slots[i/len(f.all)], due)
		return true
	}, func(due time.Duration) {
		f.rec.shard(0).unsent(due, f.pace.clock.now())
	})
}

// send sends the next check in a slot. The lane is locked.
func (l *lane) send(s *slot, due time.Duration) {
	s.busy, s.key, s.due = true, l.next(), due
	if l.pace.interval > 0 {
		s.sent = l.pace.clock.now()
	} else {
		s.sent = due
	}
	l.rec.sent(s.key)
	if err := l.nc.PublishRequest(l.subjects.at(s.key), s.reply, l.body); err != nil {
		l.shard.done(s.key, s.due, Answer{}, &wire.Error{Code: wire.CodeUnavailable, Message: err.Error()})
		l.release(s)
	}
}

// release makes a slot free, and nothing is in flight in it any more. The lane
// is locked.
func (l *lane) release(s *slot) {
	s.busy = false
	if l.free != nil {
		l.free <- s.id
	}
	l.left.Done()
}

// answered takes in an answer and, in a closed loop, sends the next check.
func (l *lane) answered(m *nats.Msg) {
	number, err := strconv.Atoi(strings.TrimPrefix(m.Subject, l.inbox))
	if err != nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	s := &l.slots[number%len(l.slots)]
	if !s.busy || s.turn != number/len(l.slots) {
		return // it was given up
	}
	var a Answer
	if m.Header != nil && len(m.Data) == 0 {
		err = &wire.Error{Code: wire.CodeUnavailable, Message: "no workers listen; start one with ratelimitd worker, in the NATS account of this user"}
	} else {
		a, err = read(m.Data, l.rec.unknown(s.key))
	}
	l.shard.done(s.key, s.due, a, err)
	l.again(s)
}

// again sends the next check in a slot that has become free, if it is time for
// that. The lane is locked.
func (l *lane) again(s *slot) {
	if l.free != nil || l.pace.over() {
		l.release(s)
		return
	}
	l.send(s, l.pace.clock.now())
}

// giveUp gives up checks that are not answered in time, until landed is closed.
func (f *flight) giveUp(landed <-chan struct{}) {
	tick := time.NewTicker(min(f.timeout/4, 100*time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-landed:
			return
		case <-tick.C:
		}
		for _, l := range f.all {
			l.mu.Lock()
			now := f.pace.clock.now()
			for i := range l.slots {
				s := &l.slots[i]
				if !s.busy || now-s.sent < f.timeout {
					continue
				}
				l.shard.done(s.key, s.due, Answer{}, errUnanswered)
				s.turn++
				s.reply = l.inbox + strconv.Itoa(i+s.turn*len(l.slots))
				l.again(s)
			}
			l.mu.Unlock()
		}
	}
}

// errUnanswered is what a check in a slot fails with when nobody answers it.
var errUnanswered = &wire.Error{Code: wire.CodeDeadlineExceeded, Message: "nobody answered in time"}

// close ends the subscription of a lane, and returns when no more answers are
// taken in.
func (l *lane) close(sub *nats.Subscription) {
	done := make(chan struct{})
	sub.SetClosedHandler(func(string) { close(done) })
	if err := sub.Unsubscribe(); err != nil {
		return
	}
	<-done
}
