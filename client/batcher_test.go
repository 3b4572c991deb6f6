package client_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/quotaworker/ratelimit/client"
	"github.com/quotaworker/ratelimit/client/wire"
)

// held is a worker in a synctest bubble that answers when the test says so,
// and a client that asks it.
type held struct {
	t      *testing.T
	srv    *server.Server
	nc     *nats.Conn // the client's
	client *client.Client
	worker *nats.Subscription
	msgs   []*nats.Msg // that were not answered yet, in their order
}

// inBubble runs a test in a bubble. It empties the pool in which nats.go keeps
// timers, because one that was made in a bubble must not be used outside.
func inBubble(t *testing.T, test func(t *testing.T, h *held), opts ...client.Option) {
	t.Helper()
	withMaxPayload(t, 0, test, opts...)
}

func withMaxPayload(t *testing.T, most int32, test func(t *testing.T, h *held), opts ...client.Option) {
	t.Helper()
	defer func() {
		runtime.GC()
		runtime.GC()
	}()
	synctest.Test(t, func(t *testing.T) {
		h := &held{t: t, srv: newServer(server.Options{DontListen: true, MaxPayload: most})}
		defer stopServer(h.srv)
		connect := func() *nats.Conn {
			nc, err := nats.Connect("", nats.InProcessServer(h.srv), nats.ReconnectBufSize(-1))
			if err != nil {
				t.Fatal(err)
			}
			return nc
		}
		h.nc = connect()
		defer h.nc.Close()
		worker := connect()
		defer worker.Close()
		var err error
		if h.worker, err = worker.SubscribeSync("ratelimit.>"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if h.client, err = client.New(h.nc, opts...); err != nil {
			t.Fatal(err)
		}
		test(t, h)
		synctest.Wait()
	})
}

// outcome is what became of a call of Check.
type outcome struct {
	res  client.Result
	err  error
	took time.Duration
	done bool
}

// check begins a check of each key, in this order.
func (h *held) check(ctx context.Context, keys ...string) []*outcome {
	h.t.Helper()
	var all []*outcome
	for _, key := range keys {
		o := &outcome{}
		all = append(all, o)
		began := time.Now()
		go func() {
			o.res, o.err = h.client.Check(ctx, key)
			o.took, o.done = time.Since(began), true
		}()
		synctest.Wait()
	}
	return all
}

// arrived returns the keys of the messages that have arrived since the last
// time, such as "a b|c" for a message with two checks and one with one.
func (h *held) arrived() string {
	h.t.Helper()
	synctest.Wait()
	var all []string
	for {
		n, _, err := h.worker.Pending()
		if err != nil {
			h.t.Fatal(err)
		}
		if n == 0 {
			return strings.Join(all, "|")
		}
		msg, err := h.worker.NextMsgWithContext(h.t.Context())
		if err != nil {
			h.t.Fatal(err)
		}
		h.msgs = append(h.msgs, msg)
		r, err := wire.DecodeRequest(msg.Data)
		if err != nil {
			h.t.Fatalf("%s: %v", msg.Data, err)
		}
		var keys []string
		for i := range r.Checks {
			keys = append(keys, r.Checks[i].Key)
		}
		all = append(all, strings.Join(keys, " "))
	}
}

// answer allows the checks of the i-th message that was not answered.
func (h *held) answer(i int) {
	h.t.Helper()
	r, err := wire.DecodeRequest(h.msgs[i].Data)
	if err != nil {
		h.t.Fatal(err)
	}
	var replies wire.Replies
	for i := range r.Checks {
		replies.Results = append(replies.Results, wire.Reply{Allowed: true, Key: r.Checks[i].Key, Remaining: int64(i)})
	}
	h.reply(i, wire.AppendReplies(nil, &replies))
}

// reply answers the i-th message that was not answered.
func (h *held) reply(i int, body []byte) {
	h.t.Helper()
	if err := h.msgs[i].Respond(body); err != nil {
		h.t.Fatal(err)
	}
	h.msgs = append(h.msgs[:i], h.msgs[i+1:]...)
	synctest.Wait()
}

// want checks that the checks of these keys were allowed, each as the n-th of
// its message.
func (h *held) want(keys string, outcomes ...*outcome) {
	h.t.Helper()
	for i, key := range strings.Fields(keys) {
		if o := outcomes[i]; !o.done || o.err != nil || !o.res.Allowed || o.res.Key != key || o.res.Remaining != int64(i) {
			h.t.Errorf("%s: got %+v", key, *o)
		}
	}
}

func keysOf(from, to int) []string {
	var keys []string
	for i := from; i < to; i++ {
		keys = append(keys, "k"+strconv.Itoa(i))
	}
	return keys
}

func TestBatches(t *testing.T) {
	inBubble(t, func(t *testing.T, h *held) {
		// Four go at once. The others wait for the first reply, whichever it is.
		got := h.check(t.Context(), "a", "b", "c", "d", "e", "f", "e")
		if got, want := h.arrived(), "a|b|c|d"; got != want {
			t.Fatalf("got %s, want %s", got, want)
		}
		h.answer(2)
		h.want("c", got[2])
		if got, want := h.arrived(), "e f e"; got != want {
			t.Fatalf("got %s, want %s", got, want)
		}
		for i, o := range got {
			if o.done != (i == 2) {
				t.Errorf("check %d: %+v", i, *o)
			}
		}
		h.answer(3)
		h.want("e f e", got[4:]...)
		h.answer(0)
		h.answer(0)
		h.answer(0)
		h.want("a", got[0])
		// With nothing under way a check goes alone again.
		got = h.check(t.Context(), "g", "h")
		if got, want := h.arrived(), "g|h"; got != want {
			t.Fatalf("got %s, want %s", got, want)
		}
		h.answer(1)
		h.answer(0)
		h.want("g", got[0])
	})
}

// A message has 256 checks at most, and they are sent in their order.
func TestFullMessages(t *testing.T) {
	inBubble(t, func(t *testing.T, h *held) {
		keys := keysOf(0, 700)
		outcomes := h.check(t.Context(), keys...)
		if got, want := h.arrived(), "k0|k1|k2|k3"; got != want {
			t.Fatalf("got %s, want %s", got, want)
		}
		// Full ones go while there are fewer than four messages, the rest when
		// there is little else under way.
		for i, want := range [][]string{keys[4:260], keys[260:516], nil, nil, nil, keys[516:]} {
			h.answer(0)
			if got, want := h.arrived(), strings.Join(want, " "); got != want {
				t.Fatalf("after %d replies:\ngot  %s\nwant %s", i+1, got, want)
			}
		}
		h.answer(0)
		for i, o := range outcomes {
			if !o.done || o.err != nil || o.res.Key != keys[i] {
				t.Errorf("%s: %+v", keys[i], *o)
			}
		}
	})
}

// A worker that hangs does not hold up checks that others could decide.
func TestSlowMessagesHoldUpNobody(t *testing.T) {
	inBubble(t, func(t *testing.T, h *held) {
		h.check(t.Context(), keysOf(0, 10)...)
		if got, want := h.arrived(), "k0|k1|k2|k3"; got != want {
			t.Fatalf("got %s, want %s", got, want)
		}
		time.Sleep(4 * time.Millisecond)
		if got := h.arrived(); got != "" {
			t.Fatalf("after 4ms: got %s", got)
		}
		time.Sleep(2 * time.Millisecond)
		if got, want := h.arrived(), "k4 k5 k6 k7 k8 k9"; got != want {
			t.Fatalf("after 6ms: got %s, want %s", got, want)
		}
		// A reply to an old message makes no room that it did not take.
		h.check(t.Context(), "k10", "k11")
		h.answer(0)
		if got := h.arrived(); got != "" {
			t.Fatalf("got %s", got)
		}
		time.Sleep(6 * time.Millisecond)
		if got, want := h.arrived(), "k10 k11"; got != want {
			t.Fatalf("got %s, want %s", got, want)
		}
		for len(h.msgs) > 0 {
			h.answer(0)
		}
	})
}

// Who leaves while the check waits to be sent, costs nothing; a check that was
// sent is not sent again.
func TestLeaving(t *testing.T) {
	inBubble(t, func(t *testing.T, h *held) {
		first := h.check(t.Context(), "a", "b", "c", "d")
		short, cancelShort := context.WithTimeout(t.Context(), 3*time.Millisecond)
		defer cancelShort()
		canceled, cancel := context.WithCancel(t.Context())
		e := h.check(short, "e")[0]
		f := h.check(canceled, "f")[0]
		g := h.check(t.Context(), "g")[0]
		cancel()
		synctest.Wait()
		if !f.done || f.took != 0 {
			t.Errorf("it took %s to cancel", f.took)
		}
		checkError(t, f.err, `check "f": canceled before it was sent, so nothing was charged: context canceled`)
		time.Sleep(3 * time.Millisecond)
		synctest.Wait()
		if !e.done || e.took != 3*time.Millisecond {
			t.Errorf("a deadline of 3ms took %s", e.took)
		}
		checkError(t, e.err, `check "e": deadline_exceeded: not sent within 3ms`, "ErrTimeout")
		if got, want := h.arrived(), "a|b|c|d"; got != want {
			t.Fatalf("got %s, want %s", got, want)
		}
		h.answer(0)
		if got, want := h.arrived(), "g"; got != want {
			t.Fatalf("got %s, want %s", got, want)
		}
		for len(h.msgs) > 0 {
			h.answer(0)
		}
		h.want("a", first[0])
		h.want("g", g)
	})
}

// A message whose callers have all left makes room, and its reply, which comes
// late, is nobody else's.
func TestLateReplies(t *testing.T) {
	inBubble(t, func(t *testing.T, h *held) {
		ctx, cancel := context.WithCancel(t.Context())
		h.check(ctx, "a", "b", "c", "d")
		e := h.check(t.Context(), "e")[0]
		h.arrived()
		cancel()
		if got, want := h.arrived(), "e"; got != want {
			t.Fatalf("got %s, want %s", got, want)
		}
		f := h.check(t.Context(), "f")[0]
		h.arrived()
		for range 4 {
			h.answer(0)
		}
		if e.done || f.done {
			t.Fatalf("got %+v, %+v from the reply to another", *e, *f)
		}
		e2 := *h.msgs[0]
		h.answer(0)
		h.want("e", e)
		// A second reply to the same message is nobody's either.
		g := h.check(t.Context(), "g")[0]
		h.msgs = append(h.msgs, &e2)
		h.answer(1)
		if f.done || g.done {
			t.Fatalf("got %+v, %+v from the second reply to another", *f, *g)
		}
		h.arrived()
		h.answer(0)
		h.answer(0)
		h.want("f", f)
		h.want("g", g)
	})
}

// Everybody in a message has a time of their own.
func TestTimeoutsInMessages(t *testing.T) {
	inBubble(t, func(t *testing.T, h *held) {
		h.check(t.Context(), "a", "b", "c", "d")
		for _, d := range []time.Duration{100 * time.Millisecond, 0, 1900 * time.Millisecond, 1700 * time.Millisecond, 300 * time.Microsecond} {
			ctx := t.Context()
			if d > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, d)
				defer cancel()
			}
			h.check(ctx, "t"+d.String()[:1])
		}
		h.arrived()
		h.answer(0)
		h.arrived()
		msg := h.msgs[3]
		if got, want := string(msg.Data), `{"checks":[{"key":"t1","timeout_ms":100},{"key":"t0"},{"key":"t1"},{"key":"t1","timeout_ms":1700},{"key":"t3","timeout_ms":1}]}`; got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
		if got, want := msg.Header.Get(wire.HeaderTimeout), "2000"; got != want {
			t.Errorf("the header says %s, want %s", got, want)
		}
		for len(h.msgs) > 0 {
			h.answer(0)
		}
	})
}

