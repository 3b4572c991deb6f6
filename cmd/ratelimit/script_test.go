package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/rogpeppe/go-internal/testscript"
	"go.uber.org/goleak"

	"github.com/quotaworker/ratelimit/client/wire"
)

func TestMain(m *testing.M) {
	testscript.Main(leakTest{m}, map[string]func(){"ratelimit": main})
}

// leakTest fails a run that leaves goroutines behind.
type leakTest struct{ m *testing.M }

func (l leakTest) Run() int {
	code := l.m.Run()
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	return code
}

// TestScripts runs testdata/script/*.txtar, in which ratelimit is this
// program in a process of its own. Beside the commands of testscript there are
//
//	exits CODE ratelimit ARG...   run it and compare its exit code
//	server [password|token|inbox] start a NATS server, and set NATS_URL, URL and ADDR
//	service [shared]              answer there; start the server if need be
//	mute                          take requests there, and never answer
//	context FILE USER PASSWORD    write a NATS context for the server
//	clock DURATION                move the clock of the service on
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                filepath.Join("testdata", "script"),
		RequireUniqueNames: true,
		UpdateScripts:      os.Getenv("UPDATE_SCRIPTS") != "",
		Setup: func(env *testscript.Env) error {
			env.Values["running"] = &running{}
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("XDG_CONFIG_HOME", filepath.Join(env.WorkDir, "config"))
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":   cmdExits,
			"service": cmdService,
			"clock":   cmdClock,
			"server":  cmdServer,
			"mute":    cmdMute,
			"context": cmdContext,
		},
	})
}

func cmdExits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM [ARG...]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%s did not run: %v", args[1], err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// running is what a script has started. It lives on the side because a
// script's commands get no place of their own in it.
type running struct {
	server  *server.Server
	service *service
}

func of(ts *testscript.TestScript) *running { return ts.Value("running").(*running) }

func cmdServer(ts *testscript.TestScript, neg bool, args []string) {
	r := of(ts)
	var opts server.Options
	for _, arg := range args {
		switch arg {
		case "password":
			opts.Users = []*server.User{{Username: "worker", Password: "hush-hush"}, {Username: "app", Password: "hush-hush"}}
		case "token":
			opts.Authorization = "hush-hush"
		case "inbox":
			opts.Users = []*server.User{
				{Username: "worker", Password: "hush-hush"},
				{Username: "app", Password: "hush-hush", Permissions: &server.Permissions{
					Publish:   &server.SubjectPermission{Allow: []string{"ratelimit.check.>"}},
					Subscribe: &server.SubjectPermission{Allow: []string{"_INBOX_app.>"}},
				}},
			}
		default:
			ts.Fatalf("usage: server [password] [token] [inbox]")
		}
	}
	var err error
	r.server, err = startNATS(opts)
	ts.Check(err)
	ts.Defer(func() { stopNATS(r.server) })
	ts.Setenv("NATS_URL", r.server.ClientURL())
	ts.Setenv("URL", r.server.ClientURL())
	ts.Setenv("ADDR", r.server.Addr().String())
	ts.Setenv("NOTNATS", startNotNATS(ts))
}

func cmdService(ts *testscript.TestScript, neg bool, args []string) {
	r := of(ts)
	if r.server == nil {
		cmdServer(ts, false, nil)
	}
	var err error
	r.service, err = serve(r.server, slices.Contains(args, "shared"))
	ts.Check(err)
}

func cmdClock(ts *testscript.TestScript, neg bool, args []string) {
	r := of(ts)
	if len(args) != 1 || r.service == nil {
		ts.Fatalf("usage: clock DURATION, after service")
	}
	d, err := time.ParseDuration(args[0])
	ts.Check(err)
	r.service.now.Add(d.Microseconds())
}

func cmdMute(ts *testscript.TestScript, neg bool, args []string) {
	nc, err := nats.Connect("", nats.InProcessServer(of(ts).server), nats.NoReconnect())
	ts.Check(err)
	_, err = nc.QueueSubscribe("ratelimit.>", wire.QueueGroup, func(*nats.Msg) {})
	ts.Check(err)
	ts.Check(nc.Flush())
}

func cmdContext(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 3 {
		ts.Fatalf("usage: context FILE USER PASSWORD, after server")
	}
	doc, err := json.Marshal(map[string]string{"url": ts.Getenv("URL"), "user": args[1], "password": args[2]})
	ts.Check(err)
	file := ts.MkAbs(args[0])
	ts.Check(os.MkdirAll(filepath.Dir(file), 0o700))
	ts.Check(os.WriteFile(file, doc, 0o600))
}

// startNotNATS returns the address of a server that greets in another
// language.
func startNotNATS(ts *testscript.TestScript) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			fmt.Fprint(conn, "220 mail.example.com ESMTP\r\n")
			conn.Close()
		}
	}()
	ts.Defer(func() { l.Close(); <-done })
	return l.Addr().String()
}
