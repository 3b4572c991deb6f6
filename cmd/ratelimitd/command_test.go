package main

import (
	"bytes"
	"context"
	"net"
	"strings"
	"testing"
)

// TestCommandLine covers what ends at once.
func TestCommandLine(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	takenAddr := taken.Addr().String()
	free := []string{"RATELIMIT_NATS_ADDR=127.0.0.1:0", "RATELIMIT_HTTP_ADDR=127.0.0.1:0", "RATELIMIT_ADMIN_ADDR=127.0.0.1:0"}

	for _, tt := range []struct {
		name    string
		args    []string
		environ []string
		code    int
		stdout  string
		stderr  string
	}{
		{name: "help", args: []string{"--help"}, stdout: "on a fresh machine this is all it takes:\n\n  ratelimitd\n"},
		{name: "help of a command", args: []string{"worker", "--help"}, stdout: "Decide checks that come over NATS, in Redis"},
		{name: "version", args: []string{"version"}, stdout: "dev\n"},
		{name: "config", args: []string{"config"}, environ: []string{"RATELIMIT_QUEUE=7"}, stdout: "RATELIMIT_QUEUE            7               environment\n"},
		{name: "config of a role", args: []string{"config", "--role", "worker"}, code: 2, stdout: "RATELIMIT_QUEUE", stderr: "ratelimitd: REDIS_URL is not set, and workers share"},
		{name: "config of no role", args: []string{"config", "--role", "manager"}, code: 2, stderr: `ratelimitd: --role "manager" must be all-in-one, worker or bridge`},
		{name: "an unknown setting", args: []string{"config"}, environ: []string{"RATELIMIT_QUEUES=7"}, stdout: "SETTING", stderr: "ratelimitd: warning: RATELIMIT_QUEUES is not a setting and does nothing; did you mean RATELIMIT_QUEUE?"},
		{name: "an unknown command", args: []string{"wroker"}, code: 2, stderr: `ratelimitd: "wroker" is not a command of ratelimitd; see: ratelimitd --help`},
		{name: "an unknown command to help with", args: []string{"help", "wroker"}, code: 2, stderr: `"help" is not a command`},
		{name: "an unknown flag", args: []string{"--port", "80"}, code: 2, stderr: "unknown flag: --port; settings are environment variables, see: ratelimitd --help"},
		{name: "too many arguments", args: []string{"worker", "now"}, code: 2, stderr: `"now" is not a command of ratelimitd worker`},
		{name: "bad settings, one a line", args: []string{"worker"}, environ: []string{"RATELIMIT_QUEUE=x", "RATELIMIT_BATCH=y"}, code: 2, stderr: "ratelimitd: RATELIMIT_QUEUE is \"x\": must be a whole number\nratelimitd: RATELIMIT_BATCH is \"y\": must be a whole number\n"},
		{name: "the HTTP port is taken", environ: append(free, "RATELIMIT_HTTP_ADDR="+takenAddr), code: 1, stderr: "another program listens on " + takenAddr + "; choose another with RATELIMIT_HTTP_ADDR=127.0.0.1:"},
		{name: "the admin port is taken", environ: append(free, "RATELIMIT_ADMIN_ADDR="+takenAddr), code: 1, stderr: "choose another with RATELIMIT_ADMIN_ADDR=127.0.0.1:"},
		{name: "the NATS port is taken", environ: append(free, "RATELIMIT_NATS_ADDR="+takenAddr), code: 1, stderr: "if a NATS server runs there, set NATS_URL=nats://" + takenAddr + " to use it"},
		{name: "no NATS server", environ: append(free, "NATS_URL=nats://joe:hunter2@127.0.0.1:1"), code: 1, stderr: "cannot connect to NATS at nats://(hidden)@127.0.0.1:1: "},
		{name: "healthcheck without a daemon", args: []string{"healthcheck"}, environ: []string{"RATELIMIT_ADMIN_ADDR=127.0.0.1:1"}, code: 1, stderr: "no daemon answers: "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			code := run(context.Background(), tt.args, tt.environ, &stdout, &stderr)
			if code != tt.code || !strings.Contains(stdout.String(), tt.stdout) || !strings.Contains(stderr.String(), tt.stderr) {
				t.Errorf("code %d, want %d\nstdout %s\n  want %s\nstderr %s\n  want %s", code, tt.code, &stdout, tt.stdout, &stderr, tt.stderr)
			}
			if tt.stdout == "" && stdout.Len() > 0 {
				t.Errorf("stdout: %s", &stdout)
			}
			if strings.Contains(stdout.String()+stderr.String(), "hunter2") {
				t.Error("a secret is shown")
			}
		})
	}
}
