package deploy_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/quotaworker/ratelimit/client"
	"github.com/quotaworker/ratelimit/client/wire"
	"github.com/quotaworker/ratelimit/limiter"
	"github.com/quotaworker/ratelimit/limiter/batch"
	"github.com/quotaworker/ratelimit/limiter/denycache"
	"github.com/quotaworker/ratelimit/limiter/memstore"
	"github.com/quotaworker/ratelimit/limiter/policy"
	"github.com/quotaworker/ratelimit/worker"
	"github.com/quotaworker/ratelimit/worker/policykv"
)

// startNATS starts a server with nats/nats.conf, on a port of its own, with or
// without the users that the file offers.
func startNATS(t *testing.T, users bool) *server.Server {
	t.Helper()
	lines := settings(t, "nats/nats.conf", false)
	if users {
		lines = append(lines, settings(t, "nats/nats.conf", true)...)
	}
	path := filepath.Join(t.TempDir(), "nats.conf")
	if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	opts, err := server.ProcessConfigFile(path)
	if err != nil {
		t.Fatal(err)
	}
	opts.Host, opts.Port, opts.HTTPPort = "127.0.0.1", server.RANDOM_PORT, 0
	opts.NoLog, opts.NoSigs = true, true
	if opts.JetStream {
		opts.StoreDir = t.TempDir()
	}
	s, err := server.NewServer(opts)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("the NATS server did not start")
	}
	return s
}

// connect connects as a user, if one is given. Errors that the server reports
// on the side arrive in the channel.
func connect(t *testing.T, s *server.Server, user, password string, opts ...nats.Option) (*nats.Conn, <-chan error) {
	t.Helper()
	side := make(chan error, 64)
	nc, err := nats.Connect(s.ClientURL(), append(opts, nats.UserInfo(user, password),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { side <- err }))...)
	if err != nil {
		t.Fatalf("connect as %q: %v", user, err)
	}
	t.Cleanup(nc.Close)
	return nc, side
}

// startWorker starts a worker with memory buckets of 5 tokens, and returns its
// deny cache.
func startWorker(t *testing.T, nc *nats.Conn) *denycache.Cache {
	t.Helper()
	cache := denycache.New(memstore.New(memstore.Options{}), denycache.Options{})
	queue := batch.New(cache, batch.Options{})
	w, err := worker.New(nc, queue, worker.Options{Denials: cache, DefaultLimit: limiter.Limit{Rate: 5, Interval: time.Hour}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := errors.Join(w.Stop(ctx), queue.Close(ctx)); err != nil {
			t.Error(err)
		}
	})
	return cache
}

