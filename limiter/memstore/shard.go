package memstore

import (
	"hash/maphash"
	"math"
	"sync"

	"github.com/quotaworker/ratelimit/limiter"
)

// shard holds the buckets of some keys. But for lock, its methods need mu.
type shard struct {
	mu      sync.Mutex // guards what follows
	index   index
	slabs   [classes]slab
	n       int // buckets
	evicted uint64
	changes uint64 // grows when a record is added, moved or dropped
	hand    hand
	updates uint8 // of marks, for the sweep
	touched byte  // so that reading has a purpose, see touch

	room int          // how many buckets fit; constant
	seed maphash.Seed // constant
}

// hand is where the sweep goes on: a segment of the index and a slot in it.
// The order of an index is as good as random, so a few buckets under the hand
// are a sample of all.
type hand struct{ segment, slot int }

const (
	// A new bucket moves the hand over two, so that the past runs out while
	// the store grows; on a full shard over as many as it takes to find one
	// that is nearly full. Updates move it as well, so that a store that was
	// large becomes small again: once for many of them, because to wait for
	// four buckets takes no longer than for one.
	lookPerInsert  = 2
	lookWhenFull   = 16
	updatesPerLook = 32
	lookPerUpdates = 4
)

// found is a record of which find says that it is that of a bucket. It is of
// use until changes differs.
type found struct {
	record  record // nil if there is none
	changes uint64
	slot    int
}

// find looks for the record of a bucket, where guess may know it to be.
func (sh *shard) find(b *bucket, guess *found) found {
	if guess.record != nil && guess.changes == sh.changes && guess.record.is(b) {
		return *guess
	}
	g := sh.index.segment(b.tag)
	for i := g.home(b.tag); g.slots[i] != 0; i = g.next(i) {
		if e := g.slots[i]; e.tag() == b.tag {
			if r := sh.record(e.place()); r.is(b) {
				return found{r, sh.changes, i}
			}
		}
	}
	return found{changes: sh.changes}
}

// guess finds a record that has the same tag, and asks for it to be brought
// into the cache of the processor, without waiting until it is there.
func (sh *shard) guess(b *bucket) found {
	g := sh.index.segment(b.tag)
	for i := g.home(b.tag); g.slots[i] != 0; i = g.next(i) {
		if e := g.slots[i]; e.tag() == b.tag {
			r := sh.record(e.place())
			sh.touched = r[0] + r[len(r)-1]
			return found{r, sh.changes, i}
		}
	}
	return found{}
}

// touch asks for what guess will read.
func (sh *shard) touch(b *bucket) {
	g := sh.index.segment(b.tag)
	sh.touched = byte(g.slots[g.home(b.tag)])
}

func (sh *shard) record(p place) record { return sh.slabs[p.class()].at(p.number()) }

// put stores the mark of a bucket, or forgets the bucket when it is full. What
// find said about it is in f.
func (sh *shard) put(b *bucket, f found, m limiter.Mark, now int64) {
	if f.changes != sh.changes {
		f = sh.find(b, &f)
	}
	if m == (limiter.Mark{}) {
		if f.record != nil {
			sh.drop(sh.index.segment(b.tag), f.slot)
		}
		return
	}
	var space [limiter.MaxPackedMark]byte
	mark := space[:m.Pack(&space)]
	if f.record != nil {
		if f.record.setMark(mark) {
			if sh.updates++; sh.updates%updatesPerLook == 0 {
				sh.sweep(now, lookPerUpdates)
			}
			return
		}
		sh.drop(sh.index.segment(b.tag), f.slot) // and back in a larger one
	}
	sh.makeRoom(now)
	class := classOf(b.key, len(mark))
	s := &sh.slabs[class]
	s.size = int(class) * sizeStep
	number := s.push()
	s.at(number).fill(b, mark)
	sh.index.insert(makeEntry(b.tag, makePlace(class, number)))
	sh.n++
	sh.changes++
}

// drop forgets the bucket in a slot of the index.
func (sh *shard) drop(g *segment, slot int) {
	p := g.slots[slot].place()
	g.drop(slot)
	s := &sh.slabs[p.class()]
	if last := makePlace(p.class(), s.drop(p.number())); last != p {
		r := sh.record(p)
		sh.index.move(tagOf(maphash.Bytes(sh.seed, r.key()), r.name()), last, p)
	}
	sh.n--
	sh.changes++
}

// makeRoom makes room for one more bucket.
func (sh *shard) makeRoom(now int64) {
	if sh.n < sh.room {
		sh.sweep(now, lookPerInsert)
		return
	}
	if g, slot := sh.sweep(now, lookWhenFull); sh.n >= sh.room {
		sh.drop(g, slot)
		sh.evicted++
	}
}

// sweep moves the hand over that many buckets, at least one, and drops those
// that are full again. If it drops none, it returns the slot of the one that
// is nearest to full.
func (sh *shard) sweep(now int64, buckets int) (nearest *segment, slot int) {
	if sh.n == 0 {
		return nil, 0
	}
	nearestAt := int64(math.MaxInt64)
	for slots := 16 * buckets; sh.n > 0 && buckets > 0 && (slots > 0 || nearest == nil); slots-- {
		g := sh.underHand()
		e := g.slots[sh.hand.slot]
		if e == 0 {
			sh.hand.slot++
			continue
		}
		buckets--
		if at := sh.record(e.place()).mark().Until; at <= now {
			sh.drop(g, sh.hand.slot) // and another may move up
		} else {
			if at < nearestAt {
				nearest, slot, nearestAt = g, sh.hand.slot, at
			}
			sh.hand.slot++
		}
	}
	return nearest, slot
}

// underHand returns the segment of the hand, after moving the hand on from the
// end of one.
func (sh *shard) underHand() *segment {
	x, h := &sh.index, &sh.hand
	if h.segment >= len(x.segments) {
		*h = hand{}
	}
	g := x.segments[h.segment]
	if h.slot < len(g.slots) {
		return g
	}
	from, length := x.span(g, uint32(uint64(h.segment)<<(32-x.depth)))
	*h = hand{segment: from + length}
	if h.segment == len(x.segments) {
		h.segment = 0
	}
	return x.segments[h.segment]
}

// bytes returns how much memory the buckets have.
func (sh *shard) bytes() (sum int) {
	for i := range sh.slabs {
		sum += sh.slabs[i].bytes()
	}
	for i := 0; i < len(sh.index.segments); {
		g := sh.index.segments[i]
		sum += 8 * len(g.slots)
		i += 1 << (sh.index.depth - g.depth)
	}
	return sum
}

// tagOf makes the tag of a bucket from the hash of its key. Shards are picked
// by the other half of that.
func tagOf(hash uint64, name uint16) uint32 { return uint32(hash) + uint32(name)*0x9E3779B1 }
