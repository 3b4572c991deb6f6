package worker

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go/micro"

	"github.com/quotaworker/ratelimit/client/wire"
	"github.com/quotaworker/ratelimit/limiter"
	"github.com/quotaworker/ratelimit/limiter/batch"
	"github.com/quotaworker/ratelimit/limiter/memstore"
)

// message is a micro.Request that came from nowhere.
type message struct {
	micro.Request
	subject, reply string
	data           []byte
}

func (m *message) Subject() string        { return m.subject }
func (m *message) Reply() string          { return m.reply }
func (m *message) Data() []byte           { return m.data }
func (m *message) Headers() micro.Headers { return nil }

// sameThread decides a check where it is submitted.
type sameThread struct {
	store   limiter.Store
	checks  []limiter.Check
	results []limiter.Result
}

func (q *sameThread) Submit(items ...batch.Item) (int, error) {
	for _, item := range items {
		q.checks[0] = *item.Check()
		err := q.store.Take(context.Background(), q.checks, q.results)
		item.Done(&q.results[0], err)
	}
	return len(items), nil
}

// BenchmarkHandle is what a check costs between its arrival and its reply,
// deciding in memory included, without the NATS client around it.
func BenchmarkHandle(b *testing.B) {
	q := &sameThread{memstore.New(memstore.Options{}), make([]limiter.Check, 1), make([]limiter.Result, 1)}
	r := newRig(b, q, Options{DefaultLimit: perSecond, InlineLimits: InlineUnmatched})
	for name, m := range map[string]*message{
		"empty":   {subject: "ratelimit.check.user.42", reply: "_INBOX.nobody"},
		"inline":  {subject: "ratelimit.check.user.42", reply: "_INBOX.nobody", data: []byte(`{"rate":5,"interval":"1s"}`)},
		"many":    {subject: "ratelimit.check", reply: "_INBOX.nobody", data: manyChecks(128)},
		"refused": {subject: "ratelimit.check.user.42", reply: "_INBOX.nobody", data: []byte(`{"rate":5}`)},
	} {
		b.Run(name, func(b *testing.B) {
			e := r.worker.routes()[1].handler
			b.ReportAllocs()
			for b.Loop() {
				e.Handle(m)
			}
		})
	}
}

// BenchmarkMetrics is the part of it that counting takes.
func BenchmarkMetrics(b *testing.B) {
	e := newRig(b, nil, Options{}).worker.routes()[1].handler
	for b.Loop() {
		e.count(true, false, limiter.SourceRedis, 250*time.Microsecond)
	}
}

// manyChecks is the body of a message with n checks, as the Go client makes it.
func manyChecks(n int) []byte {
	r := wire.Request{Checks: make([]wire.Request, n)}
	for i := range r.Checks {
		r.Checks[i] = wire.Request{Key: fmt.Sprintf("user.%06d", i), Cost: 1}
	}
	return wire.AppendRequest(nil, &r)
}
