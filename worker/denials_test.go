package worker

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/quotaworker/ratelimit/client/wire"
	"github.com/quotaworker/ratelimit/limiter"
	"github.com/quotaworker/ratelimit/limiter/batch"
	"github.com/quotaworker/ratelimit/limiter/denycache"
	"github.com/quotaworker/ratelimit/limiter/memstore"
)

// sharedStore says of what memory decides that Redis did.
type sharedStore struct{ *memstore.Store }

func (s sharedStore) Take(ctx context.Context, checks []limiter.Check, results []limiter.Result) error {
	err := s.Store.Take(ctx, checks, results)
	for i := range results {
		if results[i].Source == limiter.SourceMemory {
			results[i].Source = limiter.SourceRedis
		}
	}
	return err
}

// hourly is the default limit of the workers with caches.
var hourly = limiter.Limit{Name: "default", Rate: 5, Interval: time.Hour}

// newCached starts a worker on a shared store with a cache before it.
func newCached(t *testing.T, store limiter.Store) (*rig, *denycache.Cache) {
	t.Helper()
	cache := denycache.New(store, denycache.Options{})
	queue := batch.New(cache, batch.Options{})
	t.Cleanup(func() {
		if err := queue.Close(context.Background()); err != nil {
			t.Errorf("closing the queue: %v", err)
		}
	})
	return newRig(t, queue, Options{Denials: cache, DefaultLimit: hourly, InlineLimits: InlineUnmatched}), cache
}

// another starts a worker beside that of a rig, which is left without checks to
// answer, and returns its cache.
func (r *rig) another(t *testing.T, store limiter.Store) *denycache.Cache {
	t.Helper()
	cache := denycache.New(store, denycache.Options{})
	w := &Worker{nc: connect(t, r.srv), log: r.worker.log, metrics: r.worker.metrics}
	d, err := w.openDenials(cache)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.nc.Flush(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.close)
	return cache
}

func oneOf(t *testing.T, key string, cost int64) limiter.Check {
	t.Helper()
	rule, err := hourly.Compile()
	if err != nil {
		t.Fatal(err)
	}
	return limiter.Check{Demands: []limiter.Demand{{Key: key, Rule: rule, Cost: cost}}}
}

func knows(t *testing.T, c *denycache.Cache, key string) bool {
	check := oneOf(t, key, 1)
	return c.Known(time.Now(), &check, new(limiter.Result))
}

// TestDenialsAreAnswered: what Redis has denied is denied again without it, in
// every form of a request, and the reply is the one that Redis gave.
func TestDenialsAreAnswered(t *testing.T) {
	r, cache := newCached(t, sharedStore{memstore.New(memstore.Options{})})
	for cost := range 2 { // of which the first takes all
		r.one("ratelimit.check.user.42", fmt.Sprintf(`{"cost":%d}`, 5-4*cost))
	}
	got := r.one("ratelimit.check.user.42", "")
	if got.Allowed || got.Source != "deny_cache" || got.Degraded || got.Limit != 5 || got.Remaining != 0 || got.LimitName != "default" ||
		got.RetryAfterMS < 719_000 || got.RetryAfterMS > 720_000 || got.ResetAfterMS < 3_599_000 || got.ResetAfterMS > 3_600_000 {
		t.Errorf("once more: %+v", got)
	}
	if got := r.one("ratelimit.peek.user.42", ""); !got.Allowed || got.Source != "redis" {
		t.Errorf("a look: %+v, want one at Redis", got)
	}
	for _, body := range []string{`{"checks":[{"key":"user.42"},{"key":"user.43"}]}`, `{"mode":"all","checks":[{"key":"user.42"},{"key":"user.44"}]}`} {
		for range 2 {
			msg := r.ask("ratelimit.check", body)
			replies, err := wire.DecodeReplies(msg.Data)
			if err != nil || len(replies.Results) != 2 || replies.Allowed || replies.Results[0].Allowed || !replies.Results[1].Allowed {
				t.Fatalf("%s: %s, %v", body, msg.Data, err)
			}
		}
	}
	if got := cache.Stats().Hits; got != 4 { // one alone, two in a message, and of the two that are taken together the second
		t.Errorf("%d checks were answered by the cache, want 4", got)
	}
	if got := r.value(`ratelimit_checks_total{result="denied",source="deny_cache",verb="check"}`); got != 4 {
		t.Errorf("%v checks of this source in the metrics, want 4", got)
	}
}