// What is wrong with a reply is everybody's error.
func TestBadRepliesToMessages(t *testing.T) {
	one := `{"allowed":true,"key":"%s"}`
	for name, tt := range map[string]struct{ body, want string }{
		"too few":   {fmt.Sprintf(`{"allowed":true,"results":[`+one+`]}`, "e"), "1 results for 2 checks"},
		"too many":  {fmt.Sprintf(`{"allowed":true,"results":[`+one+`,`+one+`,`+one+`]}`, "e", "f", "g"), "3 results for 2 checks"},
		"wrong key": {fmt.Sprintf(`{"allowed":true,"results":[`+one+`,`+one+`]}`, "e", "g"), `a result about "g" for a check of "f"`},
		"swapped":   {fmt.Sprintf(`{"allowed":true,"results":[`+one+`,`+one+`]}`, "f", "e"), `a result about "f" for a check of "e"`},
		"ending":    {fmt.Sprintf(`{"allowed":true,"results":[`+one+`,`+one+`]}`, "e", "xf"), `a result about "xf" for a check of "f"`},
		"cut off":   {`{"allowed":true,"results":[` + fmt.Sprintf(one, "e"), "does not speak as a worker does"},
		"single":    {fmt.Sprintf(one, "e"), "does not speak as a worker does"},
		"garbage":   {"\x00\xff", "does not speak as a worker does"},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, h *held) {
				h.check(t.Context(), "a", "b", "c", "d")
				got := h.check(t.Context(), "e", "f")
				h.arrived()
				h.answer(0)
				h.arrived()
				h.reply(3, []byte(tt.body))
				for _, o := range got {
					checkError(t, o.err, tt.want, "ErrUnavailable")
				}
				for len(h.msgs) > 0 {
					h.answer(0)
				}
				// The next one is not disturbed.
				e := h.check(t.Context(), "e")[0]
				h.arrived()
				h.answer(0)
				h.want("e", e)
			})
		})
	}
}

