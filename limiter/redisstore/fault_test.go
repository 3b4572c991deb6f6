package redisstore_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"regexp"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quotaworker/ratelimit/limiter"
	"github.com/quotaworker/ratelimit/limiter/limitertest"
	"github.com/quotaworker/ratelimit/limiter/redisstore"
	"github.com/quotaworker/ratelimit/limiter/redisstore/redistest"
)

// TestScriptFlush empties the script cache all the time while checks run: none
// fails, and each is charged once.
func TestScriptFlush(t *testing.T) {
	server := redistest.Start(t)
	store := redisstore.New(open(t, server.URL()))
	rule := limitertest.MustCompile(t, limiter.Limit{Rate: 1_000_000, Interval: limiter.MaxInterval})
	ctx, stop := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer stop()
	var asked, flushed atomic.Int64
	var wg sync.WaitGroup
	wg.Go(func() {
		for ; ctx.Err() == nil; flushed.Add(1) {
			server.MustDo("SCRIPT FLUSH")
		}
	})
	for range 4 {
		wg.Go(func() {
			for ctx.Err() == nil {
				if res, err := take(store, one("k", rule, 1)); err != nil || !res.Allowed {
					t.Errorf("during SCRIPT FLUSH: %+v, %v", res, err)
				}
				asked.Add(1)
			}
		})
	}
	wg.Wait()
	if got, want := mustTake(t, store, "k", rule, 0).Remaining, 1_000_000-asked.Load(); got != want {
		t.Errorf("%d tokens left, want %d: a check was not charged once", got, want)
	}
	t.Logf("%d checks, %d flushes", asked.Load(), flushed.Load())
	if flushed.Load() < 10 {
		t.Errorf("only %d flushes", flushed.Load())
	}
}

// TestReplyLost: the script has run and nobody hears of it. The check fails,
// and has been charged once.
func TestReplyLost(t *testing.T) {
	server := redistest.Start(t)
	proxy := redistest.StartProxy(t, server.Addr)
	testReplyLost(t, "redis://"+proxy.Addr, proxy)
}

func testReplyLost(t *testing.T, url string, proxies ...*redistest.Proxy) {
	store := redisstore.New(open(t, url))
	rule := hundred(t)
	const keys = 20
	for i := range keys { // the script is known everywhere, connections are open
		mustTake(t, store, fmt.Sprint("lost.", i), rule, 1)
	}
	lost := 0
	for _, p := range proxies {
		lost -= p.Lost()
		p.Cut("evalsha")
	}
	var checks []limiter.Check
	for i := range keys {
		checks = append(checks, one(fmt.Sprint("lost.", i), rule, 1)...)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second) // time for any retry
	defer cancel()
	results := make([]limiter.Result, keys)
	err := store.Take(ctx, checks, results)
	if got := redisstore.Reason(err); got != "closed" {
		t.Errorf("reason %q, want closed; error %v", got, err)
	}
	for _, p := range proxies {
		lost += p.Lost()
		p.Heal()
	}
	if lost != len(proxies) {
		t.Errorf("%d replies were lost, want one per server, %d", lost, len(proxies))
	}
	for i := range keys {
		if results[i].Source != limiter.SourceNone {
			t.Errorf("check %d: %+v, want not decided", i, results[i])
		}
		if got := mustTake(t, store, fmt.Sprint("lost.", i), rule, 0).Remaining; got != 98 {
			t.Errorf("key %d has %d of 100 left, want 98: one for each check", i, got)
		}
	}
}