// TestWorkersTellEachOther: a reset and a refund through one worker are known
// to it when they are answered, and to another soon after.
func TestWorkersTellEachOther(t *testing.T) {
	store := sharedStore{memstore.New(memstore.Options{})}
	r, here := newCached(t, store)
	there := r.another(t, store)
	for _, verb := range []string{"reset", "refund"} {
		for _, c := range []*denycache.Cache{here, there} {
			for c.Stats(); !knows(t, c, "user.42"); {
				if err := c.Take(t.Context(), []limiter.Check{oneOf(t, "user.42", 1)}, make([]limiter.Result, 1)); err != nil {
					t.Fatal(err)
				}
			}
		}
		r.one("ratelimit."+verb+".user.42", "")
		if knows(t, here, "user.42") {
			t.Errorf("after a %s was answered its worker goes by what was before", verb)
		}
		within(t, 900*time.Millisecond, "another worker hears of a "+verb, func() bool { return !knows(t, there, "user.42") })
		if got := r.one("ratelimit.check.user.42", ""); !got.Allowed {
			t.Errorf("a check after the %s: %+v", verb, got)
		}
	}
}

// TestWorkersShareDenials: a key that is asked for again and again at one worker
// is denied by another that has never asked for it.
func TestWorkersShareDenials(t *testing.T) {
	store := sharedStore{memstore.New(memstore.Options{})}
	r, here := newCached(t, store)
	there := r.another(t, store)
	if err := there.Take(t.Context(), []limiter.Check{oneOf(t, "else", 1)}, make([]limiter.Result, 1)); err != nil {
		t.Fatal(err)
	}
	within(t, 10*time.Second, "another worker knows", func() bool {
		if got := r.one("ratelimit.check.user.42", ""); got.Degraded {
			t.Fatalf("degraded: %+v", got)
		}
		return knows(t, there, "user.42")
	})
	if s := here.Stats(); s.Shared == 0 || s.Hits < 16 {
		t.Errorf("%+v; it was told too soon, or not by this worker", s)
	}
}

