// Package redistest runs a real redis-server for the length of a test.
package redistest

import (
	"bufio"
	"fmt"
	"net"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Server is a redis-server on a free port of the loopback, with nothing on
// disk. It is killed when the test ends.
type Server struct {
	// Addr is its host:port, the same over restarts.
	Addr string

	tb   testing.TB
	conf []string // its configuration file, if it has one
	args []string
	cmd  *exec.Cmd
}

// Start starts a server with further arguments, such as "--maxmemory", "1mb",
// and waits until it answers. A missing redis-server fails the test.
func Start(tb testing.TB, args ...string) *Server {
	tb.Helper()
	s := &Server{Addr: freeAddr(tb), tb: tb, args: args}
	s.Restart()
	tb.Cleanup(s.Kill)
	return s
}

// URL returns the server's redis:// URL.
func (s *Server) URL() string { return "redis://" + s.Addr }

// Restart starts the server, empty and on the same address, after Kill.
func (s *Server) Restart() {
	s.tb.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		s.tb.Fatal("redis-server is not on the PATH; `make test` installs it, or use your system's package redis-server (redis)")
	}
	_, port, _ := net.SplitHostPort(s.Addr)
	args := slices.Concat(s.conf, []string{"--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", s.tb.TempDir()}, s.args)
	s.cmd = exec.Command(path, args...)
	if err := s.cmd.Start(); err != nil {
		s.tb.Fatalf("start redis-server: %v", err)
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if reply, err := s.Do("PING"); err == nil && (reply == "+PONG" || strings.HasPrefix(reply, "-NOAUTH")) {
			return
		}
		if time.Now().After(deadline) {
			s.tb.Fatalf("redis-server on %s did not answer within 10 s", s.Addr)
		}
	}
}

// Kill kills the server at once, as a crash would.
func (s *Server) Kill() {
	if s.cmd != nil {
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait()
		s.cmd = nil
	}
}

// Pause stops the process without ending it: it accepts connections and does
// not answer.
func (s *Server) Pause() { s.signal(syscall.SIGSTOP) }

// Resume lets a paused server go on.
func (s *Server) Resume() { s.signal(syscall.SIGCONT) }

func (s *Server) signal(sig syscall.Signal) {
	s.tb.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		s.tb.Fatalf("signal redis-server: %v", err)
	}
}

// Do sends one inline command, such as "CONFIG SET maxmemory 1mb", on a
// connection of its own and returns the first line of the answer.
func (s *Server) Do(command string) (string, error) {
	conn, err := net.DialTimeout("tcp", s.Addr, time.Second)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := fmt.Fprintf(conn, "%s\r\n", command); err != nil {
		return "", err
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	return strings.TrimRight(line, "\r\n"), err
}

// MustDo is Do for commands that answer with anything but an error.
func (s *Server) MustDo(command string) string {
	s.tb.Helper()
	reply, err := s.Do(command)
	if err != nil || strings.HasPrefix(reply, "-") {
		s.tb.Fatalf("redis %s: %q, %v", command, reply, err)
	}
	return reply
}

func freeAddr(tb testing.TB) string {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
