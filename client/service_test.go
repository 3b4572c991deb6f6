package client_test

import (
	"os"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"

	"github.com/quotaworker/ratelimit/client"
	"github.com/quotaworker/ratelimit/client/wire"
)

func TestMain(m *testing.M) {
	code := m.Run()
	if err := goleak.Find(); err != nil && code == 0 {
		os.Stderr.WriteString(err.Error() + "\n")
		code = 1
	}
	os.Exit(code)
}

// newServer starts a NATS server on 127.0.0.1. It panics on failure because
// the examples, which have no testing.T, use it too.
func newServer(opts server.Options) *server.Server {
	opts.Host, opts.NoSigs, opts.NoLog = "127.0.0.1", true, true
	if opts.Port == 0 {
		opts.Port = server.RANDOM_PORT
	}
	srv, err := server.NewServer(&opts)
	if err != nil {
		panic(err)
	}
	srv.Start()
	if !srv.ReadyForConnections(10 * time.Second) {
		panic("the NATS server does not start")
	}
	return srv
}

func stopServer(srv *server.Server) {
	srv.Shutdown()
	srv.WaitForShutdown()
}

// startServer starts a NATS server that ends with the test.
func startServer(t *testing.T, opts server.Options) *server.Server {
	t.Helper()
	srv := newServer(opts)
	t.Cleanup(func() { stopServer(srv) })
	return srv
}

