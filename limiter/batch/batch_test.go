package batch_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/quotaworker/ratelimit/limiter"
	"github.com/quotaworker/ratelimit/limiter/batch"
	"github.com/quotaworker/ratelimit/limiter/limitertest"
	"github.com/quotaworker/ratelimit/limiter/memstore"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// item is a check of a key that notes how it was answered.
type item struct {
	check    limiter.Check
	deadline time.Time

	done    int // how often Done was called
	allowed bool
	err     error
	at      time.Time
}

func newItem(tb testing.TB, key string) *item {
	rule := limitertest.MustCompile(tb, limiter.Limit{Rate: 2, Interval: time.Hour})
	return &item{check: limiter.Check{Demands: []limiter.Demand{{Key: key, Rule: rule, Cost: 1}}}}
}

func (i *item) Check() *limiter.Check { return &i.check }
func (i *item) Deadline() time.Time   { return i.deadline }
func (i *item) Done(res *limiter.Result, err error) {
	i.done++
	i.at = time.Now()
	if i.err = err; err == nil {
		i.allowed = res.Allowed
	}
}

// recorder is a store that takes its time over every call and notes the keys.
type recorder struct {
	limiter.Store
	delay time.Duration
	calls [][]string
	err   func(checks []limiter.Check, results []limiter.Result) error // after deciding; may undo
}

func newRecorder(delay time.Duration) *recorder {
	return &recorder{Store: memstore.New(memstore.Options{}), delay: delay}
}

func (r *recorder) Take(ctx context.Context, checks []limiter.Check, results []limiter.Result) error {
	time.Sleep(r.delay)
	var keys []string
	for _, c := range checks {
		keys = append(keys, c.Demands[0].Key)
	}
	r.calls = append(r.calls, keys)
	if err := r.Store.Take(ctx, checks, results); err != nil || r.err == nil {
		return err
	}
	return r.err(checks, results)
}

// rest lets the time of the bubble pass until everything is answered.
func rest() {
	time.Sleep(time.Second)
	synctest.Wait()
}

func mustSubmit(t *testing.T, b *batch.Batcher, items ...*item) {
	t.Helper()
	for _, i := range items {
		if _, err := b.Submit(i); err != nil {
			t.Fatalf("Submit: %v", err)
		}
	}
}

func mustClose(t *testing.T, b *batch.Batcher) {
	t.Helper()
	if err := b.Close(t.Context()); err != nil {
		t.Fatalf("Close: %v", err)
	}
}

func TestALoneCheckIsDecidedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newRecorder(0)
		b := batch.New(store, batch.Options{})
		defer mustClose(t, b)
		start := time.Now()
		for n := range 3 {
			i := newItem(t, "k")
			mustSubmit(t, b, i)
			synctest.Wait()
			if want := n < 2; i.done != 1 || i.err != nil || i.allowed != want || !i.at.Equal(start) {
				t.Errorf("check %d: done %d times, allowed %t, error %v, after %s; want once, %t, none, at once", n, i.done, i.allowed, i.err, i.at.Sub(start), want)
			}
		}
		if got, want := b.Stats(), (batch.Stats{Batches: 3, Checks: 3}); got != want {
			t.Errorf("stats %+v, want %+v", got, want)
		}
	})
}

func TestChecksThatQueueGoTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newRecorder(time.Millisecond)
		b := batch.New(store, batch.Options{Size: 3})
		defer mustClose(t, b)
		var items []*item
		for n := range 8 {
			items = append(items, newItem(t, fmt.Sprint(n)))
			mustSubmit(t, b, items[n])
			synctest.Wait() // so that the first is on its way alone
		}
		rest()
		want := [][]string{{"0"}, {"1", "2", "3"}, {"4", "5", "6"}, {"7"}}
		if !slices.EqualFunc(store.calls, want, slices.Equal) {
			t.Errorf("calls %q, want %q", store.calls, want)
		}
		for n, i := range items {
			if i.done != 1 || !i.allowed || i.err != nil {
				t.Errorf("item %d: done %d times, allowed %t, error %v", n, i.done, i.allowed, i.err)
			}
		}
	})
}

func TestOverloadedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newRecorder(time.Millisecond)
		b := batch.New(store, batch.Options{Queue: 4, Size: 2})
		defer mustClose(t, b)
		first := newItem(t, "first")
		mustSubmit(t, b, first)
		synctest.Wait() // it is on its way, the queue is empty
		var queued []*item
		for n := range 4 {
			queued = append(queued, newItem(t, fmt.Sprint(n)))
		}
		mustSubmit(t, b, queued...)
		start, extra := time.Now(), newItem(t, "extra")
		if _, err := b.Submit(extra); !errors.Is(err, batch.ErrOverloaded) || !time.Now().Equal(start) {
			t.Errorf("the fifth of four: error %v after %s, want ErrOverloaded at once", err, time.Since(start))
		}
		if got := b.Stats(); got.Queued != 4 || got.Overloaded != 1 {
			t.Errorf("stats %+v, want 4 queued and 1 overloaded", got)
		}
		time.Sleep(1500 * time.Microsecond) // two have left the queue
		mustSubmit(t, b, newItem(t, "late"))
		rest()
		if extra.done != 0 {
			t.Error("Done was called for an item that Submit refused")
		}
		for n, i := range append(queued, first) {
			if i.done != 1 || i.err != nil {
				t.Errorf("item %d: done %d times, error %v", n, i.done, i.err)
			}
		}
	})
}

func TestOverdueIsDroppedUncharged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newRecorder(10 * time.Millisecond)
		b := batch.New(store, batch.Options{})
		defer mustClose(t, b)
		mustSubmit(t, b, newItem(t, "other"))
		synctest.Wait()
		start := time.Now()
		after := func(d time.Duration) *item {
			i := newItem(t, "k")
			i.deadline = start.Add(d)
			return i
		}
		overdue, exact, ok, past := after(9*time.Millisecond), after(10*time.Millisecond), after(11*time.Millisecond), after(-time.Hour)
		mustSubmit(t, b, overdue, exact, ok, past)
		rest()
		for name, i := range map[string]*item{"overdue": overdue, "long past": past} {
			if i.done != 1 || !errors.Is(i.err, batch.ErrDeadline) {
				t.Errorf("%s: done %d times, error %v; want ErrDeadline", name, i.done, i.err)
			}
		}
		// Of two tokens both are there: the overdue took none.
		for name, i := range map[string]*item{"just in time": exact, "in time": ok} {
			if i.done != 1 || i.err != nil || !i.allowed {
				t.Errorf("%s: done %d times, allowed %t, error %v", name, i.done, i.allowed, i.err)
			}
		}
		if got := b.Stats(); got.Overdue != 2 || got.Checks != 3 || got.Batches != 2 {
			t.Errorf("stats %+v, want 2 overdue, 3 checks, 2 batches", got)
		}

		// A batch of nothing but overdue items asks nobody.
		calls := len(store.calls)
		mustSubmit(t, b, after(-time.Second))
		synctest.Wait()
		if len(store.calls) != calls {
			t.Errorf("the store was asked about %q", store.calls[calls:])
		}
	})
}

func TestCloseDecidesWhatIsQueuedAndWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newRecorder(time.Second)
		b := batch.New(store, batch.Options{Size: 2})
		var items []*item
		for n := range 5 {
			items = append(items, newItem(t, fmt.Sprint(n)))
		}
		mustSubmit(t, b, items[0])
		synctest.Wait()
		mustSubmit(t, b, items[1:]...)
		start := time.Now()
		go func() {
			time.Sleep(time.Millisecond)
			if _, err := b.Submit(newItem(t, "late")); !errors.Is(err, batch.ErrClosed) {
				t.Errorf("Submit while closing: error %v, want ErrClosed", err)
			}
		}()
		mustClose(t, b)
		if got := time.Since(start); got != 3*time.Second {
			t.Errorf("Close took %s, want 3 s for three calls", got)
		}
		for n, i := range items {
			if i.done != 1 || i.err != nil || !i.allowed {
				t.Errorf("item %d: done %d times, allowed %t, error %v", n, i.done, i.allowed, i.err)
			}
		}
		if _, err := b.Submit(newItem(t, "k")); !errors.Is(err, batch.ErrClosed) {
			t.Errorf("Submit after Close: error %v, want ErrClosed", err)
		}
		mustClose(t, b) // again is fine
	})
}

func TestCloseReturnsWhenItsContextEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := batch.New(newRecorder(time.Minute), batch.Options{})
		i := newItem(t, "k")
		mustSubmit(t, b, i)
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		if err := b.Close(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Second {
			t.Errorf("Close: error %v after %s, want the deadline after 1 s", err, time.Since(start))
		}
		mustClose(t, b)
		if i.done != 1 || i.err != nil || i.at.Sub(start) != time.Minute {
			t.Errorf("done %d times, error %v, after %s; want once, none, when the store had answered", i.done, i.err, i.at.Sub(start))
		}
	})
}

// TestErrorsArePerItem: what a store decided before it failed is an answer.
func TestErrorsArePerItem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gone := errors.New("gone")
		store := newRecorder(time.Millisecond)
		store.err = func(checks []limiter.Check, results []limiter.Result) error {
			var err error
			for i := range checks {
				if checks[i].Demands[0].Key == "bad" {
					results[i].Source, err = limiter.SourceNone, gone
				}
			}
			return err
		}
		b := batch.New(store, batch.Options{})
		defer mustClose(t, b)
		mustSubmit(t, b, newItem(t, "first"))
		synctest.Wait()
		good, bad, fine := newItem(t, "good"), newItem(t, "bad"), newItem(t, "fine")
		mustSubmit(t, b, good, bad, fine)
		rest()
		if bad.done != 1 || !errors.Is(bad.err, gone) {
			t.Errorf("undecided: done %d times, error %v; want the store's", bad.done, bad.err)
		}
		for _, i := range []*item{good, fine} {
			if i.done != 1 || i.err != nil || !i.allowed {
				t.Errorf("decided: done %d times, allowed %t, error %v", i.done, i.allowed, i.err)
			}
		}
	})
}

// counted is an item that counts for many.
type counted struct {
	item
	answered *atomic.Int64
	twice    *atomic.Int64
	calls    atomic.Int64
}

func (c *counted) Done(*limiter.Result, error) {
	if c.calls.Add(1) != 1 {
		c.twice.Add(1)
	}
	c.answered.Add(1)
}

// TestDoneOnce for every accepted item and never for a refused one, with many
// submitters, a small queue, deadlines and a Close in their midst.
func TestDoneOnce(t *testing.T) {
	const submitters, each = 16, 500
	store := &limitertest.Counting{Store: memstore.New(memstore.Options{})}
	b := batch.New(store, batch.Options{Queue: 32, Size: 8})
	var accepted, refused, closed, answered, twice atomic.Int64
	var wg sync.WaitGroup
	for s := range submitters {
		wg.Go(func() {
			for n := range each {
				i := &counted{item: *newItem(t, fmt.Sprint(s)), answered: &answered, twice: &twice}
				if n%10 == 0 {
					i.deadline = time.Now()
				}
				switch _, err := b.Submit(i); {
				case err == nil:
					accepted.Add(1)
				case errors.Is(err, batch.ErrOverloaded):
					refused.Add(1)
					runtime.Gosched()
				case errors.Is(err, batch.ErrClosed):
					closed.Add(1)
				default:
					t.Errorf("Submit: %v", err)
				}
				if s == 0 && n == each*9/10 {
					if err := b.Close(t.Context()); err != nil {
						t.Errorf("Close: %v", err)
					}
				}
			}
		})
	}
	wg.Wait()
	mustClose(t, b)
	if answered.Load() != accepted.Load() || twice.Load() != 0 {
		t.Errorf("%d accepted, %d answered, %d of them twice", accepted.Load(), answered.Load(), twice.Load())
	}
	if n := accepted.Load() + refused.Load() + closed.Load(); n != submitters*each || closed.Load() == 0 {
		t.Errorf("%d submitted, %d of them after Close; want %d and some", n, closed.Load(), submitters*each)
	}
	st := b.Stats()
	if st.Queued != 0 || int64(st.Checks+st.Overdue) != accepted.Load() || int64(st.Overloaded) != refused.Load() ||
		int64(st.Checks) != store.Checks.Load() || int64(st.Batches) != store.Calls.Load() {
		t.Errorf("stats %+v; accepted %d, refused %d, the store saw %d checks in %d calls", st, accepted.Load(), refused.Load(), store.Checks.Load(), store.Calls.Load())
	}
}

