package bench

import (
	"context"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/quotaworker/ratelimit/client"
)

// Ask asks about one key and waits for the answer. It is safe for concurrent
// use.
type Ask func(ctx context.Context, key int) (Answer, error)

// Callers asks with goroutines that each wait for their answer, as the
// handlers of a server do. Each Ask is one connection, and the callers are
// spread over them.
type Callers []Ask

// Through asks with the Go client, about a key by its name.
func Through(c *client.Client, keys *Keys, opts ...client.CheckOption) Ask {
	return func(ctx context.Context, key int) (Answer, error) {
		res, err := c.Check(ctx, keys.Name(key), opts...)
		if err != nil {
			return Answer{}, err
		}
		return answerOf(&res), nil
	}
}

// Requests asks an echo under root with bare requests, which is the least that
// a caller who waits can do.
func Requests(nc *nats.Conn, root string, keys *Keys, timeout time.Duration) Ask {
	subjects := keys.subjects(root)
	return func(_ context.Context, key int) (Answer, error) {
		_, err := nc.Request(subjects.at(key), nil, timeout)
		return Answer{Allowed: true}, err
	}
}

func (asks Callers) drive(ctx context.Context, l *Load, p *pace, r *recorder) {
	// A check that is under way is not abandoned: whether it was granted
	// would never be known.
	finish := context.WithoutCancel(ctx)
	var due chan time.Duration
	if p.interval > 0 {
		due = make(chan time.Duration, l.Concurrency)
	}
	var callers sync.WaitGroup
	for i := range l.Concurrency {
		ask, s, next := asks[i%len(asks)], r.shard(i), l.Keys.stream(uint64(i)^l.Seed)
		one := func(due time.Duration) {
			key := next()
			r.sent(key)
			a, err := ask(finish, key)
			s.done(key, due, a, err)
		}
		callers.Go(func() {
			if due == nil {
				for !p.over() {
					one(p.clock.now())
				}
				return
			}
			for at := range due {
				one(at)
			}
		})
	}
	if due != nil {
		var pacer sync.WaitGroup
		pacer.Go(func() { offer(ctx, p, r, due) })
		pacer.Wait()
		close(due)
	}
	callers.Wait()
}

// offer puts the times at which checks are due into the queue of the callers.
// What nobody could take before the end comes out again as unsent.
func offer(ctx context.Context, p *pace, r *recorder, queue chan time.Duration) {
	end := time.NewTimer(p.end - p.clock.now())
	defer end.Stop()
	unsent := func(due time.Duration) { r.shard(0).unsent(due, p.clock.now()) }
	p.schedule(ctx, func(due time.Duration) bool {
		select {
		case queue <- due:
			return true
		default:
		}
		select {
		case queue <- due:
			return true
		case <-end.C:
		case <-ctx.Done():
		}
		return false
	}, unsent)
	for {
		select {
		case due := <-queue:
			unsent(due)
		default:
			return
		}
	}
}