// ask makes a check through a worker and a peek at what it left.
func ask(t *testing.T, nc *nats.Conn) {
	t.Helper()
	c, err := client.New(nc, client.WithTimeout(5*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	if r, err := c.Check(t.Context(), "user.42"); err != nil || !r.Allowed || r.Remaining != 4 {
		t.Fatalf("check: got %+v, %v; want 4 left", r, err)
	}
	if r, err := c.Peek(t.Context(), "user.42"); err != nil || r.Remaining != 4 {
		t.Fatalf("peek: got %+v, %v; want 4 left", r, err)
	}
	keys := []client.Item{{Key: "user.42"}, {Key: "user.43"}}
	if r, err := c.CheckEach(t.Context(), keys); err != nil || !r.Allowed() {
		t.Fatalf("two checks: got %+v, %v; want both allowed", r, err)
	}
}

func TestNATSSettings(t *testing.T) {
	s := startNATS(t, false)
	nc, _ := connect(t, s, "", "")
	startWorker(t, nc)
	ask(t, nc)
	if got := nc.MaxPayload(); got < 2*wire.MaxRequest {
		t.Errorf("max_payload %d is too small for the answer to a request of %d", got, wire.MaxRequest)
	}
}

// startNATSUsers starts a server with the users that nats.conf offers.
func startNATSUsers(t *testing.T) *server.Server {
	t.Helper()
	for _, user := range []string{"worker", "bridge", "operator"} {
		t.Setenv("NATS_"+strings.ToUpper(user)+"_PASSWORD", "hush-"+user)
	}
	return startNATS(t, true)
}

// TestNATSUsers holds the rights offered in nats.conf to both sides: they are
// enough for a worker and a bridge, and for nothing else.
func TestNATSUsers(t *testing.T) {
	s := startNATSUsers(t)
	if nc, err := nats.Connect(s.ClientURL()); err == nil {
		nc.Close()
		t.Error("nobody in particular could connect")
	}

	workerNC, workerSide := connect(t, s, "worker", "hush-worker")
	cache := startWorker(t, workerNC)
	operatorNC, operatorSide := connect(t, s, "operator", "hush-operator")
	if _, err := operatorNC.Request("ratelimit.reset.user.41", nil, 5*time.Second); err != nil {
		t.Fatalf("reset: %v", err)
	}
	for deadline := time.Now().Add(10 * time.Second); cache.Stats().Heard == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("workers do not hear each other")
		}
	}
	refused(t, "an operator speaking for workers", operatorSide, func() error { return operatorNC.Publish(worker.DenialsSubject, nil) })
	bridgeNC, bridgeSide := connect(t, s, "bridge", "hush-bridge")
	ask(t, bridgeNC)
	if _, err := bridgeNC.Request("$SRV.STATS."+worker.ServiceName, nil, 5*time.Second); err != nil {
		t.Fatalf("statistics, for the health of a bridge: %v", err)
	}
	select {
	case err := <-workerSide:
		t.Fatalf("a worker at work: %v", err)
	case err := <-bridgeSide:
		t.Fatalf("a bridge at work: %v", err)
	default:
	}

	for name, try := range map[string]func() error{
		"listening in on all checks": func() error { _, err := workerNC.SubscribeSync("ratelimit.check.>"); return err },
		"listening in on answers":    func() error { _, err := workerNC.SubscribeSync("_INBOX.>"); return err },
		"asking":                     func() error { return workerNC.Publish("ratelimit.check.user.42", nil) },
		"speaking for other workers": func() error { return workerNC.Publish("ratelimit.internal.other", nil) },
		"publishing elsewhere":       func() error { return workerNC.Publish("orders.new", nil) },
		"changing policies":          func() error { return workerNC.Publish("$KV.ratelimit-policies.policies.yaml", nil) },
		"deleting policies":          func() error { return workerNC.Publish("$JS.API.STREAM.DELETE.KV_ratelimit-policies", nil) },
	} {
		refused(t, "a worker "+name, workerSide, try)
	}
	for name, try := range map[string]func() error{
		"denying":       func() error { return bridgeNC.Publish(worker.DenialsSubject, nil) },
		"eavesdropping": func() error { _, err := bridgeNC.SubscribeSync(worker.DenialsSubject); return err },
		"resetting":     func() error { return bridgeNC.Publish("ratelimit.reset.user.42", nil) },
		"answering":     func() error { _, err := bridgeNC.QueueSubscribeSync("ratelimit.check.>", wire.QueueGroup); return err },
		"changing policies": func() error {
			return bridgeNC.Publish("$KV.ratelimit-policies.policies.yaml", nil)
		},
	} {
		refused(t, "a bridge "+name, bridgeSide, try)
	}
}

