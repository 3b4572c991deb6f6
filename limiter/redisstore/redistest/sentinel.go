package redistest

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Sentinel is a primary, a replica of it, and a Redis Sentinel that watches
// both under the name "mymaster" and fails over when the primary has been gone
// for half a second.
type Sentinel struct {
	Primary, Replica *Server

	// Link is what the replica hears the primary through.
	Link *Proxy

	server *Server
}

// StartSentinel starts all three and waits until the replica has what the
// primary has and the Sentinel knows of both.
//
// The Link is for short tests: after about ten seconds a Sentinel sees to it
// that a replica asks the primary directly.
func StartSentinel(tb testing.TB) *Sentinel {
	tb.Helper()
	s := &Sentinel{Primary: Start(tb, "--repl-diskless-sync-delay", "0")}
	s.Link = StartProxy(tb, s.Primary.Addr)
	host, port, _ := net.SplitHostPort(s.Link.Addr)
	s.Replica = Start(tb, "--replicaof", host, port)
	s.Sync()

	s.server = &Server{Addr: freeAddr(tb), tb: tb}
	host, port, _ = net.SplitHostPort(s.Primary.Addr)
	conf := filepath.Join(tb.TempDir(), "sentinel.conf") // a Sentinel keeps its state in its configuration
	text := fmt.Sprintf("sentinel monitor mymaster %s %s 1\nsentinel down-after-milliseconds mymaster 500\nsentinel failover-timeout mymaster 5000\n", host, port)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		tb.Fatal(err)
	}
	s.server.conf, s.server.args = []string{conf}, []string{"--sentinel"}
	s.server.Restart()
	tb.Cleanup(s.server.Kill)
	poll(tb, "the Sentinel did not find the replica", func() bool { return s.server.MustDo("SENTINEL REPLICAS mymaster") == "*1" })
	return s
}

// URL returns the redis+sentinel:// URL.
func (s *Sentinel) URL() string { return "redis+sentinel://" + s.server.Addr + "/mymaster" }

// Sync waits until the replica has what the primary has now.
func (s *Sentinel) Sync() {
	s.Primary.tb.Helper()
	key := fmt.Sprint("redistest.sync.", time.Now().UnixNano())
	s.Primary.MustDo("SET " + key + " 1 PX 60000")
	poll(s.Primary.tb, "the replica did not catch up", func() bool { return s.Replica.MustDo("EXISTS "+key) == ":1" })
}

// Failover asks the Sentinel to make the replica the primary.
func (s *Sentinel) Failover() {
	s.server.tb.Helper()
	poll(s.server.tb, "the Sentinel did not begin a failover", func() bool {
		reply, err := s.server.Do("SENTINEL FAILOVER mymaster")
		return err == nil && !strings.HasPrefix(reply, "-") // NOGOODSLAVE until it has heard from the replica
	})
}

// poll waits until f reports true, for at most ten seconds.
func poll(tb testing.TB, what string, f func() bool) {
	tb.Helper()
	for deadline := time.Now().Add(10 * time.Second); !f(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			tb.Fatalf("%s within 10 s", what)
		}
	}
}