// connect connects to srv until the test ends.
func connect(t *testing.T, srv *server.Server, opts ...nats.Option) *nats.Conn {
	t.Helper()
	nc, err := nats.Connect(srv.ClientURL(), opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// serve answers every request with handle until the test ends.
func serve(t *testing.T, srv *server.Server, handle nats.MsgHandler, opts ...nats.Option) {
	t.Helper()
	nc := connect(t, srv, opts...)
	subscribe(nc, handle)
}

func subscribe(nc *nats.Conn, handle nats.MsgHandler) {
	if _, err := nc.QueueSubscribe("ratelimit.>", wire.QueueGroup, handle); err != nil {
		panic(err)
	}
	if err := nc.Flush(); err != nil {
		panic(err)
	}
}

// bothWays runs a test with the options of a client that batches its checks,
// and of one that sends them one by one. A caller must not see the difference.
func bothWays(t *testing.T, test func(t *testing.T, way ...client.Option)) {
	t.Run("batching", func(t *testing.T) { test(t) })
	t.Run("one by one", func(t *testing.T) { test(t, client.WithoutBatching()) })
}

// asked returns the subject and the body of a request, and of a message with
// one check those that the check would have alone.
func asked(msg *nats.Msg) (subject, body string) {
	r, err := wire.DecodeRequest(msg.Data)
	if err != nil {
		return msg.Subject, string(msg.Data)
	}
	r.TimeoutMS = 0
	if len(r.Checks) != 1 {
		return msg.Subject, string(wire.AppendRequest(nil, &r))
	}
	one := r.Checks[0]
	key := one.Key
	one.Key = ""
	return msg.Subject + "." + key, string(wire.AppendRequest(nil, &one))
}

// respond answers every check of a request with a reply.
func respond(msg *nats.Msg, reply *wire.Reply) {
	r, err := wire.DecodeRequest(msg.Data)
	if err != nil {
		panic(err)
	}
	body := wire.AppendReply(nil, reply)
	if len(r.Checks) > 0 {
		all := wire.Replies{Allowed: reply.Allowed}
		for range r.Checks {
			all.Results = append(all.Results, *reply)
		}
		body = wire.AppendReplies(nil, &all)
	}
	_ = msg.Respond(body)
}

// newClient returns a client of srv, made with the options that are
// recommended.
func newClient(t *testing.T, srv *server.Server, opts ...client.Option) *client.Client {
	t.Helper()
	c, err := client.New(connect(t, srv, client.ConnectOptions()...), opts...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// buckets is the smallest service that speaks the protocol: buckets that do
// not refill while a test runs.
type buckets struct {
	mu   sync.Mutex
	used map[string]int64
}

func (b *buckets) handle(msg *nats.Msg) {
	for _, verb := range []wire.Verb{wire.VerbCheck, wire.VerbPeek, wire.VerbReset, wire.VerbRefund} {
		if root := wire.Subject(verb, ""); msg.Subject == root || wire.KeyFromSubject(verb, msg.Subject) != "" {
			_ = msg.Respond(b.answer(verb, wire.KeyFromSubject(verb, msg.Subject), msg.Data))
		}
	}
}

func (b *buckets) answer(verb wire.Verb, key string, body []byte) []byte {
	r, err := wire.DecodeRequest(body)
	if err != nil {
		return wire.AppendError(nil, err.(*wire.Error))
	}
	if len(r.Checks) == 0 {
		reply := b.decide(verb, key, &r)
		return wire.AppendReply(nil, &reply)
	}
	replies := wire.Replies{Allowed: true}
	for i := range r.Checks {
		reply := b.decide(verb, wire.JoinKey(key, r.Checks[i].Key), &r.Checks[i])
		replies.Allowed = replies.Allowed && reply.Allowed
		replies.Results = append(replies.Results, reply)
	}
	return wire.AppendReplies(nil, &replies)
}

func (b *buckets) decide(verb wire.Verb, key string, r *wire.Request) wire.Reply {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.used == nil {
		b.used = map[string]int64{}
	}
	if r.Policy != "" && r.Policy != "gold" {
		return wire.Reply{Key: key, Err: wire.Errorf(wire.CodeUnknownPolicy, "there is no policy %q", r.Policy)}
	}
	rate, interval := int64(10), int64(1e6)
	if r.Rate != 0 {
		rate, interval = r.Rate, r.IntervalMicros
	}
	burst := max(rate, r.Burst)
	reply := wire.Reply{Allowed: true, Key: key, Limit: burst, Policy: r.Policy, LimitName: "default", Source: "memory", Degraded: true}
	wait := func(tokens int64) int64 { return tokens * interval / rate / 1000 }
	switch verb {
	case wire.VerbReset:
		b.used[key] = 0
	case wire.VerbRefund:
		b.used[key] = max(0, b.used[key]-r.Cost)
	case wire.VerbCheck:
		if r.Cost > burst {
			return wire.Reply{Key: key, Err: wire.Errorf(wire.CodeCostExceedsBurst, "cost %d is more than the burst of %d", r.Cost, burst)}
		}
		if b.used[key]+r.Cost > burst {
			reply.Allowed = false
			reply.RetryAfterMS = wait(b.used[key] + r.Cost - burst)
		} else {
			b.used[key] += r.Cost
		}
	}
	reply.Remaining = burst - b.used[key]
	reply.ResetAfterMS = wait(b.used[key])
	reply.WindowMS = wait(burst)
	return reply
}

// seen records requests and answers that they are allowed.
type seen struct {
	mu   sync.Mutex
	msgs []*nats.Msg
}

func (s *seen) handle(msg *nats.Msg) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.msgs = append(s.msgs, msg)
	respond(msg, &wire.Reply{Allowed: true})
}

func (s *seen) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.msgs)
}

// last returns what the last request asked, and its timeout.
func (s *seen) last(t *testing.T) (subject, body string, timeout time.Duration) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.msgs) == 0 {
		t.Fatal("no request arrived")
	}
	msg := s.msgs[len(s.msgs)-1]
	r, err := wire.DecodeRequest(msg.Data)
	if err != nil || r.TimeoutMS == 0 {
		t.Fatalf("the timeout of the request %s: %d, %v", msg.Data, r.TimeoutMS, err)
	}
	subject, body = asked(msg)
	return subject, body, time.Duration(r.TimeoutMS) * time.Millisecond
}
