package memstore

import (
	"maps"
	"strings"
	"sync"
	"sync/atomic"
)

// names gives the names of limits numbers, so that a record need not spell
// them out. A name keeps its number for ever, and no more are given out after
// the last: who asks with ever new limits makes the store a little slower for
// those that come after, but not larger.
type names struct {
	numbers atomic.Pointer[map[string]uint16] // never changed, but replaced by a copy
	mu      sync.Mutex                        // for who replaces it
}

// mostNames is how many names have a number.
const mostNames = 4096

// number returns the number of a name, from 1, or 0 if it has none and never
// will.
func (n *names) number(name string) uint16 {
	if m := n.numbers.Load(); m != nil {
		if number, ok := (*m)[name]; ok {
			return number
		}
		if len(*m) == mostNames {
			return 0
		}
	}
	return n.add(name)
}

func (n *names) add(name string) uint16 {
	n.mu.Lock()
	defer n.mu.Unlock()
	larger := map[string]uint16{}
	if m := n.numbers.Load(); m != nil {
		if number, ok := (*m)[name]; ok || len(*m) == mostNames {
			return number
		}
		larger = maps.Clone(*m)
	}
	number := uint16(len(larger) + 1)
	larger[strings.Clone(name)] = number
	n.numbers.Store(&larger)
	return number
}
