package natsembed

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func start(t *testing.T, o Options) *Server {
	t.Helper()
	srv, err := Start(o)
	if err != nil {
		t.Fatalf("Start(%+v): %v", o, err)
	}
	t.Cleanup(srv.Shutdown)
	return srv
}

// echo checks that a request on nc is answered.
func echo(t *testing.T, nc *nats.Conn) {
	t.Helper()
	sub, err := nc.Subscribe("echo", func(m *nats.Msg) { m.Respond(m.Data) })
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Unsubscribe()
	// With a context, because the requests with a timeout share their timers,
	// which must not leave a synctest bubble.
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	msg, err := nc.RequestWithContext(ctx, "echo", []byte("hello"))
	if err != nil {
		t.Fatalf("request: %v", err)
	}
	if got := string(msg.Data); got != "hello" {
		t.Errorf("echo answered %q, want %q", got, "hello")
	}
}

func TestReachableByPortAndInProcess(t *testing.T) {
	srv := start(t, Options{Port: RandomPort})
	if got := srv.ClientURL(); !strings.HasPrefix(got, "nats://127.0.0.1:") || strings.HasSuffix(got, ":0") || strings.HasSuffix(got, ":-1") {
		t.Errorf("ClientURL() = %q, want a loopback address with its port", got)
	}
	for name, connect := range map[string]func() (*nats.Conn, error){
		"port":       func() (*nats.Conn, error) { return nats.Connect(srv.ClientURL()) },
		"in process": func() (*nats.Conn, error) { return nats.Connect("", srv.InProcess()) },
	} {
		t.Run(name, func(t *testing.T) {
			nc, err := connect()
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			echo(t, nc)
			if got := nc.MaxPayload(); got != DefaultMaxPayload {
				t.Errorf("MaxPayload() = %d, want %d", got, DefaultMaxPayload)
			}
			if !nc.HeadersSupported() {
				t.Error("the server does not speak headers")
			}
		})
	}
}

func TestTakenPortIsNamed(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	port := ln.Addr().(*net.TCPAddr).Port

	began := time.Now()
	srv, err := Start(Options{Port: port})
	if err == nil {
		srv.Shutdown()
		t.Fatal("Start on a taken port returned no error")
	}
	if !errors.Is(err, ErrPortInUse) {
		t.Errorf("Start on a taken port: %v, want an ErrPortInUse", err)
	}
	if !strings.Contains(err.Error(), fmt.Sprintf("port %d ", port)) {
		t.Errorf("the error %q does not name port %d", err, port)
	}
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("it took %s to notice the taken port", took)
	}
}

func TestUnusableHostIsAnError(t *testing.T) {
	if _, err := Start(Options{Host: "192.0.2.1", Port: RandomPort}); err == nil || errors.Is(err, ErrPortInUse) {
		t.Errorf("Start on an address of somebody else: %v, want an error other than ErrPortInUse", err)
	}
}

// The port is free again the moment Shutdown returns.
func TestShutdownWaits(t *testing.T) {
	srv := start(t, Options{Port: RandomPort})
	addr := strings.TrimPrefix(srv.ClientURL(), "nats://")
	nc, err := nats.Connect(srv.ClientURL(), nats.NoReconnect())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	srv.Shutdown()
	srv.Shutdown()
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatalf("after Shutdown: %v", err)
	}
	ln.Close()
}

func TestInProcessOnlyRunsInABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := start(t, Options{InProcessOnly: true})
		if got := srv.ClientURL(); got != "" {
			t.Errorf("ClientURL() = %q, want none", got)
		}
		nc, err := nats.Connect("", srv.InProcess())
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		echo(t, nc)
	})
}

// A client that does not answer pings is gone after three of them.
func TestFrozenClientIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := start(t, Options{InProcessOnly: true})
		conn, err := srv.srv.InProcessConn()
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		began := time.Now()
		buf := make([]byte, 4096)
		if _, err := conn.Read(buf); err != nil { // its INFO
			t.Fatal(err)
		}
		if _, err := conn.Write([]byte("CONNECT {\"verbose\":false}\r\nPING\r\n")); err != nil {
			t.Fatal(err)
		}
		for {
			if _, err := conn.Read(buf); err != nil {
				break
			}
		}
		if took := time.Since(began); took < 10*time.Second || took > 16*time.Second {
			t.Errorf("the frozen client was dropped after %s, want 10 to 16 s", took)
		}
	})
}

func TestJetStreamNeedsAStoreDir(t *testing.T) {
	for _, dir := range []string{"", t.TempDir()} {
		srv := start(t, Options{Port: RandomPort, StoreDir: dir})
		nc, err := nats.Connect("", srv.InProcess())
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		_, err = nc.RequestWithContext(ctx, "$JS.API.INFO", nil)
		cancel()
		want := int64(DefaultMaxPayload)
		if dir != "" {
			want = StoreMaxPayload
		}
		if got := nc.MaxPayload(); got != want {
			t.Errorf("StoreDir %q: MaxPayload() = %d, want %d", dir, got, want)
		}
		if got, want := err == nil, dir != ""; got != want {
			t.Errorf("StoreDir %q: JetStream answered: %v, want %v (%v)", dir, got, want, err)
		}
		nc.Close()
		srv.Shutdown()
	}
}

func TestLogIsQuiet(t *testing.T) {
	var out lockedBuffer
	log := slog.New(slog.NewTextHandler(&out, nil))
	srv := start(t, Options{InProcessOnly: true, Logger: log})
	srv.Shutdown()
	if got := out.String(); got != "" {
		t.Errorf("a server that started and stopped logged:\n%s", got)
	}
	logger{log}.Warnf("disk %d %% full", 90)
	if got := out.String(); !strings.Contains(got, "level=WARN") || !strings.Contains(got, "nats: disk 90 % full") {
		t.Errorf("a warning was logged as %q", got)
	}
}

type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