// An operator may map subjects, so that the key of the reply is longer.
func TestMappedKeys(t *testing.T) {
	inBubble(t, func(t *testing.T, h *held) {
		a := h.check(t.Context(), "a")[0]
		h.arrived()
		h.reply(0, []byte(`{"allowed":true,"results":[{"allowed":true,"key":"tenant.a"}]}`))
		if a.err != nil || a.res.Key != "tenant.a" {
			t.Errorf("got %+v", *a)
		}
	})
}

// A check that is refused has no effect on the others in the message.
func TestErrorsInMessages(t *testing.T) {
	inBubble(t, func(t *testing.T, h *held) {
		h.check(t.Context(), "a", "b", "c", "d")
		got := h.check(t.Context(), "e", "f", "g")
		h.arrived()
		h.answer(0)
		h.arrived()
		h.reply(3, []byte(`{"allowed":false,"results":[{"allowed":true,"key":"e"},{"key":"f","error":{"code":"no_policy","message":"bring a limit"}},{"allowed":true,"key":"g","remaining":2}]}`))
		h.want("e", got[0])
		checkError(t, got[1].err, `ratelimit: check "f": no_policy: bring a limit`, "ErrNoPolicy")
		if got[2].err != nil || got[2].res.Remaining != 2 {
			t.Errorf("got %+v", *got[2])
		}
		for len(h.msgs) > 0 {
			h.answer(0)
		}
	})
}