// TestNoticesOfAllSorts: whatever is published to the workers, they go on.
func TestNoticesOfAllSorts(t *testing.T) {
	r, cache := newCached(t, sharedStore{memstore.New(memstore.Options{})})
	r.one("ratelimit.check.user.42", "")
	long := strings.Repeat("x", 300)
	good := string(encodeNotice(denycache.Notice{Key: "user.1", Limit: hourly, At: time.Now().UnixMicro()}))
	for _, text := range []string{
		"", "null", "[]", "{}", "{", `"`, "\x00\xff", `{"key":"user.42"}`, `{"key":"a b","refilled":true}`, `{"key":"` + long + `","refilled":true}`,
		`{"key":"user.42","at":1e99}`, `{"key":"user.42","at":-9223372036854775808,"limit":{"name":"default","rate":1,"interval_us":9223372036854775807}}`,
		`{"key":"user.42","at":9223372036854775807,"limit":{"name":"default","rate":9223372036854775807,"interval_us":1000,"burst":-1},"mark":"` + long + `"}`,
		`{"key":"user.42","refilled":true,"limit":{"name":"` + long + `"}}`, good + good, strings.Repeat("[", 2000), good[:len(good)-1] + `,"x":"` + strings.Repeat(long, 10) + `"}`,
	} {
		if err := r.nc.Publish(DenialsSubject, []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.nc.Publish(DenialsSubject, []byte(good)); err != nil {
		t.Fatal(err)
	}
	within(t, 10*time.Second, "the last one is heard", func() bool { return cache.Stats().Heard > 0 })
	if got := r.one("ratelimit.check.user.42", ""); !got.Allowed || got.Remaining != 3 {
		t.Errorf("a check after it all: %+v, want allowed", got)
	}
}

// TestNoticesAreNoReplies: a caller cannot have a worker publish there.
func TestNoticesAreNoReplies(t *testing.T) {
	r, cache := newCached(t, sharedStore{memstore.New(memstore.Options{})})
	if err := r.nc.PublishMsg(&nats.Msg{Subject: "ratelimit.check.user.42", Reply: DenialsSubject}); err != nil {
		t.Fatal(err)
	}
	if got := r.one("ratelimit.check.user.42", ""); got.Remaining != 4 {
		t.Errorf("%+v: the one without an inbox was charged", got)
	}
	if got := cache.Stats().Heard; got != 0 {
		t.Errorf("%d notices", got)
	}
}

// TestStopEndsDenials: a worker that has stopped listens no more.
func TestStopEndsDenials(t *testing.T) {
	r, cache := newCached(t, sharedStore{memstore.New(memstore.Options{})})
	if err := r.worker.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r.worker.denials.sub.IsValid() {
		t.Error("it is still subscribed")
	}
	reset := oneOf(t, "user.42", 0)
	reset.Op = limiter.Reset
	if err := cache.Take(t.Context(), []limiter.Check{reset}, make([]limiter.Result, 1)); err != nil || cache.Stats().Shared != 0 {
		t.Errorf("%v, %+v: told, though nobody listens", err, cache.Stats())
	}
}

// TestNoticesInWords is the message as it is, which workers of other versions
// read and write.
func TestNoticesInWords(t *testing.T) {
	for _, tt := range []struct {
		notice denycache.Notice
		text   string
	}{
		{denycache.Notice{Refilled: true, Key: "user.42", Limit: hourly, At: 1763712000123457},
			`{"refilled":true,"key":"user.42","limit":{"name":"default","rate":5,"interval_us":3600000000,"burst":0,"algorithm":""},"at":1763712000123457}`},
		{denycache.Notice{Key: "user.42", Mark: limiter.ParseMark("1763712000123457:3"), At: 1763712000000000, Limit: limiter.Limit{Name: "day", Rate: 7, Burst: 7, Algorithm: limiter.FixedWindow, Calendar: limiter.Calendar{Period: "month", Zone: "Europe/Berlin", AnchorDay: 5}}},
			`{"key":"user.42","limit":{"name":"day","rate":7,"burst":7,"algorithm":"fixed_window","period":"month","zone":"Europe/Berlin","anchor_day":5},"mark":"1763712000123457:3","at":1763712000000000}`},
	} {
		if got := string(encodeNotice(tt.notice)); got != tt.text {
			t.Errorf("got  %s\nwant %s", got, tt.text)
		}
		if got, ok := decodeNotice([]byte(tt.text)); !ok || !reflect.DeepEqual(got, tt.notice) {
			t.Errorf("%s is read as %+v", tt.text, got)
		}
	}
}

// FuzzNotice: what can be read is written the same.
func FuzzNotice(f *testing.F) {
	f.Add([]byte(`{"key":"user.42","limit":{"name":"default","rate":5,"interval_us":3600000000,"burst":5,"algorithm":"token_bucket"},"mark":"1763712000123457","at":1763712000000000}`))
	f.Add([]byte(`{"refilled":true,"key":"user.42","limit":{"name":"default"},"at":9223372036854775807}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		n, ok := decodeNotice(text)
		if !ok {
			return
		}
		again, ok := decodeNotice(encodeNotice(n))
		if !ok && json.Valid(text) && len(encodeNotice(n)) <= maxNotice {
			t.Fatalf("%s is written as %s, which cannot be read", text, encodeNotice(n))
		}
		if ok && !reflect.DeepEqual(n, again) {
			t.Fatalf("%+v is read as %+v", n, again)
		}
	})
}
