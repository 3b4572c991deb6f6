package main

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/quotaworker/ratelimit/client/wire"
	"github.com/quotaworker/ratelimit/limiter"
	"github.com/quotaworker/ratelimit/limiter/memstore"
)

// startNATS starts a NATS server on a free port of the loopback interface.
func startNATS(opts server.Options) (*server.Server, error) {
	opts.Host, opts.Port, opts.NoLog, opts.NoSigs = "127.0.0.1", server.RANDOM_PORT, true, true
	s, err := server.NewServer(&opts)
	if err != nil {
		return nil, err
	}
	s.Start()
	if !s.ReadyForConnections(10 * time.Second) {
		stopNATS(s)
		return nil, errors.New("the NATS server did not start")
	}
	return s, nil
}

func stopNATS(s *server.Server) {
	s.Shutdown()
	s.WaitForShutdown()
}

// service answers requests about keys from memory buckets whose clock stands
// still until it is moved.
type service struct {
	store  *memstore.Store
	now    atomic.Int64 // microseconds since the Unix epoch
	shared bool         // pretend that the buckets are in Redis
}

// serve starts a service at a NATS server. It ends with the server.
func serve(at *server.Server, shared bool) (*service, error) {
	s := &service{store: memstore.New(memstore.Options{}), shared: shared}
	s.now.Store(1_700_000_000_000_000)
	nc, err := nats.Connect("", nats.InProcessServer(at), nats.UserInfo("worker", "hush-hush"), nats.Token("hush-hush"), nats.NoReconnect())
	if err != nil {
		return nil, err
	}
	for _, verb := range []wire.Verb{wire.VerbCheck, wire.VerbPeek, wire.VerbReset, wire.VerbRefund} {
		_, err := nc.QueueSubscribe(wire.Subject(verb, ">"), wire.QueueGroup, func(m *nats.Msg) {
			reply := nats.NewMsg(m.Reply)
			r, e := s.decide(verb, m)
			if e != nil {
				reply.Header.Set(wire.HeaderError, string(e.Code))
				reply.Data = wire.AppendError(nil, e)
			} else {
				reply.Data = wire.AppendReply(nil, r)
			}
			nc.PublishMsg(reply)
		})
		if err != nil {
			return nil, err
		}
	}
	return s, nc.Flush()
}

func (s *service) decide(verb wire.Verb, m *nats.Msg) (*wire.Reply, *wire.Error) {
	req, err := wire.DecodeRequest(m.Data)
	if err != nil {
		return nil, err.(*wire.Error)
	}
	key := wire.KeyFromSubject(verb, m.Subject)
	switch {
	case key == "busy":
		return nil, wire.Errorf(wire.CodeOverloaded, "this worker has too much to do; try again")
	case strings.HasPrefix(key, "closed."):
		return nil, wire.Errorf(wire.CodeNoPolicy, "no policy matches the key")
	}
	limit := limiter.Limit{Rate: 10, Interval: time.Second, Burst: 100}
	if req.Rate > 0 {
		limit = limiter.Limit{Rate: req.Rate, Interval: time.Duration(req.IntervalMicros) * time.Microsecond, Burst: req.Burst}
	}
	rule, err := limit.Compile()
	if err != nil {
		return nil, wire.Errorf(wire.CodeLimitNotRepresentable, "%s", err)
	}
	check := limiter.Check{Demands: []limiter.Demand{{Key: key, Rule: rule, Cost: req.Cost}}}
	switch verb {
	case wire.VerbPeek:
		check.Demands[0].Cost = 0
	case wire.VerbReset:
		check.Op = limiter.Reset
	case wire.VerbRefund:
		check.Op = limiter.Refund
	}
	var results [1]limiter.Result
	err = s.store.TakeAt(context.Background(), time.UnixMicro(s.now.Load()), []limiter.Check{check}, results[:])
	if errors.Is(err, limiter.ErrCostExceedsBurst) {
		return nil, wire.Errorf(wire.CodeCostExceedsBurst, "%s", err)
	}
	if err != nil {
		return nil, wire.Errorf(wire.CodeInvalidRequest, "%s", err)
	}
	level := results[0].Levels[0]
	reply := &wire.Reply{
		Allowed:      results[0].Allowed,
		Key:          key,
		Limit:        rule.Limit().Burst,
		Remaining:    level.Remaining,
		RetryAfterMS: millis(level.RetryAfter),
		ResetAfterMS: millis(level.ResetAfter),
		WindowMS:     rule.Limit().Burst * rule.Limit().Interval.Milliseconds() / rule.Limit().Rate,
		LimitName:    rule.Name(),
		Source:       "memory",
		Degraded:     !s.shared,
	}
	if s.shared {
		reply.Source = "redis"
	}
	if strings.HasPrefix(key, "free.") {
		reply.Policy, reply.LimitName = "free", "per-second"
	}
	return reply, nil
}

func millis(d time.Duration) int64 { return (d + time.Millisecond - 1).Milliseconds() }