// A message that a worker refuses as a whole goes again in smaller ones, and
// later ones are smaller from the start, for a while.
func TestRefusedMessages(t *testing.T) {
	const most = 10
	inBubble(t, func(t *testing.T, h *held) {
		outcomes := h.check(t.Context(), keysOf(0, 104)...)
		sent, largest := 0, 0
		work := func() {
			for h.arrived(); len(h.msgs) > 0; h.arrived() {
				sent++
				r, _ := wire.DecodeRequest(h.msgs[0].Data)
				if n := len(r.Checks); n > most {
					largest = max(largest, n)
					h.reply(0, []byte(`{"error":{"code":"invalid_request","message":"too large"}}`))
				} else {
					h.answer(0)
				}
			}
		}
		work()
		for i, o := range outcomes {
			if want := "k" + strconv.Itoa(i); !o.done || o.err != nil || o.res.Key != want {
				t.Fatalf("%s: got %+v", want, *o)
			}
		}
		if largest != 100 {
			t.Errorf("the largest message had %d checks, want 100", largest)
		}
		if sent > 4+4+2*100/most+4 {
			t.Errorf("%d messages were sent", sent)
		}
		largest = 0
		h.check(t.Context(), keysOf(0, 104)...)
		work()
		if largest > 30 {
			t.Errorf("a message of %d checks was tried again", largest)
		}
		// One that is refused alone is an error.
		a := h.check(t.Context(), "a")[0]
		h.arrived()
		h.reply(0, []byte(`{"error":{"code":"invalid_request","message":"too large"}}`))
		checkError(t, a.err, "too large", "ErrInvalidRequest")
	})
}