// TestNetworkFaults breaks the connection in several ways. Take returns by its
// deadline, never charges twice, and works again when the fault is over.
func TestNetworkFaults(t *testing.T) {
	server := redistest.Start(t)
	proxy := redistest.StartProxy(t, server.Addr)
	store := redisstore.New(open(t, "redis://"+proxy.Addr))
	rule := hundred(t)
	for _, tt := range []struct {
		name   string
		fault  func()
		reason []string
		within time.Duration
	}{
		{"slow", func() { proxy.Delay(300 * time.Millisecond) }, []string{"timeout"}, 50 * time.Millisecond},
		{"black hole", proxy.BlackHole, []string{"timeout"}, 50 * time.Millisecond},
		{"reset", proxy.Reset, []string{"closed", "refused"}, 50 * time.Millisecond}, // a connection, or a new one
	} {
		for i := range 4 {
			mustTake(t, store, fmt.Sprint(tt.name, i), rule, 1)
		}
		tt.fault()
		for i := range 4 {
			ctx, cancel := context.WithTimeout(t.Context(), tt.within)
			from := time.Now()
			err := store.Take(ctx, one(fmt.Sprint(tt.name, i), rule, 1), make([]limiter.Result, 1))
			took := time.Since(from)
			cancel()
			if got := redisstore.Reason(err); !slices.Contains(tt.reason, got) || took > tt.within+late {
				t.Errorf("%s: reason %q after %s, want %q within %s; error %v", tt.name, got, took, tt.reason, tt.within, err)
			}
		}
		proxy.Heal()
		eventually(t, func() error { _, err := take(store, one("healed", rule, 0)); return err })
		for i := range 4 {
			if got := mustTake(t, store, fmt.Sprint(tt.name, i), rule, 0).Remaining; got < 98 || got > 99 {
				t.Errorf("%s: key %d has %d of 100 left, want 98 or 99", tt.name, i, got)
			}
		}
	}
}

// TestServerFaults puts a server into each state in which it refuses to
// decide. Reason names it, at once, and the store works again when it is over,
// with the same client.
func TestServerFaults(t *testing.T) {
	for _, tt := range []struct {
		reason string
		begin  []string
		end    []string
	}{
		{"readonly", []string{"REPLICAOF 127.0.0.1 1"}, []string{"REPLICAOF NO ONE"}},
		{"oom", []string{"CONFIG SET maxmemory 1"}, []string{"CONFIG SET maxmemory 0"}},
		{"replicas", []string{"CONFIG SET min-replicas-to-write 1"}, []string{"CONFIG SET min-replicas-to-write 0"}},
		{"auth", []string{"ACL SETUSER default -evalsha -eval"}, []string{"ACL SETUSER default +@all"}},
		{"refused", nil, nil}, // killed
	} {
		t.Run(tt.reason, func(t *testing.T) {
			server := redistest.Start(t)
			store := redisstore.New(open(t, server.URL()))
			rule := hundred(t)
			mustTake(t, store, "k", rule, 1)
			for _, c := range tt.begin {
				server.MustDo(c)
			}
			if tt.begin == nil {
				server.Kill()
			}
			for n := range 5 {
				from := time.Now()
				res, err := take(store, one("k", rule, 1))
				if tt.begin == nil && n == 0 {
					continue // of a connection that was open
				}
				if got := redisstore.Reason(err); got != tt.reason || res.Source != limiter.SourceNone {
					t.Errorf("reason %q, want %q; %+v, error %v", got, tt.reason, res, err)
				}
				if took := time.Since(from); took > late {
					t.Errorf("it took %s", took)
				}
			}
			if tt.end == nil {
				server.Restart()
			}
			for _, c := range tt.end {
				server.MustDo(c)
			}
			took := eventually(t, func() error { _, err := take(store, one("k", rule, 0)); return err })
			t.Logf("back after %s", took)
			if left := mustTake(t, store, "k", rule, 0).Remaining; tt.end != nil && left != 99 {
				t.Errorf("%d left, want 99: a refused check charged", left)
			}
		})
	}
}

