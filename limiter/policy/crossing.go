package policy

// crossingBudget bounds the work of finding patterns that cross, to about a
// second: thirty pairs for each of a hundred thousand patterns.
const crossingBudget = 3_000_000

// MaxSteps bounds how many nodes of the tree of patterns a single match can
// visit, which grows when many patterns have * in many places.
const MaxSteps = 1000

// checkTree refuses patterns between which there is no telling which of them
// decides, and patterns that would make matching slow.
func checkTree[T any](d *document, t *trie[T], what string, patternOf func(*T) (string, place)) {
	done := t.crossings(crossingBudget, func(x, y *T) bool {
		a, at := patternOf(x)
		b, before := patternOf(y)
		both := intersect(a, b)
		if t.exactly(both) != nil {
			return true
		}
		if at.line < before.line {
			a, b, at, before = b, a, before, at
		}
		d.fail(at, "match: patterns %q and %q (line %d) both match %q, and neither is more specific; add a %s for that", a, b, before.line, both, what)
		return !d.full()
	})
	switch {
	case len(d.errs) > 0:
	case !done:
		d.fail(place{}, "the patterns cross each other in too many ways to check them; have * in fewer places, or list fewer names beside it")
	case t.steps() > MaxSteps:
		d.fail(place{}, "finding the %s for a key could take %d steps and must take at most %d; have fewer patterns with * in different places", what, t.steps(), MaxSteps)
	}
}

// crossings calls found with every two values of the trie whose patterns cross:
// they match a key in common, and neither is more specific. It returns false
// when found does, or when it would have to compare more than budget pairs of
// nodes.
//
// It walks two nodes at a time down the trie, through all pairs of prefixes
// that a key could have in common. What two patterns share from the left is
// walked once, whatever the number of patterns that begin like that.
func (t *trie[T]) crossings(budget int, found func(a, b *T) bool) bool {
	w := crossing[T]{budget: budget, found: found}
	return w.pair(&t.root, &t.root, false, false)
}

type crossing[T any] struct {
	budget int
	found  func(a, b *T) bool
}

// pair compares what is under a with what is under b. So far a was literal
// where b was *, if aNarrow, and b where a was *, if bNarrow.
func (w *crossing[T]) pair(a, b *node[T], aNarrow, bNarrow bool) bool {
	if w.budget--; w.budget < 0 {
		return false
	}
	if a == b {
		return a.literals(func(_ string, c *node[T]) bool {
			return w.pair(c, c, false, false) && (a.star == nil || w.pair(c, a.star, true, false))
		}) && (a.star == nil || w.pair(a.star, a.star, false, false))
	}
	if aNarrow && bNarrow && a.exact != nil && b.exact != nil && !w.found(a.exact, b.exact) {
		return false
	}
	// What ends with > is wider than all that goes on, unless it was narrower
	// before.
	if aNarrow && a.rest != nil && !w.under(b, a.rest, bNarrow) {
		return false
	}
	if bNarrow && b.rest != nil && !w.under(a, b.rest, false) {
		return false
	}
	// The smaller one leads, so that a node with many children is not walked
	// for each of the few of another.
	if len(a.more) > len(b.more) {
		a, b, aNarrow, bNarrow = b, a, bNarrow, aNarrow
	}
	return a.literals(func(token string, c *node[T]) bool {
		d := b.literal(token)
		return (d == nil || w.pair(c, d, aNarrow, bNarrow)) &&
			(b.star == nil || w.pair(c, b.star, true, bNarrow))
	}) && (a.star == nil || b.literals(func(_ string, d *node[T]) bool {
		return w.pair(a.star, d, aNarrow, true)
	}) && (b.star == nil || w.pair(a.star, b.star, aNarrow, bNarrow)))
}

// under reports that rest, whose pattern ends with >, crosses all that is
// under n, and if nNarrow also what ends with > right there.
func (w *crossing[T]) under(n *node[T], rest *T, nNarrow bool) bool {
	if w.budget--; w.budget < 0 {
		return false
	}
	if nNarrow && n.rest != nil && !w.found(rest, n.rest) {
		return false
	}
	each := func(_ string, c *node[T]) bool {
		return (c.exact == nil || w.found(rest, c.exact)) && w.under(c, rest, true)
	}
	return n.literals(each) && (n.star == nil || each(anyOne, n.star))
}
