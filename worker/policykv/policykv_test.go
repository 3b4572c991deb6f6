package policykv

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/quotaworker/ratelimit/limiter/policy"
	"github.com/quotaworker/ratelimit/worker/natsembed"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// document is a version of the policies that can be told by its rate.
func document(rate int) []byte {
	return fmt.Appendf(nil, "policies:\n  - match: user.*\n    limits: %d/s\n", rate)
}

// bad has an error.
var bad = []byte("policies:\n  - match: user.*\n    limits: 0/s\n")

// rateOf returns the rate that a book has in force, and 0 for none.
func rateOf(b *policy.Book) int64 {
	m := b.Set().Match("user.1")
	if m.Policy == nil {
		return 0
	}
	return m.Allowance().Limits[0].Rule.Limit().Rate
}

type rig struct {
	t    *testing.T
	dir  string
	port int
	srv  *natsembed.Server
}

// newRig starts a server with JetStream on a port that it keeps.
func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t, dir: t.TempDir(), port: natsembed.RandomPort}
	r.start()
	t.Cleanup(func() { r.srv.Shutdown() })
	return r
}

func (r *rig) start() {
	r.t.Helper()
	srv, err := natsembed.Start(natsembed.Options{Port: r.port, StoreDir: r.dir})
	if err != nil {
		r.t.Fatal(err)
	}
	r.srv = srv
	_, port, err := net.SplitHostPort(strings.TrimPrefix(srv.ClientURL(), "nats://"))
	if err != nil {
		r.t.Fatal(err)
	}
	if r.port, err = strconv.Atoi(port); err != nil {
		r.t.Fatal(err)
	}
}

// connect connects to the server as a worker does: it never gives up.
func (r *rig) connect() jetstream.JetStream {
	r.t.Helper()
	nc, err := nats.Connect(r.srv.ClientURL(), nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond), nats.ReconnectJitter(0, 0))
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		r.t.Fatal(err)
	}
	return js
}

// away has something done to the bucket while nobody who is connected to the
// server sees it.
func (r *rig) away(do func(s *Store)) {
	r.t.Helper()
	r.srv.Shutdown()
	srv, err := natsembed.Start(natsembed.Options{InProcessOnly: true, StoreDir: r.dir})
	if err != nil {
		r.t.Fatal(err)
	}
	nc, err := nats.Connect("", srv.InProcess())
	if err != nil {
		r.t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		r.t.Fatal(err)
	}
	var s *Store
	within(r.t, 10*time.Second, "the bucket is there", func() bool {
		s, err = Open(r.t.Context(), js, DefaultBucket)
		return err == nil
	}, func() any { return err })
	do(s)
	nc.Close()
	srv.Shutdown()
	r.start()
}

func (r *rig) create() *Store {
	r.t.Helper()
	s, err := Create(r.t.Context(), r.connect(), DefaultBucket)
	if err != nil {
		r.t.Fatal(err)
	}
	return s
}

// watch follows the bucket until the test ends, and waits for the end.
func (r *rig) watch() *policy.Book {
	r.t.Helper()
	js, book := r.connect(), policy.NewBook()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		Watch(ctx, js, DefaultBucket, book, slog.New(slog.DiscardHandler))
	}()
	r.t.Cleanup(func() { cancel(); <-done })
	return book
}

// put writes a version over whatever is there.
func (r *rig) put(s *Store, text []byte) uint64 {
	r.t.Helper()
	v, err := s.Get(r.t.Context())
	if err != nil && !errors.Is(err, ErrNone) {
		r.t.Fatal(err)
	}
	revision, err := s.Put(r.t.Context(), text, v.Revision)
	if err != nil {
		r.t.Fatal(err)
	}
	return revision
}

// within polls until ok, and fails with what there is if that takes too long.
func within(t *testing.T, limit time.Duration, what string, ok func() bool, got func() any) {
	t.Helper()
	for deadline := time.Now().Add(limit); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %s; got %v", limit, what, got())
		}
	}
}

