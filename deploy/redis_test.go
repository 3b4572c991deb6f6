package deploy_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/quotaworker/ratelimit/limiter"
	"github.com/quotaworker/ratelimit/limiter/redisstore"
	"github.com/quotaworker/ratelimit/limiter/redisstore/redistest"
)

// startRedis starts a server with redis/redis.conf, on a port of its own.
func startRedis(t *testing.T) *redistest.Server {
	t.Helper()
	var args []string
	for _, line := range settings(t, "redis/redis.conf", false) {
		name, value, _ := strings.Cut(line, " ")
		if name != "port" && name != "bind" {
			args = append(args, "--"+name, strings.Trim(value, `"`))
		}
	}
	return redistest.Start(t, args...)
}

func open(t *testing.T, url string) redis.UniversalClient {
	t.Helper()
	rdb, err := redisstore.Open(redisstore.Config{URL: url, Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = rdb.Close() })
	return rdb
}

// decide makes the store use every command that it ever uses: it loads the
// script, runs it when it is loaded, and writes and deletes a bucket.
func decide(t *testing.T, rdb redis.UniversalClient) {
	t.Helper()
	l, err := limiter.New(redisstore.New(rdb), limiter.Limit{Rate: 5, Interval: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for want := int64(4); want >= 0; want-- {
		d, err := l.Allow(ctx, "user.42")
		if err != nil {
			t.Fatal(err)
		}
		if !d.Allowed || d.Remaining != want || d.Source != limiter.SourceRedis {
			t.Fatalf("got %+v, want %d left in redis", d, want)
		}
	}
	if d, err := l.Allow(ctx, "user.42"); err != nil || d.Allowed {
		t.Fatalf("the sixth: got %+v, %v; want a denial", d, err)
	}
	if d, err := l.Reset(ctx, "user.42"); err != nil || d.Remaining != 5 {
		t.Fatalf("reset: got %+v, %v; want 5 left", d, err)
	}
}

func TestRedisSettings(t *testing.T) {
	rdb := open(t, startRedis(t).URL())
	decide(t, rdb)
	for name, want := range map[string]string{
		"maxmemory":        "268435456",
		"maxmemory-policy": "volatile-ttl",
		"appendonly":       "no",
		"save":             "",
	} {
		if got := rdb.ConfigGet(t.Context(), name).Val()[name]; got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}

// TestRedisUsers holds the rights offered in redis.conf to both sides: they
// are enough for a worker, and for nothing else.
func TestRedisUsers(t *testing.T) {
	server := startRedis(t)
	for _, line := range settings(t, "redis/redis.conf", true) {
		user, ok := strings.CutPrefix(line, "user ")
		if !ok {
			t.Fatalf("not a user: %s", line)
		}
		server.MustDo("ACL SETUSER " + strings.Replace(user, "#SHA256", ">hush", 1))
	}

	if got := server.MustDo("PING"); got != "+PONG" {
		t.Errorf("PING of the health check: got %s", got)
	}
	if got, err := server.Do("GET rl:{a}:default"); err != nil || !strings.HasPrefix(got, "-NOPERM") {
		t.Errorf("GET by anybody: got %s, %v; want NOPERM", got, err)
	}

	rdb := open(t, strings.Replace(server.URL(), "redis://", "redis://ratelimit:hush@", 1))
	decide(t, rdb)
	for _, command := range [][]any{
		{"FLUSHALL"},
		{"KEYS", "*"},
		{"CONFIG", "GET", "*"},
		{"SET", "other", "1"},
		{"EVAL", "return redis.call('SET', KEYS[1], '1')", "1", "other"},
		{"EVAL", "return redis.call('SCAN', '0')", "0"},
	} {
		err := rdb.Do(t.Context(), command...).Err()
		if refusal := redis.Error(nil); !errors.As(err, &refusal) {
			t.Errorf("%v by a worker: got %v, want a refusal", command, err)
		}
	}
}
