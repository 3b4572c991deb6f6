package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"
	"github.com/rogpeppe/go-internal/testscript"
	"go.uber.org/goleak"

	"github.com/quotaworker/ratelimit/client/wire"
	"github.com/quotaworker/ratelimit/limiter/policy"
	"github.com/quotaworker/ratelimit/worker"
	"github.com/quotaworker/ratelimit/worker/policykv"
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
//	server [HOW]                  start a NATS server, and set NATS_URL, URL and ADDR;
//	                              HOW it knows its clients is one of the words below
//	                              or jetstream, which gives it KV buckets, or small,
//	                              for messages of 4096 bytes
//	service [shared] [strict] [FILE]
//	                              start a worker there, and the server if need be:
//	                              shared pretends to be Redis, strict has no limits,
//	                              FILE has its policies
//	bucket FILE                   put a file into the bucket with the policies, unseen;
//	                              without FILE delete what is there
//	mute                          take requests there, and never answer
//	context FILE [FIELD=VALUE...] write a NATS context for the server
//	nkey FILE                     write the seed of an NKey that nobody knows
//	notnats                       set NOTNATS to a server that greets in another
//	                              language, and SILENT to one that does not greet
//	clock DURATION                move the clock of the service on
//	forgetful                     have the service forget its buckets now and then
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                filepath.Join("testdata", "script"),
		RequireUniqueNames: true,
		UpdateScripts:      os.Getenv("UPDATE_SCRIPTS") != "",
		Setup: func(env *testscript.Env) error {
			env.Values["running"] = &running{}
			env.Setenv("HOME", env.WorkDir)
			// With -race a process sleeps for a second before it exits with 0.
			env.Setenv("GORACE", "atexit_sleep_ms=0")
			env.Setenv("XDG_CONFIG_HOME", filepath.Join(env.WorkDir, "config"))
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":     cmdExits,
			"service":   cmdService,
			"clock":     cmdClock,
			"forgetful": cmdForgetful,
			"server":    cmdServer,
			"bucket":    cmdBucket,
			"mute":      cmdMute,
			"context":   cmdContext,
			"nkey":      cmdNKey,
			"notnats":   cmdNotNATS,
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
	creds   string // of the user that lets anybody in, if the server needs it
	service *service
}

func of(ts *testscript.TestScript) *running { return ts.Value("running").(*running) }

func cmdServer(ts *testscript.TestScript, neg bool, args []string) {
	r := of(ts)
	var opts server.Options
	for _, arg := range args {
		switch arg {
		case "jetstream":
			opts.JetStream, opts.StoreDir = true, ts.MkAbs("jetstream")
		case "small":
			opts.MaxPayload = 4096
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
		case "creds":
			creds, err := credentials(&opts)
			ts.Check(err)
			writeFile(ts, "app.creds", creds)
			r.creds = ts.MkAbs("app.creds")
		case "nkey":
			cmdNKey(ts, false, []string{"app.nk"})
			user, err := nkeys.FromSeed([]byte(ts.ReadFile("app.nk")))
			ts.Check(err)
			opts.Users = []*server.User{{Username: "worker", Password: "hush-hush"}}
			opts.Nkeys = []*server.NkeyUser{{Nkey: publicKey(user)}}
		case "tls":
			ca, cert, key, err := certificates(&opts)
			ts.Check(err)
			writeFile(ts, "ca.pem", ca)
			writeFile(ts, "cert.pem", cert)
			writeFile(ts, "key.pem", key)
		default:
			ts.Fatalf("usage: server [jetstream|small|password|token|inbox|creds|nkey|tls]")
		}
	}
	srv, err := startNATS(opts)
	ts.Check(err)
	ts.Defer(func() { stopNATS(srv) })
	r.server = srv
	ts.Setenv("NATS_URL", r.server.ClientURL())
	ts.Setenv("URL", r.server.ClientURL())
	ts.Setenv("ADDR", r.server.Addr().String())
}

func cmdService(ts *testscript.TestScript, neg bool, args []string) {
	r := of(ts)
	if r.server == nil {
		cmdServer(ts, false, nil)
	}
	o, shared := open, false
	for _, arg := range args {
		switch arg {
		case "shared":
			shared = true
		case "strict":
			o = worker.Options{}
		default:
			o.Policies = policy.NewBook()
			ts.Check(o.Policies.Load(arg, []byte(ts.ReadFile(arg)), "1"))
		}
	}
	s, err := serve(r.server, r.creds, shared, o)
	ts.Check(err)
	ts.Defer(func() { ts.Check(s.stop()) })
	r.service = s
}

func cmdClock(ts *testscript.TestScript, neg bool, args []string) {
	r := of(ts)
	if len(args) != 1 || r.service == nil {
		ts.Fatalf("usage: clock DURATION, after service")
	}
	d, err := time.ParseDuration(args[0])
	ts.Check(err)
	r.service.clock.now.Add(d.Microseconds())
}

func cmdBucket(ts *testscript.TestScript, neg bool, args []string) {
	nc, err := connect(of(ts).server, "")
	ts.Check(err)
	defer nc.Close()
	js, err := jetstream.New(nc)
	ts.Check(err)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	kv, err := js.KeyValue(ctx, policykv.DefaultBucket)
	ts.Check(err)
	if len(args) == 0 {
		ts.Check(kv.Delete(ctx, policykv.Key))
		return
	}
	_, err = kv.PutString(ctx, policykv.Key, ts.ReadFile(args[0]))
	ts.Check(err)
}

func cmdForgetful(ts *testscript.TestScript, neg bool, args []string) {
	r := of(ts)
	if len(args) != 0 || r.service == nil {
		ts.Fatalf("usage: forgetful, after service")
	}
	r.service.clock.forgetful.Store(true)
}

func cmdMute(ts *testscript.TestScript, neg bool, args []string) {
	nc, err := connect(of(ts).server, "")
	ts.Check(err)
	_, err = nc.QueueSubscribe("ratelimit.>", wire.QueueGroup, func(*nats.Msg) {})
	ts.Check(err)
	ts.Check(nc.Flush())
	ts.Defer(nc.Close)
}

func cmdContext(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) == 0 {
		ts.Fatalf("usage: context FILE [FIELD=VALUE...], after server")
	}
	doc := map[string]string{"url": ts.Getenv("URL")}
	for _, arg := range args[1:] {
		field, value, _ := strings.Cut(arg, "=")
		doc[field] = value
	}
	data, err := json.Marshal(doc)
	ts.Check(err)
	writeFile(ts, args[0], data)
}

func cmdNKey(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: nkey FILE")
	}
	user, err := nkeys.CreateUser()
	ts.Check(err)
	seed, err := user.Seed()
	ts.Check(err)
	writeFile(ts, args[0], seed)
}

func writeFile(ts *testscript.TestScript, file string, data []byte) {
	file = ts.MkAbs(file)
	ts.Check(os.MkdirAll(filepath.Dir(file), 0o700))
	ts.Check(os.WriteFile(file, data, 0o600))
}

func cmdNotNATS(ts *testscript.TestScript, neg bool, args []string) {
	for name, greeting := range map[string]string{"NOTNATS": "220 mail.example.com ESMTP\r\n", "SILENT": ""} {
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
				defer conn.Close()
				fmt.Fprint(conn, greeting)
			}
		}()
		ts.Defer(func() { l.Close(); <-done })
		ts.Setenv(name, l.Addr().String())
	}
}