// Messages fit into what worker and server take, and so do the replies.
func TestLongKeys(t *testing.T) {
	for _, payload := range []int32{1 << 20, 32 << 10, 2 << 10} {
		t.Run(strconv.Itoa(int(payload)), func(t *testing.T) {
			withMaxPayload(t, payload, func(t *testing.T, h *held) {
				var keys []string
				for i := range 600 {
					keys = append(keys, strings.Repeat("x", 253)+fmt.Sprintf("%03d", i))
				}
				outcomes := h.check(t.Context(), keys...)
				largest := 0
				for h.arrived(); len(h.msgs) > 0; h.arrived() {
					msg := h.msgs[0]
					r, err := wire.DecodeRequest(msg.Data)
					if err != nil {
						t.Fatal(err)
					}
					largest = max(largest, len(r.Checks))
					var replies wire.Replies
					for i := range r.Checks {
						replies.Results = append(replies.Results, wire.Reply{
							Allowed: true, Key: r.Checks[i].Key, Limit: 1 << 53, Remaining: 1 << 53, ResetAfterMS: 1 << 53, WindowMS: 1 << 53,
							Policy: strings.Repeat("p", 64), LimitName: strings.Repeat("l", 64), Source: "memory", Degraded: true,
						})
					}
					body := wire.AppendReplies(nil, &replies)
					if len(body) > int(payload) {
						t.Fatalf("the reply to %d checks has %d bytes", len(r.Checks), len(body))
					}
					h.reply(0, body)
				}
				for i, o := range outcomes {
					if o.err != nil || o.res.Key != keys[i] {
						t.Fatalf("%s: got %+v", keys[i], *o)
					}
				}
				if room := min(int(payload), wire.MaxRequest) / 1000; largest < min(room, 200) {
					t.Errorf("the largest message had %d checks, and there is room for %d", largest, room)
				}
			})
		})
	}
}

// Checks that wait to be sent fail as soon as there is no connection, and
// those that were sent when it is closed.
func TestConnectionGoesAway(t *testing.T) {
	inBubble(t, func(t *testing.T, h *held) {
		sent := h.check(t.Context(), "a", "b", "c", "d")
		queued := h.check(t.Context(), "e", "f")
		h.arrived()
		h.nc.Close()
		synctest.Wait()
		for _, o := range sent {
			checkError(t, o.err, "may have been charged", "ErrDisconnected", "ErrUnavailable")
		}
		for _, o := range queued {
			checkError(t, o.err, "nothing was sent", "ErrDisconnected", "ErrUnavailable")
			if o.took != 0 {
				t.Errorf("it took %s", o.took)
			}
		}
	})
	inBubble(t, func(t *testing.T, h *held) {
		sent := h.check(t.Context(), "a", "b", "c", "d")
		queued := h.check(t.Context(), "e", "f")
		h.arrived()
		stopServer(h.srv)
		time.Sleep(6 * time.Millisecond)
		synctest.Wait()
		for _, o := range queued {
			checkError(t, o.err, "nothing was sent", "ErrDisconnected", "ErrUnavailable")
		}
		for _, o := range sent {
			if o.done {
				t.Errorf("got %+v, but it should wait until its deadline, as one without batching", *o)
			}
		}
		h.nc.Close()
	})
}

// A client that is closed leaves nothing behind, and can be used again.
func TestClose(t *testing.T) {
	inBubble(t, func(t *testing.T, h *held) {
		h.client.Close() // with nothing to give back
		a := h.check(t.Context(), "a")[0]
		h.arrived()
		if n := h.nc.NumSubscriptions(); n != 1 {
			t.Errorf("%d subscriptions, want 1", n)
		}
		h.client.Close()
		synctest.Wait()
		checkError(t, a.err, "may have been charged", "ErrDisconnected", "ErrUnavailable")
		if n := h.nc.NumSubscriptions(); n != 0 {
			t.Errorf("%d subscriptions after Close, want none", n)
		}
		h.client.Close()
		b := h.check(t.Context(), "b")[0]
		h.arrived()
		h.answer(1)
		h.want("b", b)
		h.nc.Close()
		h.client.Close()
	})
}

