package main

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/quotaworker/ratelimit/client/wire"
)

// result is what one run of the program left.
type result struct {
	exit           int
	stdout, stderr string
}

// runIt runs the program in this process, with an environment of its own.
func runIt(ctx context.Context, env map[string]string, args ...string) result {
	var stdout, stderr bytes.Buffer
	exit := run(ctx, args, strings.NewReader(""), &stdout, &stderr, func(name string) string { return env[name] })
	return result{exit, stdout.String(), stderr.String()}
}

func TestRunReadsItsOwnEnvironment(t *testing.T) {
	srv, err := startNATS(server.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer stopNATS(srv)
	if _, err := serve(srv, true); err != nil {
		t.Fatal(err)
	}
	t.Setenv("NATS_URL", "nats://127.0.0.1:1")
	env := map[string]string{"NATS_URL": srv.ClientURL()}

	want := result{0, "allowed  user_123  0 of 1 left, full in 1m\n", ""}
	if got := runIt(t.Context(), env, "check", "user_123", "--rate", "1", "--interval", "1m"); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	want = result{1, "denied   user_123  0 of 1 left, retry in 1m\n", ""}
	if got := runIt(t.Context(), env, "check", "user_123", "--rate", "1", "--interval", "1m"); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestInterruptEndsTheWait(t *testing.T) {
	srv, err := startNATS(server.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer stopNATS(srv)
	nc, err := nats.Connect("", nats.InProcessServer(srv), nats.NoReconnect())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	// The interrupt comes when the request is under way for sure.
	if _, err := nc.Subscribe("ratelimit.>", func(*nats.Msg) { interrupt() }); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	got := runIt(ctx, map[string]string{"NATS_URL": srv.ClientURL()}, "check", "k", "--timeout", "1m")
	if waited := time.Since(start); waited > 30*time.Second {
		t.Errorf("it went on for %s", waited)
	}
	if got.exit != exitNoAnswer || got.stdout != "" || !strings.Contains(got.stderr, "interrupted before the answer came") {
		t.Errorf("got %+v, want exit code %d and a sentence about the interrupt", got, exitNoAnswer)
	}
}

func TestExitCodeOfEachError(t *testing.T) {
	for code, want := range map[wire.Code]int{
		wire.CodeInvalidKey:            exitWrongUse,
		wire.CodeInvalidRequest:        exitWrongUse,
		wire.CodeCostExceedsBurst:      exitWrongUse,
		wire.CodeLimitNotRepresentable: exitWrongUse,
		wire.CodeUnknownPolicy:         exitWrongUse,
		wire.CodeNoPolicy:              exitWrongUse,
		wire.CodeInlineLimitRefused:    exitWrongUse,
		wire.CodeDeadlineExceeded:      exitNoAnswer,
		wire.CodeOverloaded:            exitNoAnswer,
		wire.CodeUnavailable:           exitNoAnswer,
		"a_code_of_tomorrow":           exitNoAnswer,
	} {
		if got := exitOf(code); got != want {
			t.Errorf("%s: got exit code %d, want %d", code, got, want)
		}
	}
}

func TestHuman(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0:                       "0s",
		time.Millisecond:        "1ms",
		1500 * time.Millisecond: "1.5s",
		10 * time.Second:        "10s",
		time.Minute:             "1m",
		70 * time.Second:        "1m10s",
		10 * time.Minute:        "10m",
		time.Hour:               "1h",
		10 * time.Hour:          "10h",
		90 * time.Minute:        "1h30m",
		time.Hour + time.Second: "1h0m1s",
		8784 * time.Hour:        "8784h",
	} {
		if got := human(d); got != want {
			t.Errorf("human(%d): got %q, want %q", d, got, want)
		}
	}
}