// TestAnsweredItemsAreReleased: a Batcher at rest keeps no item alive.
func TestAnsweredItemsAreReleased(t *testing.T) {
	b := batch.New(memstore.New(memstore.Options{}), batch.Options{})
	defer mustClose(t, b)
	const n = 100
	var released, answered, twice atomic.Int64
	for range n {
		i := &counted{item: *newItem(t, "k"), answered: &answered, twice: &twice}
		i.check.Demands[0].Key = fmt.Sprintf("%4096d", 1) // what a whole message may hang on
		runtime.AddCleanup(i, func(int) { released.Add(1) }, 0)
		if _, err := b.Submit(i); err != nil {
			t.Fatal(err)
		}
	}
	for deadline := time.Now().Add(10 * time.Second); released.Load() < n; time.Sleep(time.Millisecond) {
		runtime.GC()
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d answered items were released", released.Load(), answered.Load())
		}
	}
}

func BenchmarkSubmit(b *testing.B) {
	batcher := batch.New(memstore.New(memstore.Options{}), batch.Options{})
	defer func() { _ = batcher.Close(context.Background()) }()
	rule := limitertest.MustCompile(b, limiter.Limit{Rate: 1_000_000, Interval: time.Second})
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		done := make(chan struct{}, 1)
		i := &waited{check: limiter.Check{Demands: []limiter.Demand{{Key: "k", Rule: rule, Cost: 1}}}, done: done}
		for pb.Next() {
			if _, err := batcher.Submit(i); err != nil {
				b.Error(err)
				return
			}
			<-done
		}
	})
}

// waited is an item that its submitter waits for.
type waited struct {
	check limiter.Check
	done  chan struct{}
}

func (w *waited) Check() *limiter.Check       { return &w.check }
func (w *waited) Deadline() time.Time         { return time.Time{} }
func (w *waited) Done(*limiter.Result, error) { w.done <- struct{}{} }

// TestSubmitTogether: what is submitted together is decided together, in its order,
// and what has no room is refused.
func TestSubmitTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newRecorder(time.Millisecond)
		b := batch.New(store, batch.Options{Queue: 3, Size: 8})
		items := []*item{newItem(t, "a"), newItem(t, "b"), newItem(t, "c"), newItem(t, "d")}
		var all []batch.Item
		for _, i := range items {
			all = append(all, i)
		}
		if n, err := b.Submit(); n != 0 || err != nil {
			t.Errorf("none at all: %d, %v", n, err)
		}
		if n, err := b.Submit(all...); n != 3 || !errors.Is(err, batch.ErrOverloaded) {
			t.Errorf("4 items with room for 3: %d, %v", n, err)
		}
		rest()
		if want := []string{"a", "b", "c"}; len(store.calls) != 1 || !slices.Equal(store.calls[0], want) {
			t.Errorf("decided %q, want one call for %q", store.calls, want)
		}
		for i, want := range []int{1, 1, 1, 0} {
			if items[i].done != want {
				t.Errorf("item %d was answered %d times, want %d", i, items[i].done, want)
			}
		}
		if got, want := b.Stats(), (batch.Stats{Batches: 1, Checks: 3, Overloaded: 1}); got != want {
			t.Errorf("stats %+v, want %+v", got, want)
		}
		mustClose(t, b)
		if n, err := b.Submit(all...); n != 0 || !errors.Is(err, batch.ErrClosed) {
			t.Errorf("after Close: %d, %v", n, err)
		}
	})
}
