package deploy_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/quotaworker/ratelimit/client"
)

// TestShards runs the accounts that growth.md offers: each key has one bucket,
// in one of the shards, and both shards have some.
func TestShards(t *testing.T) {
	page, err := os.ReadFile("growth.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(page), "\n```\naccounts")
	conf, _, ok := strings.Cut(rest, "\n```\n")
	if !ok {
		t.Fatal("growth.md has no accounts")
	}
	for _, name := range []string{"SHARD_0_PASSWORD", "SHARD_1_PASSWORD", "CALLER_PASSWORD"} {
		t.Setenv(name, "hush")
	}
	path := filepath.Join(t.TempDir(), "nats.conf")
	if err := os.WriteFile(path, []byte("accounts"+conf), 0o600); err != nil {
		t.Fatal(err)
	}
	opts, err := server.ProcessConfigFile(path)
	if err != nil {
		t.Fatal(err)
	}
	opts.Host, opts.Port = "127.0.0.1", server.RANDOM_PORT
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

	var shards []*client.Client
	for i := range 2 {
		nc, _ := connect(t, s, fmt.Sprintf("worker%d", i), "hush")
		startWorker(t, nc)
		if err := nc.Flush(); err != nil {
			t.Fatal(err)
		}
		c, err := client.New(nc)
		if err != nil {
			t.Fatal(err)
		}
		shards = append(shards, c)
	}
	nc, _ := connect(t, s, "caller", "hush")
	caller, err := client.New(nc, client.WithoutBatching(), client.WithTimeout(5*time.Second))
	if err != nil {
		t.Fatal(err)
	}

	held := make([]int, len(shards))
	for i := range 40 {
		key := fmt.Sprintf("key%d", i)
		if i%2 == 1 {
			key = client.KeyOf("user", key)
		}
		for want := int64(4); want >= 3; want-- {
			if r, err := caller.Check(t.Context(), key); err != nil || r.Remaining != want {
				t.Fatalf("check %s: got %+v, %v; want %d left", key, r, err, want)
			}
		}
		var has []int
		for i, shard := range shards {
			r, err := shard.Peek(t.Context(), key)
			if err != nil {
				t.Fatal(err)
			}
			if r.Remaining == 3 {
				has = append(has, i)
				held[i]++
			}
		}
		if len(has) != 1 {
			t.Errorf("%s is in shards %v, want one", key, has)
		}
	}
	for i, n := range held {
		if n < 5 {
			t.Errorf("shard %d has %d of 40 keys", i, n)
		}
	}
}