// TestFailover: the server that connections lead to has been demoted, and new
// ones lead to its successor, which has never seen the script. No check fails.
func TestFailover(t *testing.T) {
	old, successor := redistest.Start(t), redistest.Start(t)
	proxy := redistest.StartProxy(t, old.Addr)
	rdb, err := redisstore.Open(redisstore.Config{Addr: proxy.Addr, PoolSize: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer rdb.Close()
	store := redisstore.New(rdb)
	rule := hundred(t)
	mustTake(t, store, "k", rule, 1)
	proxy.Redirect(successor.Addr)
	mustTake(t, store, "k", rule, 1)
	old.MustDo("REPLICAOF 127.0.0.1 1")
	if got := mustTake(t, store, "k", rule, 1).Remaining; got != 99 {
		t.Errorf("%d left, want 99 on the successor", got)
	}
	if got := mustTake(t, store, "k", rule, 1).Remaining; got != 98 {
		t.Errorf("%d left, want 98 on the successor", got)
	}
}

func TestWrongPassword(t *testing.T) {
	server := redistest.Start(t, "--requirepass", "right")
	for _, tt := range []struct{ name, url, want string }{
		{"none", "redis://" + server.Addr, "auth"},
		{"wrong", "redis://:wrong@" + server.Addr, "auth"},
		{"wrong user", "redis://nobody:right@" + server.Addr, "auth"},
	} {
		_, err := take(redisstore.New(open(t, tt.url)), one("k", hundred(t), 1))
		if got := redisstore.Reason(err); got != tt.want {
			t.Errorf("%s: reason %q, want %q; error %v", tt.name, got, tt.want, err)
		}
	}
	mustTake(t, redisstore.New(open(t, "redis://:right@"+server.Addr)), "k", hundred(t), 1)
}

// TestBusy: a script of somebody else holds the server up.
func TestBusy(t *testing.T) {
	server := redistest.Start(t)
	store := redisstore.New(open(t, server.URL()))
	server.MustDo("CONFIG SET busy-reply-threshold 50")
	rule := hundred(t)
	mustTake(t, store, "k", rule, 1)
	hog := make(chan error)
	go func() { _, err := server.Do(`EVAL "while true do end" 0`); hog <- err }()
	eventually(t, func() error {
		if _, err := take(store, one("k", rule, 1)); redisstore.Reason(err) != "busy" {
			return fmt.Errorf("reason %q, want busy; error %v", redisstore.Reason(err), err)
		}
		return nil
	})
	eventually(t, func() error { _, err := server.Do("SCRIPT KILL"); return err })
	<-hog
	eventually(t, func() error { _, err := take(store, one("k", rule, 0)); return err })
}

// TestLoading: a server that reads its data back does not decide.
func TestLoading(t *testing.T) {
	server := redistest.Start(t, "--enable-debug-command", "yes", "--loading-process-events-interval-bytes", "1024")
	store := redisstore.New(open(t, server.URL()))
	rule := hundred(t)
	mustTake(t, store, "k", rule, 1)
	server.MustDo("DEBUG POPULATE 2000 key 100")
	server.MustDo("CONFIG SET key-load-delay 500")
	loaded := make(chan error)
	go func() { _, err := server.Do("DEBUG RELOAD"); loaded <- err }()
	eventually(t, func() error {
		if _, err := take(store, one("k", rule, 0)); redisstore.Reason(err) != "loading" {
			return fmt.Errorf("reason %q, want loading; error %v", redisstore.Reason(err), err)
		}
		return nil
	})
	server.MustDo("CONFIG SET key-load-delay 0")
	<-loaded
	eventually(t, func() error { _, err := take(store, one("k", rule, 0)); return err })
}

// TestMaxClients: the server takes no more connections.
func TestMaxClients(t *testing.T) {
	server := redistest.Start(t)
	conn, err := net.Dial("tcp", server.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	say := func(command string) {
		if _, err := fmt.Fprintf(conn, "%s\r\n", command); err != nil {
			t.Fatal(err)
		}
		if n, err := conn.Read(make([]byte, 100)); err != nil || n == 0 {
			t.Fatalf("%s: %v", command, err)
		}
	}
	say("CONFIG SET maxclients 1")
	store := redisstore.New(open(t, server.URL()))
	for range 5 {
		from := time.Now()
		_, err := take(store, one("k", hundred(t), 1))
		// Redis says so and closes; whether we hear it is a matter of luck.
		if got := redisstore.Reason(err); got != "refused" && got != "closed" {
			t.Errorf("reason %q, want refused or closed; error %v", got, err)
		}
		if took := time.Since(from); took > late {
			t.Errorf("it took %s", took)
		}
	}
	say("CONFIG SET maxclients 1000")
	eventually(t, func() error { _, err := take(store, one("k", hundred(t), 1)); return err })
}

// late is how much later than promised an answer may be, on a machine that is
// busy with others. What does not keep its promise takes five seconds or more.
const late = time.Second

// TestPaused: a server that is stopped accepts connections and answers
// nothing. Every Take returns by its deadline, and the scripts that run when
// the server goes on were sent once.
func TestPaused(t *testing.T) {
	server := redistest.Start(t)
	store := redisstore.New(open(t, server.URL()))
	rule := limitertest.MustCompile(t, limiter.Limit{Rate: 1000, Interval: limiter.MaxInterval})
	mustTake(t, store, "k", rule, 1)
	server.Pause()
	const callers = 100
	var slowest atomic.Int64
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			from := time.Now()
			err := store.Take(ctx, one("k", rule, 1), make([]limiter.Result, 1))
			if reason := redisstore.Reason(err); reason != "timeout" && reason != "pool" {
				t.Errorf("reason %q, want timeout or pool; error %v", reason, err)
			}
			for took := int64(time.Since(from)); ; {
				if old := slowest.Load(); took <= old || slowest.CompareAndSwap(old, took) {
					break
				}
			}
		})
	}
	wg.Wait()
	server.Resume()
	if d := time.Duration(slowest.Load()); d > 50*time.Millisecond+late {
		t.Errorf("the slowest Take took %s, want about 50 ms", d)
	}
	t.Logf("the slowest of %d took %s", callers, time.Duration(slowest.Load()))
	eventually(t, func() error { _, err := take(store, one("k", rule, 0)); return err })
	if got := mustTake(t, store, "k", rule, 0).Remaining; got < 999-callers || got > 999 {
		t.Errorf("%d of 1000 left, want at least %d: somebody was charged twice", got, 999-callers)
	}
}

