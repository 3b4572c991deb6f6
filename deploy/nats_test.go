package deploy_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/quotaworker/ratelimit/client"
	"github.com/quotaworker/ratelimit/client/wire"
	"github.com/quotaworker/ratelimit/limiter"
	"github.com/quotaworker/ratelimit/limiter/batch"
	"github.com/quotaworker/ratelimit/limiter/memstore"
	"github.com/quotaworker/ratelimit/worker"
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
func connect(t *testing.T, s *server.Server, user, password string) (*nats.Conn, <-chan error) {
	t.Helper()
	side := make(chan error, 64)
	nc, err := nats.Connect(s.ClientURL(), nats.UserInfo(user, password),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { side <- err }))
	if err != nil {
		t.Fatalf("connect as %q: %v", user, err)
	}
	t.Cleanup(nc.Close)
	return nc, side
}

// startWorker starts a worker with memory buckets of 5 tokens.
func startWorker(t *testing.T, nc *nats.Conn) {
	t.Helper()
	queue := batch.New(memstore.New(memstore.Options{}), batch.Options{})
	w, err := worker.New(nc, queue, worker.Options{DefaultLimit: limiter.Limit{Rate: 5, Interval: time.Hour}})
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

// TestNATSUsers holds the rights offered in nats.conf to both sides: they are
// enough for a worker and a bridge, and for nothing else.
func TestNATSUsers(t *testing.T) {
	t.Setenv("NATS_WORKER_PASSWORD", "hush-worker")
	t.Setenv("NATS_BRIDGE_PASSWORD", "hush-bridge")
	s := startNATS(t, true)
	if nc, err := nats.Connect(s.ClientURL()); err == nil {
		nc.Close()
		t.Error("nobody in particular could connect")
	}

	workerNC, workerSide := connect(t, s, "worker", "hush-worker")
	startWorker(t, workerNC)
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
		"publishing elsewhere":       func() error { return workerNC.Publish("orders.new", nil) },
	} {
		refused(t, "a worker "+name, workerSide, try)
	}
	for name, try := range map[string]func() error{
		"resetting": func() error { return bridgeNC.Publish("ratelimit.reset.user.42", nil) },
		"answering": func() error { _, err := bridgeNC.QueueSubscribeSync("ratelimit.check.>", wire.QueueGroup); return err },
	} {
		refused(t, "a bridge "+name, bridgeSide, try)
	}
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
