package policy

import "strings"

// trie finds the value with the most specific pattern that matches a key. It
// branches by token. Once built it is safe for concurrent use.
type trie[T any] struct{ root node[T] }

type node[T any] struct {
	// Most nodes have one literal child, which needs no map.
	token string
	child *node[T]
	more  map[string]*node[T] // the other ones

	star  *node[T] // the child *
	exact *T       // the value whose pattern ends here
	rest  *T       // the value whose pattern ends with > after here
}

// insert adds a value and returns the one that had the same pattern before,
// in which case nothing is changed.
func (t *trie[T]) insert(pattern string, value *T) (taken *T) {
	n := &t.root
	for {
		token, rest, more := strings.Cut(pattern, ".")
		if token == anyRest {
			if n.rest == nil {
				n.rest = value
				return nil
			}
			return n.rest
		}
		n, pattern = n.grow(token), rest
		if more {
			continue
		}
		if n.exact == nil {
			n.exact = value
			return nil
		}
		return n.exact
	}
}

func (n *node[T]) grow(token string) *node[T] {
	if token == anyOne {
		if n.star == nil {
			n.star = new(node[T])
		}
		return n.star
	}
	if c := n.literal(token); c != nil {
		return c
	}
	c := new(node[T])
	switch {
	case n.child == nil:
		n.token, n.child = token, c
	case n.more == nil:
		n.more = map[string]*node[T]{token: c}
	default:
		n.more[token] = c
	}
	return c
}

func (n *node[T]) literal(token string) *node[T] {
	if n.child == nil {
		return nil
	}
	if n.token == token {
		return n.child
	}
	return n.more[token]
}

// literals calls f with each literal child, until f returns false.
func (n *node[T]) literals(f func(token string, c *node[T]) bool) bool {
	if n.child != nil && !f(n.token, n.child) {
		return false
	}
	for token, c := range n.more {
		if !f(token, c) {
			return false
		}
	}
	return true
}

// match returns the value of the most specific pattern that matches key, nil
// if none does. It does not allocate, and visits at most steps nodes.
func (t *trie[T]) match(key string) *T { return t.root.match(key) }

func (n *node[T]) match(key string) *T {
	token, rest, more := strings.Cut(key, ".")
	if token == "" {
		return nil // not a key
	}
	if c := n.literal(token); c != nil {
		if v := c.after(rest, more); v != nil {
			return v
		}
	}
	if n.star != nil {
		if v := n.star.after(rest, more); v != nil {
			return v
		}
	}
	return n.rest
}

func (n *node[T]) after(key string, more bool) *T {
	if !more {
		return n.exact
	}
	return n.match(key)
}

// exactly returns the value with this pattern.
func (t *trie[T]) exactly(pattern string) *T {
	n := &t.root
	for n != nil {
		token, rest, more := strings.Cut(pattern, ".")
		switch token {
		case anyRest:
			return n.rest
		case anyOne:
			n = n.star
		default:
			n = n.literal(token)
		}
		if !more && n != nil {
			return n.exact
		}
		pattern = rest
	}
	return nil
}

// all appends every value whose pattern matches key, the most specific first.
func (t *trie[T]) all(values []*T, key string) []*T { return t.root.all(values, key) }

func (n *node[T]) all(values []*T, key string) []*T {
	token, rest, more := strings.Cut(key, ".")
	if token == "" {
		return values
	}
	for _, c := range []*node[T]{n.literal(token), n.star} {
		switch {
		case c == nil:
		case more:
			values = c.all(values, rest)
		case c.exact != nil:
			values = append(values, c.exact)
		}
	}
	if n.rest != nil {
		values = append(values, n.rest)
	}
	return values
}

// steps returns how many nodes a match visits at worst: it may go into a
// literal child and, not finding anything there, into the child * as well.
func (t *trie[T]) steps() int { return t.root.steps() }

func (n *node[T]) steps() int {
	worst := 0
	n.literals(func(_ string, c *node[T]) bool {
		worst = max(worst, c.steps())
		return true
	})
	if n.star != nil {
		worst += n.star.steps()
	}
	return worst + 1
}

// overlapping calls found with every value whose pattern matches a key that
// the given pattern matches too, until found returns false.
func (t *trie[T]) overlapping(pattern string, found func(*T) bool) {
	t.root.overlapping(pattern, found)
}

func (n *node[T]) overlapping(pattern string, found func(*T) bool) bool {
	token, rest, more := strings.Cut(pattern, ".")
	if n.rest != nil && !found(n.rest) {
		return false
	}
	each := func(_ string, c *node[T]) bool {
		if token == anyRest {
			return (c.exact == nil || found(c.exact)) && c.overlapping(anyRest, found)
		}
		if more {
			return c.overlapping(rest, found)
		}
		return c.exact == nil || found(c.exact)
	}
	if token == anyOne || token == anyRest {
		if !n.literals(each) {
			return false
		}
	} else if c := n.literal(token); c != nil && !each(token, c) {
		return false
	}
	return n.star == nil || each(anyOne, n.star)
}

// covered reports whether each key that the pattern matches is matched by a
// more specific one too. Only a pattern with > at its end can be, by those
// with * instead, because there are always more names than are listed.
func (t *trie[T]) covered(pattern string) bool {
	n, depth := &t.root, 0
	for {
		token, rest, _ := strings.Cut(pattern, ".")
		if token == anyRest {
			break
		}
		if token == anyOne {
			n = n.star
		} else {
			n = n.literal(token)
		}
		if rest == "" || n == nil {
			return false
		}
		pattern, depth = rest, depth+1
	}
	for {
		n, depth = n.star, depth+1
		if n == nil || n.exact == nil {
			return false
		}
		if n.rest != nil || depth == MaxPatternTokens {
			return true
		}
	}
}
