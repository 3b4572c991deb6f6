package worker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/quotaworker/ratelimit/client/wire"
	"github.com/quotaworker/ratelimit/limiter"
	"github.com/quotaworker/ratelimit/limiter/batch"
	"github.com/quotaworker/ratelimit/limiter/memstore"
)

// perHour has time to look at a bucket before it refills.
var perHour = limiter.Limit{Rate: 1, Interval: time.Hour, Burst: 5}

// slowStore takes its time for every call.
type slowStore struct {
	limiter.Store
	takes time.Duration
}

func (s *slowStore) Take(ctx context.Context, checks []limiter.Check, results []limiter.Result) error {
	time.Sleep(s.takes)
	return s.Store.Take(ctx, checks, results)
}

// brokenStore decides nothing.
type brokenStore struct{}

func (brokenStore) Take(ctx context.Context, checks []limiter.Check, results []limiter.Result) error {
	if err := limiter.Prepare(checks, results); err != nil {
		return err
	}
	return errors.New("redis at 10.1.2.3 is gone")
}

func slowQueue(t *testing.T, takes time.Duration, o batch.Options) Queue {
	b := batch.New(&slowStore{memstore.New(memstore.Options{}), takes}, o)
	t.Cleanup(func() { b.Close(context.Background()) })
	return b
}

// Behind a check that takes a second, what waits less than that is shed.
func TestDeadline(t *testing.T) {
	for _, test := range []struct {
		header []string
		maxAge time.Duration
		shed   bool
	}{
		{[]string{"999"}, 0, true},
		{[]string{"1001"}, 0, false},
		{[]string{"0"}, 0, true},
		{nil, 0, false}, // 2 s
		{nil, 999 * time.Millisecond, true},
		{[]string{"-1"}, 0, false},
		{[]string{"-1"}, 999 * time.Millisecond, true},
		{[]string{"soon"}, 999 * time.Millisecond, true},
		{[]string{""}, 999 * time.Millisecond, true},
		{[]string{"1e9"}, 999 * time.Millisecond, true},
		{[]string{"99999999999999999999"}, 999 * time.Millisecond, true},
		{[]string{"86400001"}, 999 * time.Millisecond, true},
		{[]string{"86400000"}, 999 * time.Millisecond, false},
		{[]string{"60000", "1"}, 999 * time.Millisecond, false},
	} {
		t.Run(fmt.Sprint(test.header, test.maxAge), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := newRig(t, slowQueue(t, time.Second, batch.Options{}), Options{DefaultLimit: perHour, MaxAge: test.maxAge})
				inbox := r.nc.NewInbox()
				replies, err := r.nc.SubscribeSync(inbox)
				if err != nil {
					t.Fatal(err)
				}
				defer replies.Unsubscribe()
				if err := r.nc.PublishRequest("ratelimit.check.other", r.nc.NewInbox(), nil); err != nil {
					t.Fatal(err)
				}
				synctest.Wait() // it is being decided
				msg := &nats.Msg{Subject: "ratelimit.check.k", Reply: inbox, Header: nats.Header{}}
				if test.header != nil {
					msg.Header[wire.HeaderTimeout] = test.header
				}
				if err := r.nc.PublishMsg(msg); err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				answer, err := replies.NextMsgWithContext(ctx)
				if err != nil {
					t.Fatal(err)
				}
				reply, err := wire.DecodeReply(answer.Data)
				if err != nil {
					t.Fatal(err)
				}
				left := int64(4)
				if test.shed {
					left = 5
					if reply.Err == nil || reply.Err.Code != wire.CodeDeadlineExceeded {
						t.Errorf("got %+v, want %s", reply, wire.CodeDeadlineExceeded)
					}
					r.wantMetrics(map[string]float64{`ratelimit_shed_total{reason="deadline"}`: 1})
				} else if !reply.Allowed {
					t.Errorf("got %+v, want allowed", reply)
				}
				if after := r.one("ratelimit.peek.k", ""); after.Remaining != left {
					t.Errorf("%d tokens are left, want %d", after.Remaining, left)
				}
			})
		})
	}
}

