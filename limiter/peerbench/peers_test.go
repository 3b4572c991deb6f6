package peerbench

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unicode"
)

// five is a limit that does not refill while a test looks at it.
var five = Limit{Count: 5, Period: time.Hour}

// TestPeers asks each peer about two keys in turn, eight times each: it keeps
// them apart, and lets each of them through five times, the first five.
func TestPeers(t *testing.T) {
	at := startRig(t, five)
	for _, p := range slices.Concat(Memory(), Redis(), Service()) {
		t.Run(p.Name, func(t *testing.T) {
			at.redis.MustDo("FLUSHALL")
			a, b := firstEight(t, p, at.Servers)
			if want := p.eight(); a != want || b != want {
				t.Errorf("of eight each, the keys were answered %s and %s, want %s", a, b, want)
			}
		})
	}
}

// eight is what firstEight returns of a peer that limits.
func (p Peer) eight() string {
	if p.Echo {
		return "yyyyyyyy"
	}
	return "yyyyynnn"
}

// key returns a key that no other peer is asked about: our workers remember for
// a moment what Redis denied, whatever becomes of Redis.
func (p Peer) key(i int) string {
	letters := func(r rune) rune {
		if unicode.IsLetter(r) {
			return r
		}
		return -1
	}
	return fmt.Sprintf("tenant.%s.user.%d", strings.Map(letters, p.Name), i)
}

// firstEight opens the peer with a limit of five and asks for two keys in
// turn. It returns what each was told.
func firstEight(tb testing.TB, p Peer, at Servers) (a, b string) {
	tb.Helper()
	allow, done, err := p.Open(at, five)
	if err != nil {
		tb.Fatal(err)
	}
	defer done()
	ask := func(key string) string {
		switch ok, err := allow(tb.Context(), key); {
		case err != nil:
			tb.Fatalf("%s, %s: %v", p.Name, key, err)
			return ""
		case ok:
			return "y"
		default:
			return "n"
		}
	}
	for range 8 {
		a += ask(p.key(1))
		b += ask(p.key(2))
	}
	return a, b
}

// TestPeersTogether has many callers share one key: five of them get through,
// not one more. A peer may fail calls under this; it says so and charges
// nothing, or README.md says that it does.
func TestPeersTogether(t *testing.T) {
	at := startRig(t, five)
	for _, p := range slices.Concat(Memory(), Redis(), Service()) {
		if p.Echo {
			continue
		}
		t.Run(p.Name, func(t *testing.T) {
			allow, done, err := p.Open(at.Servers, five)
			if err != nil {
				t.Fatal(err)
			}
			defer done()
			key := p.key(3)
			at.redis.MustDo("FLUSHALL")
			var granted, failed atomic.Int64
			var wg sync.WaitGroup
			begin := make(chan struct{})
			for range 32 {
				wg.Go(func() {
					<-begin
					for range 4 {
						switch ok, err := allow(t.Context(), key); {
						case err != nil:
							failed.Add(1)
						case ok:
							granted.Add(1)
						}
					}
				})
			}
			close(begin)
			wg.Wait()
			t.Logf("%d granted, %d failed", granted.Load(), failed.Load())
			if got := granted.Load(); got != 5 {
				t.Errorf("%d of 128 granted, want 5 (%d failed)", got, failed.Load())
			}
		})
	}
}
