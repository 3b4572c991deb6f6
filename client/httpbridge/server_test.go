package httpbridge_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/quotaworker/ratelimit/client/httpbridge"
)

// dial opens a connection to addr that gives up after ten seconds.
func dial(t *testing.T, addr string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return conn
}

// TestSlowHeader (row 63): the connection is closed without an answer.
func TestSlowHeader(t *testing.T) {
	addr := listen(t, httpbridge.New(direct{newService()}, httpbridge.Options{}), httpbridge.ServerOptions{ReadHeaderTimeout: 50 * time.Millisecond})
	conn := dial(t, addr)
	if _, err := io.WriteString(conn, "POST /check HTTP/1.1\r\nHost: x\r\n"); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(conn)
	if err != nil || len(got) > 0 {
		t.Errorf("got %q, %v; want the end of the connection", got, err)
	}
}

// TestSlowBody (row 64): 408, and nobody is charged.
func TestSlowBody(t *testing.T) {
	s := newService()
	addr := listen(t, httpbridge.New(direct{s}, httpbridge.Options{}), httpbridge.ServerOptions{ReadHeaderTimeout: 50 * time.Millisecond, ReadTimeout: 50 * time.Millisecond})
	conn := dial(t, addr)
	if _, err := io.WriteString(conn, "POST /check HTTP/1.1\r\nHost: x\r\nContent-Length: 18\r\n\r\n{\"key\":"); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(conn)
	resp, err := http.ReadResponse(in, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	wantError(t, resp, 408, "request_timeout")
	if !resp.Close {
		t.Error("408 without Connection: close")
	}
	if rest, err := io.ReadAll(in); len(rest) > 0 {
		t.Errorf("the connection goes on: %q, %v", rest, err)
	}
	if got := s.asked(); got != nil {
		t.Errorf("asked about %q", got)
	}
}

// TestHalfClose has a caller that closes its own side and waits for the answer.
// To net/http that is a caller that left; it must not be told yes.
func TestHalfClose(t *testing.T) {
	c := blocking{asked: make(chan struct{}, 1), release: make(chan struct{})}
	addr := listen(t, httpbridge.New(c, httpbridge.Options{Timeout: 10 * time.Second}), httpbridge.ServerOptions{})
	conn := dial(t, addr)
	if _, err := io.WriteString(conn, get("/v1/check/a")); err != nil {
		t.Fatal(err)
	}
	<-c.asked
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	wantError(t, resp, 504, "deadline_exceeded")
}

// TestIdle (row 65): a connection nobody uses is closed.
func TestIdle(t *testing.T) {
	addr := listen(t, httpbridge.New(direct{newService()}, httpbridge.Options{}), httpbridge.ServerOptions{IdleTimeout: 50 * time.Millisecond, ReadTimeout: time.Hour})
	conn := dial(t, addr)
	if _, err := io.WriteString(conn, get("/healthz")); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(conn)
	if err != nil || !strings.HasSuffix(string(got), "\r\n\r\nok\n") {
		t.Errorf("got %q, %v; want a response and then the end", got, err)
	}
}

// TestMaxConns (row 65): one connection too many waits until another ends.
func TestMaxConns(t *testing.T) {
	addr := listen(t, httpbridge.New(direct{newService()}, httpbridge.Options{}), httpbridge.ServerOptions{MaxConns: 1})
	first, second := dial(t, addr), dial(t, addr)
	for _, conn := range []net.Conn{first, second} {
		if _, err := io.WriteString(conn, get("/healthz")); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := http.ReadResponse(bufio.NewReader(first), nil); err != nil {
		t.Fatal(err)
	}
	if err := second.SetReadDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(second)
	if _, err := in.Peek(1); !errors.Is(err, context.DeadlineExceeded) && !isTimeout(err) {
		t.Fatalf("the second connection was served beside the first (%v)", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if err := second.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := http.ReadResponse(in, nil); err != nil {
		t.Errorf("the second connection was not served after the first had ended: %s", err)
	}
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

// TestShutdown stops a server while a check waits for its answer.
func TestShutdown(t *testing.T) {
	serve := func(t *testing.T, c httpbridge.Checker, o httpbridge.ServerOptions) (addr string, stop func(), done chan error) {
		t.Helper()
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		done = make(chan error, 1)
		h := httpbridge.New(c, httpbridge.Options{Timeout: 5 * time.Second})
		go func() { done <- httpbridge.Serve(ctx, l, h, o) }()
		t.Cleanup(cancel)
		return l.Addr().String(), cancel, done
	}

	t.Run("graceful", func(t *testing.T) {
		c := blocking{asked: make(chan struct{}), release: make(chan struct{})}
		addr, stop, done := serve(t, c, httpbridge.ServerOptions{})
		idle, busy := dial(t, addr), dial(t, addr)
		if _, err := io.WriteString(idle, get("/healthz")); err != nil {
			t.Fatal(err)
		}
		idleIn := bufio.NewReader(idle)
		if resp, err := http.ReadResponse(idleIn, nil); err != nil {
			t.Fatal(err)
		} else if _, err := io.ReadAll(resp.Body); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(busy, get("/v1/check/a")); err != nil {
			t.Fatal(err)
		}
		<-c.asked
		stop()
		// The idle connection ends, which also shows that stopping has begun.
		if _, err := idleIn.ReadByte(); err != io.EOF {
			t.Errorf("the idle connection: %v, want EOF", err)
		}
		if conn, err := net.Dial("tcp", addr); err == nil {
			_ = conn.Close()
			t.Error("the port still takes connections")
		}
		select {
		case err := <-done:
			t.Fatalf("Serve returned (%v) before the check was answered", err)
		default:
		}
		close(c.release)
		resp, err := http.ReadResponse(bufio.NewReader(busy), nil)
		if err != nil || resp.StatusCode != 200 {
			t.Errorf("the check that was under way: %v %v", resp, err)
		}
		if err := <-done; err != nil {
			t.Errorf("Serve: %s", err)
		}
	})

	t.Run("cut off", func(t *testing.T) {
		c := blocking{asked: make(chan struct{}), release: make(chan struct{})}
		addr, stop, done := serve(t, c, httpbridge.ServerOptions{ShutdownTimeout: 20 * time.Millisecond})
		busy := dial(t, addr)
		if _, err := io.WriteString(busy, get("/v1/check/a")); err != nil {
			t.Fatal(err)
		}
		<-c.asked
		stop()
		if err := <-done; err == nil || !strings.Contains(err.Error(), "cut off") {
			t.Errorf("Serve: %v, want an error that says so", err)
		}
		if got, _ := io.ReadAll(busy); len(got) > 0 {
			t.Errorf("the check that was under way was answered: %q", got)
		}
	})

	t.Run("listener fails", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if err := httpbridge.Serve(context.Background(), l, http.NotFoundHandler(), httpbridge.ServerOptions{}); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Serve: %v, want net.ErrClosed", err)
		}
	})
}
