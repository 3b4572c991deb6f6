package redisstore

import (
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/quotaworker/ratelimit/limiter"
)

// layout says what buckets are called in Redis, and by that which of them are
// in one slot of Redis Cluster.
type layout struct {
	slots  bool // buckets of different slots need calls of their own
	tokens int  // of a key that choose its slot; 0 or less: all
}

func newLayout(rdb redis.UniversalClient, tokens int) layout {
	_, cluster := rdb.(*redis.ClusterClient)
	return layout{cluster, tokens}
}

// name returns the name of a bucket: rl:{key}:limit, or with tokens, those of
// the key in the braces and the rest behind them.
//
// It is injective, whatever the key. The name of a limit holds no colon, so it
// is what follows the last one. Where a name has a rest, that begins with a
// dot, and before the right brace there are all the tokens that go into the
// tag; a key that could be read differently had more of them. Canonical keys,
// which hold no braces, differ under any two numbers of tokens as well: a name
// without its braces says the key.
func (l layout) name(d *limiter.Demand) string {
	return string(l.appendName(nil, d.Key, d.Rule))
}

// appendName appends the name of a bucket, which has as many bytes in every
// layout.
func (l layout) appendName(dst []byte, key string, rule *limiter.Rule) []byte {
	head := l.head(key)
	dst = append(append(append(dst, "rl:{"...), head...), '}')
	dst = append(append(dst, key[len(head):]...), ':')
	return append(dst, rule.Name()...)
}

// head returns the part of a key that chooses its slot. A key of fewer tokens
// does it as a whole, so that tenant.acme is where tenant.acme.user.42 is.
func (l layout) head(key string) string {
	if l.tokens <= 0 {
		return key
	}
	end := 0
	for n := 1; ; n++ {
		i := strings.IndexByte(key[end:], '.')
		if i < 0 {
			return key
		}
		if end += i; n == l.tokens {
			return key[:end]
		}
		end++
	}
}

// slot returns the slot of a bucket, or 0 if slots do not matter.
func (l layout) slot(d *limiter.Demand) uint16 {
	if !l.slots {
		return 0
	}
	if tag := l.head(d.Key); tag != "" && strings.IndexByte(tag, '}') < 0 {
		return slotOfTag(tag) // of nearly all; the rest is spared an allocation
	}
	return slotOf(l.name(d))
}

// apart reports whether the buckets of a check are in different slots.
func (l layout) apart(c *limiter.Check) bool {
	if !l.slots {
		return false
	}
	for j := 1; j < len(c.Demands); j++ {
		if l.slot(&c.Demands[j]) != l.slot(&c.Demands[0]) {
			return true
		}
	}
	return false
}

// anyApart reports whether a batch has a check whose buckets are apart.
func (l layout) anyApart(checks []limiter.Check) bool {
	if !l.slots {
		return false
	}
	for i := range checks {
		if l.apart(&checks[i]) {
			return true
		}
	}
	return false
}
