package redisstore

import (
	"fmt"
	"strings"
	"testing"

	"github.com/quotaworker/ratelimit/limiter"
	"github.com/quotaworker/ratelimit/limiter/redisstore/redistest"
)

func TestSlotOf(t *testing.T) {
	server := redistest.Start(t, "--cluster-enabled", "yes")
	rule, err := limiter.Limit{Rate: 1, Interval: 1e9}.Compile()
	if err != nil {
		t.Fatal(err)
	}
	keys := []string{"", "a", "123456789", "user.42", "a:b", "{", "}", "}a", "a}b", "{a}", "a{b}c", "tenant.%7Bacme%7D", strings.Repeat("x", 256), "\u00e9"}
	for i := range 100 {
		keys = append(keys, fmt.Sprint("user.", i))
	}
	for _, key := range keys {
		name := bucketName(&limiter.Demand{Key: key, Rule: rule})
		if got, want := fmt.Sprintf(":%d", slotOf(name)), server.MustDo("CLUSTER KEYSLOT "+name); got != want {
			t.Errorf("key %q is in slot %s, Redis says %s", key, got, want)
		}
	}
}

func TestLimitsOfAKeyShareASlot(t *testing.T) {
	for _, key := range []string{"a", "user.42", "a:b:c"} {
		slot := slotOf("rl:{" + key + "}:default")
		for _, name := range []string{"a", "minute", "day-2"} {
			if got := slotOf("rl:{" + key + "}:" + name); got != slot {
				t.Errorf("key %q: limit %q is in slot %d, default in %d", key, name, got, slot)
			}
		}
	}
}
