package redisstore_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/quotaworker/ratelimit/limiter"
	"github.com/quotaworker/ratelimit/limiter/limitertest"
)

// TestCorruptValues puts what nobody should have written where a bucket is. A
// check never fails for it, and at worst the bucket counts as full.
func TestCorruptValues(t *testing.T) {
	server, store := start(t)
	rdb := open(t, server.URL())
	ctx := t.Context()
	nines := strings.Repeat("9", 30)
	far := strconv.FormatInt(time.Now().Add(24*time.Hour).UnixMicro(), 10)
	values := map[string]any{}
	for _, v := range []string{
		"", " ", "abc", "0x10", "1e400", "1e10", "nan", "inf", "-5", "+5", "5.5", nines, "0", "00000000000000000000000",
		":", ":5", "5:", "5:5:5", nines + ":" + nines, nines + "m", nines + "s", nines + ":" + nines + "s", "s", "5x", "5:5x", "5:-5", "5:nan",
		far, far + ":" + nines, far + ":1", far[:len(far)-3] + "m", far[:len(far)-6] + "s", far + "m", far + "s", " " + far, far + "\n", far + "\x00",
		strings.Repeat("1", 1<<20), strings.Repeat("1", 1<<20) + "x", strings.Repeat("1", 1<<19) + ":" + strings.Repeat("1", 1<<19) + "x", strings.Repeat("\x00", 1<<20),
	} {
		values[fmt.Sprintf("%.40q of %d", v, len(v))] = v
	}
	limits := []limiter.Limit{
		{Rate: 5, Interval: time.Hour},
		{Rate: 7, Interval: time.Second, Burst: 3},
		{Rate: 1, Interval: 366 * 24 * time.Hour, Burst: 200},                 // in milliseconds
		{Rate: 1_000_003, Interval: 24 * time.Hour, Burst: 1_000_000_000},     // in seconds
		{Rate: 1_000_000_000, Interval: time.Second, Burst: limiter.MaxCount}, // a thousand per microsecond
	}
	n := 0
	for _, limit := range limits {
		rule := limitertest.MustCompile(t, limit)
		burst := rule.Limit().Burst
		for name, value := range values {
			n++
			key := fmt.Sprint("k", n)
			if err := rdb.Set(ctx, "rl:{"+key+"}:default", value, 0).Err(); err != nil {
				t.Fatal(err)
			}
			checkCorrupt(t, store, fmt.Sprintf("%s, %s", limit, name), key, rule, burst)
		}
		for name, command := range map[string][]any{
			"a list":   {"RPUSH", "", "1"},
			"a hash":   {"HSET", "", "1", "1"},
			"a set":    {"SADD", "", "1"},
			"a stream": {"XADD", "", "*", "a", "b"},
		} {
			n++
			key := fmt.Sprint("k", n)
			command[1] = "rl:{" + key + "}:default"
			if err := rdb.Do(ctx, command...).Err(); err != nil {
				t.Fatal(err)
			}
			checkCorrupt(t, store, fmt.Sprintf("%s, %s", limit, name), key, rule, burst)
		}
	}
}

func checkCorrupt(t *testing.T, store limiter.Store, name, key string, rule *limiter.Rule, burst int64) {
	t.Helper()
	from := time.Now()
	seen, err := take(store, one(key, rule, 0))
	if err != nil || !seen.Allowed || seen.Levels[0].Remaining < 0 || seen.Levels[0].Remaining > burst {
		t.Errorf("%s: look: %+v, %v", name, seen, err)
		return
	}
	some := max(1, burst/2)
	res, err := take(store, one(key, rule, some))
	if err != nil || res.Allowed != (seen.Levels[0].Remaining >= some) && time.Since(from) < rule.Limit().Interval/time.Duration(rule.Limit().Rate) {
		t.Errorf("%s: %d left, then a take of %d: %+v, %v", name, seen.Levels[0].Remaining, some, res, err)
	}
	if res, err = take(store, one(key, rule, burst)); err != nil || res.Allowed && burst > 1 && rule.Limit().Interval > time.Minute {
		t.Errorf("%s: more than a burst: %+v, %v", name, res, err)
	}
	if took := time.Since(from); took > 500*time.Millisecond {
		t.Errorf("%s: three checks took %s", name, took)
	}
}
