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
	keys := []string{"", "a", "123456789", "user.42", "a:b", "{", "}", "}a", "a}b", "{a}", "a{b}c", "tenant.%7Bacme%7D", "a.b.c", ".a", "a.}b.c", strings.Repeat("x", 256), "\u00e9"}
	for i := range 100 {
		keys = append(keys, fmt.Sprint("user.", i))
	}
	for _, key := range keys {
		d := limiter.Demand{Key: key, Rule: rule}
		name := layout{}.name(&d)
		for tokens := range 3 {
			l := layout{slots: true, tokens: tokens}
			if got, want := l.slot(&d), slotOf(l.name(&d)); got != want {
				t.Errorf("key %q with %d tokens is in slot %d, its name in %d", key, tokens, got, want)
			}
		}
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

// TestHashTagTokens pins the names, which the fleet shares, and which of them
// are in one slot.
func TestHashTagTokens(t *testing.T) {
	rule := mustCompile(t, limiter.Limit{Rate: 1, Interval: 1e9})
	day := mustCompile(t, limiter.Limit{Name: "day", Rate: 1, Interval: 1e9})
	for _, tt := range []struct {
		tokens int
		key    string
		want   string
	}{
		{0, "tenant.acme.user.42", "rl:{tenant.acme.user.42}:default"},
		{-1, "tenant.acme", "rl:{tenant.acme}:default"},
		{1, "tenant.acme.user.42", "rl:{tenant}.acme.user.42:default"},
		{2, "tenant.acme.user.42", "rl:{tenant.acme}.user.42:default"},
		{2, "tenant.acme", "rl:{tenant.acme}:default"},
		{2, "tenant", "rl:{tenant}:default"},
		{2, "", "rl:{}:default"},
		{4, "tenant.acme.user.42", "rl:{tenant.acme.user.42}:default"},
		{16, "tenant.acme.user.42", "rl:{tenant.acme.user.42}:default"},
	} {
		l := layout{slots: true, tokens: tt.tokens}
		if got := l.name(&limiter.Demand{Key: tt.key, Rule: rule}); got != tt.want {
			t.Errorf("%q with %d tokens: %q, want %q", tt.key, tt.tokens, got, tt.want)
		}
	}
	for _, tt := range []struct {
		tokens int
		keys   []string
		want   bool
	}{
		{0, []string{"tenant.acme.user.42", "tenant.acme"}, true},
		{0, []string{"tenant.acme", "tenant.acme"}, false},
		{1, []string{"tenant.acme", "user.42"}, true},
		{2, []string{"tenant.acme.user.42", "tenant.acme.ip.1", "tenant.acme"}, false},
		{2, []string{"tenant.acme.user.42", "tenant.acme.ip.1", "tenant"}, true},
		{2, []string{"tenant.acme.user.42", "tenant.zeta.user.42"}, true},
	} {
		c := check(limiter.Take, 1, rule, tt.keys...)
		c.Demands = append(c.Demands, limiter.Demand{Key: tt.keys[0], Rule: day, Cost: 1})
		if got := (layout{slots: true, tokens: tt.tokens}).apart(&c); got != tt.want {
			t.Errorf("%q with %d tokens: apart %t, want %t", tt.keys, tt.tokens, got, tt.want)
		}
		if (layout{tokens: tt.tokens}).apart(&c) {
			t.Errorf("%q: apart without a cluster", tt.keys)
		}
	}
}