// Behind a check that takes a second, those of a message are shed whose
// callers wait less than that; but none waits longer than the whole message.
func TestDeadlinesInOneMessage(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, slowQueue(t, time.Second, batch.Options{}), Options{DefaultLimit: perHour})
		if err := r.nc.PublishRequest("ratelimit.check.other", r.nc.NewInbox(), nil); err != nil {
			t.Fatal(err)
		}
		synctest.Wait() // it is being decided
		const body = `{"checks":[{"key":"a","timeout_ms":999},{"key":"b"},{"key":"c","timeout_ms":1001},{"key":"d","timeout_ms":86400000}]}`
		if got, want := describe(t, r.ask("ratelimit.check", body, wire.HeaderTimeout, "1500")), "a deadline_exceeded, b allowed 4, c allowed 4, d allowed 4; allowed false"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		if err := r.nc.PublishRequest("ratelimit.check.other", r.nc.NewInbox(), nil); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if got, want := describe(t, r.ask("ratelimit.check", body, wire.HeaderTimeout, "999")), "a deadline_exceeded, b deadline_exceeded, c deadline_exceeded, d deadline_exceeded; allowed false"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		if got := r.one("ratelimit.peek.a", ""); got.Remaining != 5 {
			t.Errorf("%d tokens are left of a, want 5", got.Remaining)
		}
	})
}

// A full queue is answered at once, and so is every check that does not fit
// into it of a message with several.
func TestOverloaded(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, slowQueue(t, time.Second, batch.Options{Queue: 2}), Options{DefaultLimit: perHour})
		publish := func(key string) {
			if err := r.nc.PublishRequest("ratelimit.check."+key, r.nc.NewInbox(), nil); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		publish("a") // is being decided
		publish("b") // waits

		began := time.Now()
		done := make(chan string)
		go func() { done <- describe(t, r.ask("ratelimit.check", `{"checks":[{"key":"c"},{"key":"d"}]}`)) }()
		synctest.Wait()
		r.wantError(wire.CodeOverloaded, "nothing was charged", "ratelimit.check.e", "")
		if took := time.Since(began); took > 0 {
			t.Errorf("overloaded was answered after %s, want at once", took)
		}
		if got, want := <-done, "c allowed 4, d overloaded; allowed false"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		for key, want := range map[string]int64{"c": 4, "d": 5, "e": 5} {
			if got := r.one("ratelimit.peek."+key, ""); got.Remaining != want {
				t.Errorf("the bucket of %s holds %d, want %d", key, got.Remaining, want)
			}
		}
		r.wantMetrics(map[string]float64{
			`ratelimit_shed_total{reason="overloaded"}`:      2,
			`ratelimit_errors_total{code="overloaded"}`:      2,
			`ratelimit_inflight_checks`:                      0,
			`ratelimit_check_duration_seconds{verb="check"}`: 3,
		})
	})
}

// What the store says is for the operator.
func TestStoreThatFails(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := batch.New(brokenStore{}, batch.Options{})
		t.Cleanup(func() { b.Close(context.Background()) })
		log := &recorder{}
		r := newRig(t, b, Options{DefaultLimit: perHour, Logger: log.logger()})
		for range 100 {
			r.wantError(wire.CodeUnavailable, "the store did not decide", "ratelimit.check.k", "")
		}
		if got, want := describe(t, r.ask("ratelimit.check", `{"checks":[{"key":"a"},{"key":"b"}]}`)), "a unavailable, b unavailable; allowed false"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		if msg := r.ask("ratelimit.check.k", ""); strings.Contains(string(msg.Data), "10.1.2.3") {
			t.Errorf("the reply tells the caller about the store: %s", msg.Data)
		}
		if got := log.count("redis at 10.1.2.3 is gone"); got != 1 {
			t.Errorf("103 failures in one moment were logged %d times, want once", got)
		}
		time.Sleep(time.Second)
		r.ask("ratelimit.check.k", "")
		if got := log.count("times_before=102"); got != 1 {
			t.Errorf("a second later the log does not tell of the 102 failures before:\n%s", log)
		}
	})
}

func TestClosedQueue(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := batch.New(memstore.New(memstore.Options{}), batch.Options{})
		r := newRig(t, b, Options{DefaultLimit: perHour})
		b.Close(context.Background())
		r.wantError(wire.CodeUnavailable, "is stopping", "ratelimit.check.k", "")
	})
}
