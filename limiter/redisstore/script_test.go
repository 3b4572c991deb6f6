package redisstore

import (
	"slices"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/quotaworker/ratelimit/limiter"
	"github.com/quotaworker/ratelimit/limiter/redisstore/redistest"
	"github.com/quotaworker/ratelimit/lua"
)

// TestClockPastTheCalendar: the script knows the windows of a calendar around
// the time of the worker. Should the clock of Redis be past them all, it still
// counts.
func TestClockPastTheCalendar(t *testing.T) {
	server := redistest.Start(t)
	rdb := redis.NewClient(&redis.Options{Addr: server.Addr, MaxRetries: -1})
	defer rdb.Close()
	month := mustCompile(t, limiter.Limit{Algorithm: limiter.FixedWindow, Rate: 3, Calendar: limiter.Calendar{Period: "month"}})
	worker := time.UnixMicro(1_763_712_000_123_457)
	for i, want := range []int64{0, 1, 2, 3, 3} {
		plans := new(planner).plan([]limiter.Check{check(limiter.Take, 1, month, "k")})
		args := plans[0].command(worker, "eval", lua.Take)
		args[slices.Index(args, any(worker.UnixMicro()))] = worker.AddDate(1, 0, 0).UnixMicro() + int64(i)
		got, err := rdb.Do(t.Context(), args...).Int64Slice()
		if err != nil || got[1] != want {
			t.Errorf("check %d: %d, %v; want %d admitted before", i, got, err, want)
		}
	}
}