// has waits for a book to have a rate in force.
func has(t *testing.T, limit time.Duration, b *policy.Book, rate int64) {
	t.Helper()
	within(t, limit, fmt.Sprintf("rate %d", rate), func() bool { return rateOf(b) == rate }, func() any { return rateOf(b) })
}

// fails waits for the status of a book to say what is wrong.
func fails(t *testing.T, limit time.Duration, b *policy.Book, why string) {
	t.Helper()
	within(t, limit, why, func() bool {
		s := b.Status()
		return !s.OK && strings.Contains(s.LastError.Error(), why)
	}, func() any { return b.Status() })
}

func TestChangesArriveWithinASecond(t *testing.T) {
	r := newRig(t)
	s := r.create()
	r.put(s, document(1))
	one, two := r.watch(), r.watch()
	has(t, 5*time.Second, one, 1)
	has(t, 5*time.Second, two, 1)
	for rate := range int64(5) {
		rev := r.put(s, document(int(rate)+2))
		has(t, time.Second, one, rate+2)
		has(t, time.Second, two, rate+2)
		if got, want := one.Status().Revision, strconv.FormatUint(rev, 10); got != want {
			t.Errorf("revision: got %q, want %q", got, want)
		}
	}
}

func TestManyChangesWithBadOnesBetween(t *testing.T) {
	r := newRig(t)
	s := r.create()
	one, two := r.watch(), r.watch()
	fails(t, 5*time.Second, one, "has no key policies.yaml yet")
	fails(t, 5*time.Second, two, "has no key policies.yaml yet")
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { // once there are policies, there always are
		last := int64(0)
		for ctx.Err() == nil {
			if now := rateOf(one); now < last {
				t.Errorf("the rate went from %d to %d", last, now)
				return
			} else {
				last = now
			}
		}
	})
	for i := range 200 {
		if i%3 == 2 {
			r.put(s, bad)
		} else {
			r.put(s, document(i+1))
		}
	}
	const last = 199 + 1 // 199 % 3 is 1
	has(t, time.Second, one, last)
	has(t, time.Second, two, last)
	cancel()
	wg.Wait()
	for i, b := range []*policy.Book{one, two} {
		st := b.Status()
		if !st.OK || st.Loads < 2 || st.Loads > 134 || st.Failures < 1 || st.Failures > 66+1 {
			t.Errorf("worker %d: got %+v, want OK, and at most 134 loads and 67 failures", i, st)
		}
	}
}

func TestBadAndDeletedVersionsKeepTheLastGoodOne(t *testing.T) {
	r := newRig(t)
	s := r.create()
	good := r.put(s, document(7))
	book := r.watch()
	has(t, 5*time.Second, book, 7)
	r.put(s, bad)
	fails(t, time.Second, book, "policies.yaml:3:13")
	if err := s.kv.Delete(t.Context(), Key); err != nil {
		t.Fatal(err)
	}
	fails(t, time.Second, book, "was deleted")
	if st := book.Status(); rateOf(book) != 7 || st.Revision != strconv.FormatUint(good, 10) {
		t.Errorf("rate %d, revision %s: want 7 of revision %d", rateOf(book), st.Revision, good)
	}

	// A worker that starts now decides as the others do.
	late := r.watch()
	fails(t, 5*time.Second, late, "was deleted")
	if got := rateOf(late); got != 7 {
		t.Errorf("a worker that started later has rate %d, want 7", got)
	}

	r.put(s, document(8))
	for _, b := range []*policy.Book{book, late} {
		has(t, time.Second, b, 8)
		if st := b.Status(); !st.OK {
			t.Errorf("got %+v, want OK", st)
		}
	}
}

