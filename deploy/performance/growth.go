package main

import (
	"fmt"
	"strings"
	"time"
)

// series is one thing that grows while the rest stays as it is. Its points take
// turns, so that each is compared with the first one in the same minute.
type series struct {
	name   string // what -run matches
	points []point
}

// point is one size of what grows. Each has processes of its own.
type point struct {
	name   string
	args   []string // of ratelimit bench
	layout layout
	fill   int // buckets that Redis has before; 0: those of the checks only
}

const (
	usualKeys   = 100_000
	usualLength = 25 // bytes of a key
)

// growth is all that is measured with -growth. Where nothing else is said the
// client is async at c=128, which costs least and so leaves most to the service.
var growth = []series{
	{"keys", []point{
		keysPoint("1k", 1_000),
		keysPoint("10k", 10_000),
		keysPoint("100k", 100_000),
		keysPoint("1M", 1_000_000),
		keysPoint("10M", 10_000_000),
	}},
	{"workers", []point{workersPoint(1), workersPoint(2), workersPoint(4)}},
	{"limits a key", []point{limitsPoint(1), limitsPoint(2), limitsPoint(4), limitsPoint(8)}},
	{"payload", []point{
		usual("key of 10 bytes", key(10, usualKeys)),
		usual("key of 50 bytes", key(50, usualKeys)),
		usual("key of 200 bytes", key(200, usualKeys)),
		usual("10 bytes, limit in the request", "--prefix", "free", "--limit", limit(0)),
	}},
	{"way to Redis and back", []point{
		farPoint("a proxy", 0, 128),
		farPoint("0.1 ms more", 100*time.Microsecond, 128),
		farPoint("0.5 ms more", 500*time.Microsecond, 128),
		farPoint("1 ms more", time.Millisecond, 128),
		farPoint("5 ms more", 5*time.Millisecond, 128),
		farPoint("5 ms more, c=1024", 5*time.Millisecond, 1024),
	}},
	{"client", []point{
		usual("request", "--client", "request"),
		usual("async"),
		usual("batching", "--client", "batch"),
		usual("batching, c=1024", "--client", "batch", "-c", "1024"),
	}},
}

// usual is a point with everything as usual but for some arguments.
func usual(name string, args ...string) point {
	return point{
		name:   name,
		args:   append([]string{"--client", "async", key(usualLength, usualKeys)}, args...),
		layout: layout{policies: wide(1), settings: []string{"RATELIMIT_REDIS_TIMEOUT=1s"}},
	}
}

func keysPoint(name string, n int) point {
	p := usual(name, "--keys", fmt.Sprint(n), key(usualLength, n))
	p.fill = n
	return p
}

func workersPoint(n int) point {
	p := usual(fmt.Sprint(n))
	p.layout.workers = n
	return p
}

func limitsPoint(n int) point {
	p := usual(fmt.Sprint(n))
	p.layout.policies = wide(n)
	return p
}

func farPoint(name string, delay time.Duration, concurrency int) point {
	p := usual(name, "-c", fmt.Sprint(concurrency))
	p.layout.far, p.layout.delay = true, delay
	return p
}

// key returns the argument that makes each of n keys so many bytes long.
func key(length, n int) string {
	digits := len(fmt.Sprint(n - 1))
	prefix := "grow"
	if pad := length - len(prefix) - len("..") - digits; pad > 0 {
		prefix += "." + strings.Repeat("k", pad)
	}
	return "--prefix=" + prefix
}

// limit returns a limit that always has tokens, and whose buckets stay in Redis
// for at least a minute.
func limit(i int) string { return fmt.Sprintf("1/m burst %d", 500_000-1000*i) }

// wide returns policies with so many limits for each key under grow.
func wide(limits int) string {
	text := "policies:\n  - match: grow.>\n    name: wide\n    limits:\n"
	for i := range limits {
		text += fmt.Sprintf("      limit%d: %s\n", i+1, limit(i))
	}
	return text
}
