package peerbench

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/quotaworker/ratelimit/limiter/redisstore/redistest"
	"github.com/quotaworker/ratelimit/worker/natsembed"
)

// TestMain is also what a second and a third process run, so that the NATS
// server and the echo are where they are in life: somewhere else.
func TestMain(m *testing.M) {
	var err error
	switch role := os.Getenv("PEERBENCH_ROLE"); role {
	case "nats":
		err = runNATS()
	case "echo":
		err = runEcho(os.Getenv("PEERBENCH_NATS"))
	default:
		code := m.Run()
		if daemonDir != "" {
			_ = os.RemoveAll(daemonDir)
		}
		os.Exit(code)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "peerbench:", err)
		os.Exit(1)
	}
}

// runNATS says on stdout where the server is and runs it until stdin ends,
// which it does when the parent ends, however that comes about.
func runNATS() error {
	s, err := natsembed.Start(natsembed.Options{Port: natsembed.RandomPort})
	if err != nil {
		return err
	}
	defer s.Shutdown()
	fmt.Println(s.ClientURL())
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

func runEcho(url string) error {
	nc, err := nats.Connect(url)
	if err != nil {
		return err
	}
	defer nc.Close()
	reply := []byte(EchoReply)
	if _, err := nc.QueueSubscribe(EchoSubject+".>", "echo", func(msg *nats.Msg) { _ = msg.Respond(reply) }); err != nil {
		return err
	}
	if err := nc.Flush(); err != nil {
		return err
	}
	fmt.Println("ready")
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// rig is a Redis, a NATS server, a worker and an echo, each a process.
type rig struct {
	Servers
	redis *redistest.Server
}

// startRig starts all of them; the limit is the worker's.
func startRig(tb testing.TB, limit Limit) *rig {
	tb.Helper()
	r := &rig{redis: redistest.Start(tb)}
	r.Redis = r.redis.Addr
	r.NATS = startSelf(tb, "PEERBENCH_ROLE=nats")
	startSelf(tb, "PEERBENCH_ROLE=echo", "PEERBENCH_NATS="+r.NATS)
	startWorker(tb, r.Servers, limit)
	return r
}

// startSelf runs this program in a role until the test ends, and returns the
// first line it prints.
func startSelf(tb testing.TB, environ ...string) string {
	tb.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env, cmd.Stderr = append(os.Environ(), environ...), os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		tb.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		tb.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		_ = stdin.Close()
		if err := cmd.Wait(); err != nil {
			tb.Errorf("%s: %v", environ[0], err)
		}
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		tb.Fatalf("%s said nothing: %v", environ[0], err)
	}
	return strings.TrimSpace(line)
}

// daemon builds ratelimitd, once per process.
var daemon = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "peerbench-")
	if err != nil {
		return "", err
	}
	daemonDir = dir
	path := filepath.Join(dir, "ratelimitd")
	// From the module it belongs to, and as the Makefile does it, so that the two share their work.
	cmd := exec.Command("go", "build", "-C", "../..", "-trimpath", "-o", path, "./cmd/ratelimitd")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return path, nil
})

var daemonDir string // set once there is something to remove

// startWorker runs the real daemon as a worker with this limit for all keys
// until the test ends, and returns when it answers.
func startWorker(tb testing.TB, at Servers, limit Limit) {
	tb.Helper()
	path, err := daemon()
	if err != nil {
		tb.Fatal(err)
	}
	cmd := exec.Command(path, "worker")
	cmd.Stderr = os.Stderr
	cmd.Env = append(os.Environ(),
		"NATS_URL="+at.NATS,
		"REDIS_URL=redis://"+at.Redis,
		"RATELIMIT_DEFAULT_LIMIT="+fmt.Sprintf("%d/%s", limit.Count, limit.Period),
		"RATELIMIT_REDIS_TIMEOUT=5s",
		"RATELIMIT_ADMIN_ADDR=127.0.0.1:0",
		"RATELIMIT_LOG_LEVEL=warn",
	)
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil {
			tb.Errorf("the worker: %v", err)
		}
	})
	allow, done, err := openClient()(at, limit)
	if err != nil {
		tb.Fatal(err)
	}
	defer done()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if _, err = allow(context.Background(), "peerbench.ready"); err == nil {
			return
		}
		if time.Now().After(deadline) {
			tb.Fatalf("the worker did not answer within 20 s: %v", err)
		}
	}
}
