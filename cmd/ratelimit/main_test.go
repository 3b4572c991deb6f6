package main

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/quotaworker/ratelimit/client"
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
	svc, err := serve(srv, "", true, open)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := svc.stop(); err != nil {
			t.Error(err)
		}
	}()
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
	nc, err := connect(srv, "")
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

func TestAnswerNamesItsPolicy(t *testing.T) {
	var stdout bytes.Buffer
	p := &program{stdout: &stdout}
	r := client.Result{
		Allowed: true, Key: "free.42", Limit: 5, Remaining: 4,
		ResetAfter: 12 * time.Second, Window: time.Minute,
		Policy: "free", LimitName: "per-minute", Source: "redis",
	}
	p.answer("", &r)
	p.json = true
	p.answer("", &r)
	want := "allowed  free.42  4 of 5 left, full in 12s (limit per-minute of policy free)\n" +
		`{"allowed":true,"key":"free.42","limit":5,"remaining":4,"retry_after_ms":0,"reset_after_ms":12000,"window_ms":60000,"policy":"free","limit_name":"per-minute","source":"redis","degraded":false}` + "\n"
	if got := stdout.String(); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

// TestInterruptEndsBench reports what there was until the interrupt.
func TestInterruptEndsBench(t *testing.T) {
	srv, err := startNATS(server.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer stopNATS(srv)
	svc, err := serve(srv, "", true, open)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := svc.stop(); err != nil {
			t.Error(err)
		}
	}()
	ctx, interrupt := context.WithCancel(t.Context())
	time.AfterFunc(500*time.Millisecond, interrupt)
	start := time.Now()
	got := runIt(ctx, map[string]string{"NATS_URL": srv.ClientURL()}, "bench", "--client", "async", "-d", "5m", "-c", "4", "--keys", "1000")
	if took := time.Since(start); took > time.Minute {
		t.Errorf("it went on for %s", took)
	}
	if got.exit != exitAllowed || !strings.Contains(got.stdout, " 0 failed\n") || !strings.HasSuffix(got.stdout, "interrupted: these are the figures until then\n") || strings.Contains(got.stdout, "checks/s   0\n") {
		t.Errorf("got %+v", got)
	}
}
