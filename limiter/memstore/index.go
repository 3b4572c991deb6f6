package memstore

import "slices"

// index finds records by the hash of their bucket: an extendible hash table.
// The first bits of a tag pick a segment out of a directory, and within the
// segment it is open addressing with linear probing. A segment that is full
// grows by a quarter or, when it is large, splits in two, so that no growth
// ever moves more than segmentSlots entries, and few slots are empty.
type index struct {
	segments []*segment // 1<<depth; a segment may stand in several places, side by side
	depth    uint8
}

// entry is a tag and a place: where the record is. 0 is an empty slot.
type entry uint64

// place is the class of a record, never 0, and its number in the slab.
type place uint32

const (
	numberBits   = 26 // of a place
	segmentSlots = 4096
	deepest      = 20 // bits of a tag that the directory may use
	smallest     = 8  // slots of a segment
)

func makeEntry(tag uint32, p place) entry { return entry(tag)<<32 | entry(p) }
func (e entry) tag() uint32               { return uint32(e >> 32) }
func (e entry) place() place              { return place(e) }

func makePlace(class, number uint32) place { return place(class<<numberBits | number) }
func (p place) class() uint32              { return uint32(p) >> numberBits }
func (p place) number() uint32             { return uint32(p) & (1<<numberBits - 1) }

// segment holds the entries whose tags begin with the same depth bits.
type segment struct {
	slots []entry
	n     int // of them in use
	depth uint8
}

func newIndex() index { return index{segments: []*segment{newSegment(smallest, 0)}} }

func newSegment(slots int, depth uint8) *segment {
	s := slices.Grow([]entry(nil), slots)
	s = s[:cap(s)] // what the allocator rounds up to is ours
	clear(s)
	return &segment{slots: s, depth: depth}
}

func (x *index) segment(tag uint32) *segment { return x.segments[tag>>(32-x.depth)] }

// home is where the search for a tag begins. The bits behind those that pick
// the segment decide, so that the length need not be a power of two.
func (g *segment) home(tag uint32) int {
	return int(uint64(tag<<g.depth) * uint64(len(g.slots)) >> 32)
}

func (g *segment) next(i int) int {
	if i++; i == len(g.slots) {
		return 0
	}
	return i
}

// insert adds an entry. There is always room for it.
func (x *index) insert(e entry) {
	g := x.segment(e.tag())
	for 5*(g.n+1) > 4*len(g.slots) {
		x.grow(g, e.tag())
		g = x.segment(e.tag())
	}
	g.insert(e)
}

func (g *segment) insert(e entry) {
	i := g.home(e.tag())
	for g.slots[i] != 0 {
		i = g.next(i)
	}
	g.slots[i] = e
	g.n++
}

// grow makes room in the segment of a tag.
func (x *index) grow(g *segment, tag uint32) {
	if len(g.slots) < segmentSlots || g.depth == deepest {
		g.resize(len(g.slots) + len(g.slots)/4 + 2)
		return
	}
	if g.depth == x.depth {
		twice := make([]*segment, 2*len(x.segments))
		for i, s := range x.segments {
			twice[2*i], twice[2*i+1] = s, s
		}
		x.segments, x.depth = twice, x.depth+1
	}
	slots := g.n/2 + g.n/4
	halves := [2]*segment{newSegment(slots, g.depth+1), newSegment(slots, g.depth+1)}
	for _, e := range g.slots {
		if e != 0 {
			half := halves[e.tag()>>(31-g.depth)&1]
			if 5*(half.n+1) > 4*len(half.slots) { // not with a hash that is any good
				half.resize(2 * len(half.slots))
			}
			half.insert(e)
		}
	}
	from, length := x.span(g, tag)
	for i := range length {
		x.segments[from+i] = halves[2*i/length]
	}
}

// span returns where in the directory the segment of a tag stands.
func (x *index) span(g *segment, tag uint32) (from, length int) {
	length = 1 << (x.depth - g.depth)
	return int(tag>>(32-x.depth)) &^ (length - 1), length
}

// resize moves the entries to another number of slots.
func (g *segment) resize(slots int) {
	other := newSegment(slots, g.depth)
	for _, e := range g.slots {
		if e != 0 {
			other.insert(e)
		}
	}
	*g = *other
}

// drop empties a slot, and moves up those that were displaced by it.
func (g *segment) drop(i int) {
	for j := g.next(i); g.slots[j] != 0; j = g.next(j) {
		// An entry may move from j to i if i is not before its home.
		if h := g.home(g.slots[j].tag()); g.ahead(h, j) >= g.ahead(i, j) {
			g.slots[i] = g.slots[j]
			i = j
		}
	}
	g.slots[i] = 0
	if g.n--; len(g.slots) > 2*smallest && 4*g.n < len(g.slots) {
		g.resize(g.n + g.n/2 + smallest)
	}
}

// ahead returns how many slots it is from i to j.
func (g *segment) ahead(i, j int) int {
	if j < i {
		j += len(g.slots)
	}
	return j - i
}

// move changes the place of an entry.
func (x *index) move(tag uint32, from, to place) {
	g := x.segment(tag)
	for i := g.home(tag); ; i = g.next(i) {
		if g.slots[i] == makeEntry(tag, from) {
			g.slots[i] = makeEntry(tag, to)
			return
		}
	}
}