// Callers without a deadline of their own wait as long as the client says.
func TestOwnTimeouts(t *testing.T) {
	inBubble(t, func(t *testing.T, h *held) {
		sent := h.check(t.Context(), "a", "b")
		time.Sleep(500 * time.Millisecond)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		patient := h.check(ctx, "p")[0]
		late := h.check(context.Background(), "c")[0]
		h.arrived()
		time.Sleep(1500 * time.Millisecond)
		synctest.Wait()
		for _, o := range sent {
			checkError(t, o.err, "no answer within 2s; it may have been charged", "ErrTimeout")
			if !errors.Is(o.err, context.DeadlineExceeded) || o.took != 2*time.Second {
				t.Errorf("after %s: %v", o.took, o.err)
			}
		}
		time.Sleep(500 * time.Millisecond)
		synctest.Wait()
		checkError(t, late.err, "no answer within 2s", "ErrTimeout")
		if late.took != 2*time.Second {
			t.Errorf("it took %s", late.took)
		}
		time.Sleep(57 * time.Second)
		h.answer(2)
		h.want("p", patient)
	})
	inBubble(t, func(t *testing.T, h *held) {
		sent := h.check(t.Context(), "a", "b", "c", "d")
		queued := h.check(t.Context(), "e")[0]
		time.Sleep(3 * time.Millisecond)
		synctest.Wait()
		for _, o := range sent {
			checkError(t, o.err, "no answer within 3ms; it may have been charged", "ErrTimeout")
		}
		checkError(t, queued.err, "not sent within 3ms", "ErrTimeout")
		time.Sleep(time.Second)
		if got, want := h.arrived(), "a|b|c|d"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}, client.WithTimeout(3*time.Millisecond))
}

// TestStress has a thousand callers who leave at any time, and a server that
// restarts. Every call must return, on time, and tell the truth about what was
// charged.
func TestStress(t *testing.T) {
	const callers, each, keys, burst = 1000, 12, 40, 50
	srv := newServer(server.Options{})
	port := srv.Addr().(*net.TCPAddr).Port
	worker := &buckets{}
	serve(t, srv, worker.handle, nats.MaxReconnects(-1), nats.ReconnectWait(time.Millisecond), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	nc := connect(t, srv, append(client.ConnectOptions(), nats.ReconnectWait(time.Millisecond), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))...)
	c, err := client.New(nc, client.WithTimeout(time.Second))
	if err != nil {
		t.Fatal(err)
	}
	var allowed, denied, perhaps [keys]atomic.Int64
	var surely atomic.Int64 // errors that say that nothing was charged
	var wg sync.WaitGroup
	for g := range callers {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(g), 1))
			for range each {
				k := rnd.IntN(keys)
				ctx, cancel := t.Context(), func() {}
				switch rnd.IntN(4) {
				case 0:
					ctx, cancel = context.WithTimeout(ctx, time.Duration(rnd.IntN(5000))*time.Microsecond)
				case 1:
					ctx, cancel = context.WithCancel(ctx)
					time.AfterFunc(time.Duration(rnd.IntN(5000))*time.Microsecond, cancel)
				}
				key := "k" + strconv.Itoa(k)
				res, err := c.Check(ctx, key, client.WithRate(burst, time.Hour))
				cancel()
				switch {
				case err == nil && res.Key != key:
					t.Errorf("the answer to %s is about %s", key, res.Key)
				case err == nil && res.Allowed:
					allowed[k].Add(1)
				case err == nil:
					denied[k].Add(1)
				case strings.Contains(err.Error(), "may have been charged"):
					perhaps[k].Add(1)
				case strings.Contains(err.Error(), "nothing was"), strings.Contains(err.Error(), "not sent, because"), errors.Is(err, client.ErrNoWorkers):
					surely.Add(1)
				default:
					t.Errorf("an error that does not say whether it was charged: %v", err)
				}
				time.Sleep(time.Duration(rnd.IntN(2000)) * time.Microsecond)
			}
		})
	}
	for range 2 {
		time.Sleep(20 * time.Millisecond)
		stopServer(srv)
		srv = newServer(server.Options{Port: port})
	}
	defer stopServer(srv)
	wg.Wait()
	// Answers to callers who have left may still be under way to the worker.
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		if _, err := c.Check(t.Context(), "last"); err == nil {
			break
		} else if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	worker.mu.Lock()
	defer worker.mu.Unlock()
	var sum [3]int64
	for k := range keys {
		used, a, p := worker.used["k"+strconv.Itoa(k)], allowed[k].Load(), perhaps[k].Load()
		if a > used || used > a+p || used > burst {
			t.Errorf("k%d: %d of %d tokens are used; %d callers were told so, and %d that they may be", k, used, burst, a, p)
		}
		sum[0] += a
		sum[1] += denied[k].Load()
		sum[2] += p
	}
	t.Logf("%d allowed, %d denied, %d perhaps charged, %d not charged", sum[0], sum[1], sum[2], surely.Load())
	if total := sum[0] + sum[1] + sum[2] + surely.Load(); total != callers*each || sum[0] == 0 {
		t.Errorf("%d answers to %d checks", total, callers*each)
	}
}
