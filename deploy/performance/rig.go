package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// rig is what is measured: processes that have the machine to themselves.
type rig struct {
	dir   string // with the programs in it
	nats  string // its URL
	redis string // its host:port
	admin string // of the worker, host:port
	procs []*exec.Cmd
}

// policies are those of the worker. Keys under bench have a limit that admits
// everything and never stops counting, so that each bucket is read and written;
// keys under hot deny nearly everything.
const policies = `policies:
  - match: bench.*
    name: wide
    limits: 1/s burst 10_000_000
  - match: hot.*
    name: narrow
    limits: 1000/s
`

// startRig builds the programs and starts the processes. What it leaves behind
// is the caller's to stop.
func startRig(ctx context.Context) (*rig, error) {
	dir, err := os.MkdirTemp("", "ratelimit-performance-")
	if err != nil {
		return nil, err
	}
	r := &rig{dir: dir}
	if err := r.start(ctx); err != nil {
		r.stop()
		return nil, err
	}
	return r, nil
}

func (r *rig) start(ctx context.Context) error {
	redisServer, err := exec.LookPath("redis-server")
	if err != nil {
		return errors.New("redis-server is not on the PATH; .ci/need-redis installs it")
	}
	if _, err := r.output(ctx, "go", "build", "-trimpath", "-o", r.dir+"/", "./cmd/ratelimitd", "./cmd/ratelimit", "github.com/nats-io/nats-server/v2"); err != nil {
		return err
	}
	file := filepath.Join(r.dir, "policies.yaml")
	if err := os.WriteFile(file, []byte(policies), 0o600); err != nil {
		return err
	}
	var natsAddr string
	for _, addr := range []*string{&natsAddr, &r.redis, &r.admin} {
		if *addr, err = freeAddr(); err != nil {
			return err
		}
	}
	r.nats = "nats://" + natsAddr
	_, natsPort, _ := net.SplitHostPort(natsAddr)
	_, redisPort, _ := net.SplitHostPort(r.redis)
	for _, p := range []struct {
		name  string
		args  []string
		ready func() error
	}{
		{redisServer, []string{"--port", redisPort, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", r.dir}, r.flush},
		{filepath.Join(r.dir, "nats-server"), []string{"-a", "127.0.0.1", "-p", natsPort}, func() error { return dial(natsAddr) }},
		{filepath.Join(r.dir, "ratelimitd"), []string{"worker"}, r.workerReady},
	} {
		cmd := exec.Command(p.name, p.args...)
		cmd.Env = []string{
			"PATH=" + os.Getenv("PATH"), "NATS_URL=" + r.nats, "REDIS_URL=redis://" + r.redis,
			"RATELIMIT_POLICIES=" + file, "RATELIMIT_ADMIN_ADDR=" + r.admin,
		}
		// An interrupt is for this program, which stops them in order.
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		var log bytes.Buffer
		cmd.Stdout, cmd.Stderr = &log, &log
		if err := cmd.Start(); err != nil {
			return err
		}
		r.procs = append(r.procs, cmd)
		if err := until(ctx, p.ready); err != nil {
			return fmt.Errorf("%s is not ready: %w\n%s", filepath.Base(p.name), err, log.String())
		}
	}
	return nil
}

// until calls ready until it returns nil, for ten seconds.
func until(ctx context.Context, ready func() error) error {
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		err := ready()
		if err == nil || ctx.Err() != nil {
			return ctx.Err()
		}
		if time.Now().After(deadline) {
			return err
		}
	}
}

// stop ends the processes, the last one first.
func (r *rig) stop() {
	for i := len(r.procs) - 1; i >= 0; i-- {
		p := r.procs[i]
		_ = p.Process.Signal(syscall.SIGTERM)
		kill := time.AfterFunc(10*time.Second, func() { _ = p.Process.Kill() })
		_ = p.Wait()
		kill.Stop()
	}
	_ = os.RemoveAll(r.dir)
}

// output runs a command and returns what it prints. The error has what it
// complained about.
func (r *rig) output(ctx context.Context, name string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.Output()
	if err != nil {
		return out, fmt.Errorf("%s: %w\n%s", strings.Join(append([]string{filepath.Base(name)}, args...), " "), err, &complaint)
	}
	return out, nil
}

func (r *rig) workerReady() error {
	res, err := http.Get("http://" + r.admin + "/readyz")
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("it answers %s", res.Status)
	}
	return nil
}

// flush empties Redis, so that no row finds what another has left.
func (r *rig) flush() error {
	conn, err := net.DialTimeout("tcp", r.redis, time.Second)
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(conn, "FLUSHALL\r\n"); err != nil {
		return err
	}
	answer := make([]byte, len("+OK\r\n"))
	if _, err := io.ReadFull(conn, answer); err != nil {
		return err
	}
	if string(answer) != "+OK\r\n" {
		return fmt.Errorf("redis answers %q to FLUSHALL", answer)
	}
	return nil
}

func dial(addr string) error {
	conn, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return err
	}
	return conn.Close()
}

func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}
