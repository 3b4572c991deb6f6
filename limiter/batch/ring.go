package batch

// ring is a queue of fixed capacity.
type ring struct {
	items []Item
	head  int // index of the oldest
	n     int
}

// push adds an item at the end and reports whether there was room.
func (r *ring) push(item Item) bool {
	if r.n == len(r.items) {
		return false
	}
	r.items[(r.head+r.n)%len(r.items)] = item
	r.n++
	return true
}

// pop moves up to most of the oldest items to the end of dst.
func (r *ring) pop(dst []Item, most int) []Item {
	for ; r.n > 0 && most > 0; most-- {
		dst = append(dst, r.items[r.head])
		r.items[r.head] = nil
		r.head = (r.head + 1) % len(r.items)
		r.n--
	}
	return dst
}