func TestBucketThatComesLater(t *testing.T) {
	r := newRig(t)
	book := r.watch()
	fails(t, 5*time.Second, book, "nats kv add ratelimit-policies --history 20")
	failures := book.Status().Failures
	s := r.create()
	r.put(s, document(3))
	has(t, 2*time.Second, book, 3)
	if failures != 1 {
		t.Errorf("a missing bucket was counted %d times, want once", failures)
	}
}

func TestServerRestarts(t *testing.T) {
	r := newRig(t)
	s := r.create()
	r.put(s, document(3))
	book := r.watch()
	has(t, 5*time.Second, book, 3)
	for rate := int64(4); rate < 7; rate++ {
		r.srv.Shutdown()
		if got := rateOf(book); got != rate-1 {
			t.Errorf("without a server the rate is %d, want %d", got, rate-1)
		}
		r.start()
		js := r.connect()
		within(t, 10*time.Second, "the bucket is back", func() bool {
			var err error
			s, err = Open(t.Context(), js, DefaultBucket)
			return err == nil
		}, func() any { return nil })
		r.put(s, document(int(rate)))
		has(t, 5*time.Second, book, rate)
		within(t, 5*time.Second, "OK", func() bool { return book.Status().OK }, func() any { return book.Status() })
	}
}

func TestBucketThatIsMadeAnew(t *testing.T) {
	t.Parallel() // it waits for the audit
	r := newRig(t)
	s := r.create()
	r.put(s, document(1))
	r.put(s, document(2))
	book := r.watch()
	has(t, 5*time.Second, book, 2)
	js := r.connect()
	if err := js.DeleteKeyValue(t.Context(), DefaultBucket); err != nil {
		t.Fatal(err)
	}
	fails(t, 4*audit, book, "there is no such bucket")
	if got := rateOf(book); got != 2 {
		t.Errorf("without the bucket the rate is %d, want 2", got)
	}
	r.put(r.create(), document(9)) // its revisions begin at 1 again
	has(t, 2*time.Second, book, 9)

	// So quickly that nobody sees it gone, and with the same revision.
	if err := js.DeleteKeyValue(t.Context(), DefaultBucket); err != nil {
		t.Fatal(err)
	}
	r.put(r.create(), document(10))
	has(t, 2*audit, book, 10)
}

// TestMissedVersions has a worker come back to a version with errors, after one
// without that it has not seen.
func TestMissedVersions(t *testing.T) {
	r := newRig(t)
	s := r.create()
	r.put(s, document(1))
	book := r.watch()
	has(t, 5*time.Second, book, 1)
	r.away(func(s *Store) {
		r.put(s, document(2))
		r.put(s, bad)
		r.put(s, bad)
	})
	fails(t, 10*time.Second, book, "revision 4")
	has(t, time.Second, book, 2)
	late := r.watch()
	fails(t, 5*time.Second, late, "revision 4")
	if one, two := book.Status().Revision, late.Status().Revision; one != two {
		t.Errorf("one that came back is at revision %s, one that began later at %s", one, two)
	}
}

func TestNoJetStream(t *testing.T) {
	srv, err := natsembed.Start(natsembed.Options{Port: natsembed.RandomPort})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(srv.Shutdown)
	r := &rig{t: t, srv: srv}
	fails(t, 10*time.Second, r.watch(), "has no JetStream")
	if _, err := Open(t.Context(), r.connect(), DefaultBucket); !errors.Is(err, ErrNoJetStream) {
		t.Errorf("Open: %v, want ErrNoJetStream", err)
	}
}

func TestClosedConnectionEndsTheWatch(t *testing.T) {
	r := newRig(t)
	r.create()
	js := r.connect()
	done := make(chan struct{})
	go func() {
		defer close(done)
		Watch(context.Background(), js, DefaultBucket, policy.NewBook(), slog.New(slog.DiscardHandler))
	}()
	js.Conn().Close()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatal("Watch goes on without a connection")
	}
}

// patterns is a document of so many policies that differ.
func patterns(n int) []byte {
	text := []byte("policies:\n")
	for i := range n {
		text = fmt.Appendf(text, "  - match: tenant.%06d.user.*\n    limits: {second: %d/s, day: 50000/day}\n", i, i%100+1)
	}
	return text
}

