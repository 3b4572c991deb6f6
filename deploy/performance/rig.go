package main

import (
	"bytes"
	"context"
	"fmt"
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
	programs string   // the folder with them
	dir      string   // its own
	nats     string   // its URL
	redis    string   // its host:port
	admins   []string // of the workers, host:port
	far      *proxy   // between the workers and Redis, or nil
	procs    []*exec.Cmd
	natsPID  int
}

// layout is what a rig is made of.
type layout struct {
	workers  int // 0 is one
	policies string
	settings []string // of the workers, NAME=value

	// delay is what Redis's answers take longer, on a way that is longer by a
	// proxy even if the delay is zero. Without far there is none.
	far   bool
	delay time.Duration
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

// build builds the programs, into a folder that is the caller's to remove.
func build(ctx context.Context) (string, error) {
	dir, err := os.MkdirTemp("", "ratelimit-performance-")
	if err != nil {
		return "", err
	}
	if _, err := output(ctx, "go", "build", "-trimpath", "-o", dir+"/", "./cmd/ratelimitd", "./cmd/ratelimit", "github.com/nats-io/nats-server/v2"); err != nil {
		_ = os.RemoveAll(dir)
		return "", err
	}
	return dir, nil
}

// startRig starts the processes. What it leaves behind is the caller's to stop.
func startRig(ctx context.Context, programs string, l layout) (*rig, error) {
	dir, err := os.MkdirTemp(programs, "rig-")
	if err != nil {
		return nil, err
	}
	r := &rig{programs: programs, dir: dir}
	if err := r.start(ctx, l); err != nil {
		r.stop()
		return nil, err
	}
	return r, nil
}

func (r *rig) start(ctx context.Context, l layout) error {
	for _, name := range []string{"redis-server", "redis-cli"} {
		if _, err := exec.LookPath(name); err != nil {
			return fmt.Errorf("%s is not on the PATH; .ci/need-redis installs it", name)
		}
	}
	file := filepath.Join(r.dir, "policies.yaml")
	if err := os.WriteFile(file, []byte(l.policies), 0o600); err != nil {
		return err
	}
	natsAddr, err := freeAddr()
	if err != nil {
		return err
	}
	if r.redis, err = freeAddr(); err != nil {
		return err
	}
	r.nats = "nats://" + natsAddr
	_, natsPort, _ := net.SplitHostPort(natsAddr)
	_, redisPort, _ := net.SplitHostPort(r.redis)

	path := "PATH=" + os.Getenv("PATH")
	if _, err := r.run(ctx, r.flush, []string{path},
		"redis-server", "--port", redisPort, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", r.dir); err != nil {
		return err
	}
	if r.natsPID, err = r.run(ctx, func() error { return dial(natsAddr) }, []string{path},
		filepath.Join(r.programs, "nats-server"), "-a", "127.0.0.1", "-p", natsPort); err != nil {
		return err
	}
	redis := r.redis
	if l.far {
		if r.far, err = startProxy(r.redis, l.delay); err != nil {
			return err
		}
		redis = r.far.addr
	}
	for range max(1, l.workers) {
		admin, err := freeAddr()
		if err != nil {
			return err
		}
		r.admins = append(r.admins, admin)
		env := append([]string{path, "NATS_URL=" + r.nats, "REDIS_URL=redis://" + redis, "RATELIMIT_POLICIES=" + file, "RATELIMIT_ADMIN_ADDR=" + admin}, l.settings...)
		if _, err := r.run(ctx, func() error { return ready(admin) }, env, filepath.Join(r.programs, "ratelimitd"), "worker"); err != nil {
			return err
		}
	}
	return nil
}

// run starts a process, waits until it is ready, and returns its id.
func (r *rig) run(ctx context.Context, ready func() error, env []string, name string, args ...string) (int, error) {
	cmd := exec.Command(name, args...)
	cmd.Env = env
	// An interrupt is for this program, which stops them in order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	r.procs = append(r.procs, cmd)
	if err := until(ctx, ready); err != nil {
		return 0, fmt.Errorf("%s is not ready: %w\n%s", filepath.Base(name), err, log.String())
	}
	return cmd.Process.Pid, nil
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
	if r.far != nil {
		r.far.close()
	}
	_ = os.RemoveAll(r.dir)
}

// output runs a command and returns what it prints. The error has what it
// complained about.
func output(ctx context.Context, name string, args ...string) ([]byte, error) {
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

// ready returns nil if the worker with that address is.
func ready(admin string) error {
	res, err := http.Get("http://" + admin + "/readyz")
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("it answers %s", res.Status)
	}
	return nil
}

// ask sends a command to Redis, and returns what it answers.
func (r *rig) ask(ctx context.Context, command ...string) (string, error) {
	host, port, _ := net.SplitHostPort(r.redis)
	out, err := output(ctx, "redis-cli", append([]string{"-h", host, "-p", port, "-e", "--raw"}, command...)...)
	return strings.TrimRight(string(out), "\n"), err
}

// flush empties Redis, so that no row finds what another has left.
func (r *rig) flush() error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	_, err := r.ask(ctx, "FLUSHALL")
	return err
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