// TestFlushAll: a server that loses its data lets through at most one burst
// more each time.
func TestFlushAll(t *testing.T) {
	server := redistest.Start(t)
	store := redisstore.New(open(t, server.URL()))
	limit := limiter.Limit{Rate: 1000, Interval: time.Second, Burst: 50}
	rule := limitertest.MustCompile(t, limit)
	from := time.Now()
	ctx, stop := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer stop()
	var granted atomic.Int64
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for ctx.Err() == nil {
				res, err := take(store, one("k", rule, 1))
				if err != nil {
					t.Error(err)
				}
				if res.Allowed {
					granted.Add(1)
				}
			}
		})
	}
	flushes := int64(0)
	for ; ctx.Err() == nil; flushes++ {
		server.MustDo("FLUSHALL")
		<-time.After(50 * time.Millisecond)
	}
	wg.Wait()
	flow := int64(time.Since(from).Seconds() * 1000)
	if most := 50 + flow + flushes*50; granted.Load() > most || granted.Load() < flow/2 {
		t.Errorf("%d granted with %d flushes, want at most %d", granted.Load(), flushes, most)
	}
	t.Logf("%d granted, %d flushes, %d flowed in", granted.Load(), flushes, flow)
}

// TestDeployedUserIsEnough: the user that deploy/redis/redis.conf recommends
// may do all that the store does, and nothing else.
func TestDeployedUserIsEnough(t *testing.T) {
	conf, err := os.ReadFile("../../deploy/redis/redis.conf")
	if err != nil {
		t.Fatal(err)
	}
	user := regexp.MustCompile(`(?m)^#: user ratelimit on #SHA256 (.*)$`).FindSubmatch(conf)
	others := regexp.MustCompile(`(?m)^#: user default (.*)$`).FindSubmatch(conf)
	if user == nil || others == nil {
		t.Fatal("deploy/redis/redis.conf does not say which users there should be")
	}
	server := redistest.Start(t)
	server.MustDo("ACL SETUSER admin on >secret allkeys allchannels +@all")
	server.MustDo("ACL SETUSER ratelimit on >secret " + string(user[1]))
	server.MustDo("ACL SETUSER default reset " + string(others[1]))
	rdb := open(t, "redis://ratelimit:secret@"+server.Addr+"/0")
	store := redisstore.New(rdb)
	limitertest.Run(t, func(t *testing.T) limitertest.TimedStore {
		admin := open(t, "redis://admin:secret@"+server.Addr)
		if err := admin.FlushAll(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		if err := admin.ScriptFlush(t.Context()).Err(); err != nil { // NOSCRIPT must heal
			t.Fatal(err)
		}
		return store
	})
	for _, args := range [][]any{{"FLUSHALL"}, {"KEYS", "*"}, {"GET", "rl:{k}:default"}, {"SET", "other", "1"}, {"CONFIG", "GET", "*"}} {
		if err := rdb.Do(t.Context(), args...).Err(); redisstore.Reason(err) != "auth" {
			t.Errorf("%v: %v, want that it is refused", args, err)
		}
	}
}