// TestLongDocuments puts 13,000 patterns, nearly 1 MB, again and again, has a worker find
// its way back through all those versions, and puts more than fits.
func TestLongDocuments(t *testing.T) {
	t.Parallel() // with those that wait for the audit
	r := newRig(t)
	s := r.create()
	ctx := t.Context()
	for i := range History - 1 {
		r.put(s, fmt.Appendf(patterns(13_000), "  - match: version\n    limits: %d/s\n", i+1))
	}
	last := r.put(s, bad)
	soon, cancel := context.WithTimeout(ctx, 4*time.Second)
	defer cancel()
	if all, err := s.History(soon); err != nil || len(all) != History || len(all[1].Text) < 900_000 {
		t.Errorf("History: %d versions, %v; want %d", len(all), err, History)
	}
	book := r.watch()
	fails(t, 30*time.Second, book, "0/s")
	if got := book.Status(); got.Policies != 13_001 || got.Revision != strconv.FormatUint(last-1, 10) {
		t.Errorf("got %+v, want the 13,001 policies of revision %d", got, last-1)
	}

	long := patterns(100_000)
	_, err := s.Put(ctx, long, last)
	want := fmt.Sprintf("they have %d bytes and the NATS server takes messages of %d; put customers", len(long), natsembed.StoreMaxPayload)
	if !errors.Is(err, ErrTooLong) || !strings.Contains(err.Error(), want) {
		t.Errorf("Put of too much: %v, want ErrTooLong and %q", err, want)
	}
	js := r.connect()
	if _, err := js.CreateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: "small", MaxValueSize: 100}); err != nil {
		t.Fatal(err)
	}
	small, err := Open(ctx, js, "small")
	if err != nil {
		t.Fatal(err)
	}
	_, err = small.Put(ctx, patterns(10), 0)
	if !errors.Is(err, ErrTooLong) || !strings.Contains(err.Error(), "nats kv edit small") {
		t.Errorf("Put of more than the bucket takes: %v, want ErrTooLong and what to do", err)
	}
}

func TestStore(t *testing.T) {
	r := newRig(t)
	ctx, js := t.Context(), r.connect()
	if _, err := Open(ctx, js, DefaultBucket); !errors.Is(err, ErrNoBucket) {
		t.Errorf("Open: %v, want ErrNoBucket", err)
	}
	s := r.create()
	if v, err := s.Get(ctx); !errors.Is(err, ErrNone) || v.Revision != 0 {
		t.Errorf("Get of nothing: %+v, %v", v, err)
	}
	if all, err := s.History(ctx); err != nil || len(all) != 0 {
		t.Errorf("History of nothing: %+v, %v", all, err)
	}
	one, err := s.Put(ctx, document(1), 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, expected := range []uint64{0, one + 1} {
		if _, err := s.Put(ctx, document(2), expected); !errors.Is(err, ErrChanged) {
			t.Errorf("Put over revision %d: %v, want ErrChanged", expected, err)
		}
	}
	if v, err := s.Get(ctx); err != nil || string(v.Text) != string(document(1)) || v.Revision != one {
		t.Errorf("Get: %+v, %v", v, err)
	}
	if err := s.kv.Delete(ctx, Key); err != nil {
		t.Fatal(err)
	}
	v, err := s.Get(ctx)
	if !errors.Is(err, ErrNone) || v.Revision <= one {
		t.Errorf("Get of what was deleted: %+v, %v", v, err)
	}
	two, err := s.Put(ctx, document(2), v.Revision)
	if err != nil {
		t.Fatal(err)
	}
	all, err := s.History(ctx)
	if err != nil || len(all) != 3 || all[0].Revision != two || !all[1].Deleted || all[2].Revision != one {
		t.Errorf("History: %+v, %v", all, err)
	}
}
