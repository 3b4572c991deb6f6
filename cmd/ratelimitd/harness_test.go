package main

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/redis/go-redis/v9"

	"github.com/quotaworker/ratelimit/client"
	"github.com/quotaworker/ratelimit/worker/natsembed"
)

// start opens a daemon of this role in this process, on free ports, with
// further settings ("NAME=value"), and closes it when the test ends.
func start(t *testing.T, r role, environ ...string) *Daemon {
	t.Helper()
	environ = append([]string{
		"RATELIMIT_NATS_ADDR=127.0.0.1:0",
		"RATELIMIT_HTTP_ADDR=127.0.0.1:0",
		"RATELIMIT_ADMIN_ADDR=127.0.0.1:0",
		patience,
		"RATELIMIT_INSTANCE=" + strings.ReplaceAll(t.Name(), "/", "-"),
	}, environ...)
	cfg, warnings, err := loadConfig(environ, r)
	if err != nil || len(warnings) > 0 {
		t.Fatalf("loadConfig: %v, warnings %q", err, warnings)
	}
	log := slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelWarn}))
	d, err := openDaemon(t.Context(), cfg, r, log)
	if err != nil {
		t.Fatalf("openDaemon: %v", err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return d
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}

// patience gives Redis more time than it ever needs, so that a machine that is
// busy with other tests does not look like an outage.
const patience = "RATELIMIT_REDIS_TIMEOUT=5s"

// startNATS starts a NATS server of its own and returns its URL.
func startNATS(t *testing.T) string {
	t.Helper()
	s, err := natsembed.Start(natsembed.Options{Port: natsembed.RandomPort})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Shutdown)
	return s.ClientURL()
}

// dial returns a client of the service at this NATS URL.
func dial(t *testing.T, url string, opts ...client.Option) *client.Client {
	t.Helper()
	nc, err := nats.Connect(url, client.ConnectOptions()...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	c, err := client.New(nc, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// binaries builds both programs, once per test process.
var binaries = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "ratelimit-test-")
	if err != nil {
		return "", err
	}
	binariesDir = dir
	// As the Makefile does it, so that the two share their work.
	cmd := exec.Command("go", "build", "-trimpath", "-o", dir+string(filepath.Separator), "../ratelimitd", "../ratelimit")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", &buildError{err, out}
	}
	return dir, nil
})

var binariesDir string // set once there is something to remove

type buildError struct {
	err    error
	output []byte
}

func (e *buildError) Error() string { return e.err.Error() + "\n" + string(e.output) }

// binary returns the path of a program of this project.
func binary(t *testing.T, name string) string {
	t.Helper()
	dir, err := binaries()
	if err != nil {
		t.Fatalf("go build: %v", err)
	}
	return filepath.Join(dir, name)
}

func TestMain(m *testing.M) {
	redis.SetLogger(redisLogger{slog.New(slog.DiscardHandler)})
	code := m.Run()
	if binariesDir != "" {
		_ = os.RemoveAll(binariesDir)
	}
	os.Exit(code)
}

// process is a program that runs beside the test.
type process struct {
	cmd    *exec.Cmd
	output *syncBuffer // stdout and stderr
	done   chan struct{}
	err    error // after done
}

// spawn starts a program with just these settings and kills it when the test
// ends.
func spawn(t *testing.T, environ []string, path string, args ...string) *process {
	t.Helper()
	p := &process{cmd: exec.Command(path, args...), output: new(syncBuffer), done: make(chan struct{})}
	p.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir()}, environ...)
	p.cmd.Stdout, p.cmd.Stderr = p.output, p.output
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(func() {
		p.signal(syscall.SIGKILL)
		<-p.done
	})
	return p
}

// waitFor returns when the program has printed text.
func (p *process) waitFor(t *testing.T, text string) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !strings.Contains(p.output.String(), text); time.Sleep(2 * time.Millisecond) {
		select {
		case <-p.done:
			t.Fatalf("ended before it printed %q: %v\n%s", text, p.err, p.output)
		default:
		}
		if time.Now().After(deadline) {
			t.Fatalf("did not print %q within 30 s:\n%s", text, p.output)
		}
	}
}

// terminate sends SIGTERM and waits for a clean end.
func (p *process) terminate(t *testing.T) {
	t.Helper()
	p.signal(syscall.SIGTERM)
	select {
	case <-p.done:
		if p.err != nil {
			t.Errorf("after SIGTERM: %v\n%s", p.err, p.output)
		}
	case <-time.After(30 * time.Second):
		t.Fatalf("did not end within 30 s of SIGTERM:\n%s", p.output)
	}
}

// signal signals the program and what it has started, as a terminal does.
func (p *process) signal(sig syscall.Signal) { _ = syscall.Kill(-p.cmd.Process.Pid, sig) }

// syncBuffer is a buffer that a process writes and a test reads.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

var _ io.Writer = (*syncBuffer)(nil)

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// eventually polls until ok holds.
func eventually(t *testing.T, what string, within time.Duration, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(within); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %s", what, within)
		}
	}
}

// sleepUntil sleeps until that time, or until the test is over.
func sleepUntil(ctx context.Context, at time.Time) {
	select {
	case <-time.After(time.Until(at)):
	case <-ctx.Done():
	}
}

// stopwatch returns a function that says for how long at most this process did
// not run though it wanted to, because the machine was busy with others.
func stopwatch(t *testing.T) func() time.Duration {
	const step = 5 * time.Millisecond
	var worst atomic.Int64
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			from := time.Now()
			sleepUntil(ctx, from.Add(step))
			worst.Store(max(worst.Load(), int64(time.Since(from)-step)))
		}
	}()
	t.Cleanup(func() { stop(); <-done })
	return func() time.Duration { return time.Duration(worst.Load()) }
}