// TestNATSPolicyUsers has an operator change the policies and a worker follow
// them, each with the rights that nats.conf offers and no others.
func TestNATSPolicyUsers(t *testing.T) {
	s := startNATSUsers(t)
	operatorNC, operatorSide := connect(t, s, "operator", "hush-operator")
	workerNC, workerSide := connect(t, s, "worker", "hush-worker", nats.CustomInboxPrefix(policykv.InboxPrefix))
	startWorker(t, workerNC) // for the operator to ask
	ask(t, operatorNC)

	book := policy.NewBook()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		policykv.Watch(ctx, jetStream(t, workerNC), policykv.DefaultBucket, book, slog.New(slog.DiscardHandler))
	}()
	defer func() { cancel(); <-done }()
	inForce := func(revision string, n int) {
		t.Helper()
		for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
			if st := book.Status(); st.Revision == revision && st.Policies == n {
				return
			} else if time.Now().After(deadline) {
				t.Fatalf("a worker has %+v, want %d policies of revision %s", st, n, revision)
			}
		}
	}

	js := jetStream(t, operatorNC)
	if _, err := policykv.Open(t.Context(), js, policykv.DefaultBucket); !errors.Is(err, policykv.ErrNoBucket) {
		t.Fatalf("before the first put: %v, want ErrNoBucket", err)
	}
	store, err := policykv.Create(t.Context(), js, policykv.DefaultBucket)
	if err != nil {
		t.Fatalf("create: %v", err)
	}
	if _, err := store.Get(t.Context()); !errors.Is(err, policykv.ErrNone) {
		t.Fatalf("get of none: %v, want ErrNone", err)
	}
	var long strings.Builder
	long.WriteString("policies:\n")
	for i := range 10_000 {
		fmt.Fprintf(&long, "  - match: tenant.%d.user.*\n    limits: {second: 10/s, day: 50000/day}\n", i)
	}
	for i, text := range []string{"policies: [{match: user.*, limits: 10/s}]", long.String(), "policies: []"} {
		if _, err := store.Put(t.Context(), []byte(text), uint64(i)); err != nil {
			t.Fatalf("put: %v", err)
		}
		inForce(strconv.Itoa(i+1), []int{1, 10_000, 0}[i])
	}
	// A worker that finds a version with errors looks at those before.
	if _, err := store.Put(t.Context(), []byte("policies: ["), 3); err != nil {
		t.Fatalf("put: %v", err)
	}
	late := policy.NewBook()
	lateCtx, lateCancel := context.WithCancel(t.Context())
	lateDone := make(chan struct{})
	go func() {
		defer close(lateDone)
		policykv.Watch(lateCtx, jetStream(t, workerNC), policykv.DefaultBucket, late, slog.New(slog.DiscardHandler))
	}()
	defer func() { lateCancel(); <-lateDone }()
	book = late
	inForce("3", 0)
	if all, err := store.History(t.Context()); err != nil || len(all) != 4 {
		t.Fatalf("history: %d versions, %v; want 4", len(all), err)
	}
	// It also asks from time to time whether it missed any.
	seen, err := policykv.Open(t.Context(), jetStream(t, workerNC), policykv.DefaultBucket)
	if err != nil {
		t.Fatal(err)
	}
	if v, err := seen.Get(t.Context()); err != nil || v.Revision != 4 {
		t.Fatalf("get by a worker: revision %d, %v; want 4", v.Revision, err)
	}
	select {
	case err := <-workerSide:
		t.Fatalf("a worker that follows policies: %v", err)
	case err := <-operatorSide:
		t.Fatalf("an operator: %v", err)
	default:
	}
	for name, try := range map[string]func() error{
		"deleting the bucket":         func() error { return operatorNC.Publish("$JS.API.STREAM.DELETE.KV_ratelimit-policies", nil) },
		"making other streams":        func() error { return operatorNC.Publish("$JS.API.STREAM.CREATE.orders", nil) },
		"writing into another bucket": func() error { return operatorNC.Publish("$KV.other.policies.yaml", nil) },
	} {
		refused(t, "an operator "+name, operatorSide, try)
	}
}

func jetStream(t *testing.T, nc *nats.Conn) jetstream.JetStream {
	t.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

// refused fails the test if the server lets something happen. Refusals arrive
// on the side.
func refused(t *testing.T, what string, side <-chan error, try func() error) {
	t.Helper()
	if err := try(); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	select {
	case err := <-side:
		if !errors.Is(err, nats.ErrPermissionViolation) {
			t.Errorf("%s: got %v, want a permission violation", what, err)
		}
	case <-time.After(5 * time.Second):
		t.Errorf("%s: was not refused", what)
	}
}
