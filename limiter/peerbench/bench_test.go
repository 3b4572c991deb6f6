package peerbench

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// hundred is the limit while measuring. Keys that come up as often as others
// stay under it, the front ones of the Zipf distribution do not.
var hundred = Limit{Count: 100, Period: time.Minute}

const keys = 100_000

var (
	callers = []int{1, 16, 128}
	names   = keyNames()
	draws   = []draw{{"uniform", uniform()}, {"Zipf 1.1", zipf()}}
)

// draw is an order in which keys are asked for. The first name is the one that
// comes up most often, if any does.
type draw struct {
	name  string
	order []uint32 // its length is a power of two
}

func keyNames() []string {
	all := make([]string, keys)
	for i := range all {
		all[i] = fmt.Sprintf("tenant.acme.user.%08d", i)
	}
	return all
}

func uniform() []uint32 {
	r, order := rand.New(rand.NewPCG(1, 2)), make([]uint32, 1<<18)
	for i := range order {
		order[i] = r.Uint32N(keys)
	}
	return order
}

func zipf() []uint32 {
	z, order := rand.NewZipf(rand.New(rand.NewPCG(1, 2)), 1.1, 1, keys-1), make([]uint32, 1<<18)
	for i := range order {
		order[i] = uint32(z.Uint64())
	}
	return order
}

// BenchmarkPeers measures all peers in rounds, so that what else the machine
// does hits all of them, and prints two tables in Markdown. Run it with
// `make bench-peers`; once is enough, however often -benchtime asks for more.
func BenchmarkPeers(b *testing.B) {
	direct, remote := Memory(), slices.Concat(Redis(), Service())
	admitted := admit(b, slices.Concat(direct, remote))
	at := startRig(b, hundred)
	memory := compare(b, direct, at, 9, 100*time.Millisecond, true)
	redis := compare(b, remote, at, 5, 300*time.Millisecond, false)
	memory.admitted, redis.admitted = admitted[:len(direct)], admitted[len(direct):]
	fmt.Printf("\n\nIn memory\n\n")
	memory.print(os.Stdout)
	fmt.Printf("\nThrough Redis\n\n")
	redis.print(os.Stdout)
	fmt.Println()
	b.ReportMetric(0, "ns/op") // nothing is one operation here
}

// admit returns what each peer let through of eight checks of each of two keys,
// under a limit of five. It fails if that is not what a limiter does.
func admit(b *testing.B, peers []Peer) (admitted []string) {
	b.Helper()
	at := startRig(b, five)
	for _, p := range peers {
		first, second := firstEight(b, p, at.Servers)
		if want := p.eight(); first != want || second != want {
			b.Fatalf("%s answers %s and %s, want %s", p.Name, first, second, want)
		}
		admitted = append(admitted, fmt.Sprintf("%d, %d", strings.Count(first, "y"), strings.Count(second, "y")))
		at.redis.MustDo("FLUSHALL")
	}
	return admitted
}

// compare measures each peer with each load, the peers next to each other and
// the rounds one after the other. Warm means that each key is asked for once
// before.
func compare(b *testing.B, peers []Peer, at *rig, rounds int, length time.Duration, warm bool) *table {
	b.Helper()
	t := newTable(peers)
	for range rounds {
		for column, l := range columns() {
			for row, p := range peers {
				at.redis.MustDo("FLUSHALL")
				t.add(row, column, measure(b, p, at.Servers, l, length, warm))
			}
		}
	}
	return t
}

// load is how many callers ask, and for what.
type load struct {
	callers int
	draw    draw
}

func columns() (all []load) {
	for _, d := range draws {
		for _, c := range callers {
			all = append(all, load{c, d})
		}
	}
	return all
}

// measure opens a peer, lets callers ask for as long as told, each with a
// check at a time, and counts the answers. It fails if the key that came up most
// often got more than its limit, or if the peer could not decide every other
// check.
func measure(b *testing.B, p Peer, at Servers, l load, length time.Duration, warm bool) figure {
	b.Helper()
	allow, done, err := p.Open(at, hundred)
	if err != nil {
		b.Fatal(err)
	}
	defer done()
	opened := time.Now()
	if warm {
		for _, name := range names {
			if _, err := allow(b.Context(), name); err != nil {
				b.Fatal(err)
			}
		}
		runtime.GC()
	}
	type outcome struct {
		asked, failed, first int
		err                  error
	}
	outcomes := make([]outcome, l.callers)
	var stop atomic.Bool
	var wg sync.WaitGroup
	from := time.Now()
	timer := time.AfterFunc(length, func() { stop.Store(true) })
	defer timer.Stop()
	for i := range outcomes {
		wg.Go(func() {
			ctx, order, o := context.Background(), l.draw.order, outcome{}
			next := i * len(order) / l.callers // each caller is elsewhere in the same order
			for !stop.Load() {
				key := order[next&(len(order)-1)]
				next++
				ok, err := allow(ctx, names[key])
				o.asked++
				if err != nil {
					o.failed, o.err = o.failed+1, err
				} else if ok && key == 0 {
					o.first++
				}
			}
			outcomes[i] = o
		})
	}
	wg.Wait()
	passed := time.Since(from)
	var all outcome
	for _, o := range outcomes {
		all.asked, all.failed, all.first = all.asked+o.asked, all.failed+o.failed, all.first+o.first
		if o.err != nil {
			all.err = o.err
		}
	}
	most := hundred.Count + 1 + int(time.Since(opened)*time.Duration(hundred.Count)/hundred.Period)
	if all.first > most && !p.Echo {
		b.Fatalf("%s, %d callers, %s: let the first key through %d times, at most %d are right", p.Name, l.callers, l.draw.name, all.first, most)
	}
	if all.failed*2 > all.asked {
		b.Fatalf("%s, %d callers, %s: %d of %d failed, such as with: %v", p.Name, l.callers, l.draw.name, all.failed, all.asked, all.err)
	}
	return figure{float64(all.asked-all.failed) / passed.Seconds(), float64(all.failed) / float64(all.asked)}
}
