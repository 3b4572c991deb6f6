package bench

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// Distribution says how often each key is asked about.
type Distribution string

// The distributions.
const (
	// Uniform asks about all keys alike.
	Uniform Distribution = "uniform"

	// Zipf asks about the first key most often, and about the n-th one in
	// proportion to 1/n^skew, as it is with users and addresses.
	Zipf Distribution = "zipf"

	// Hot asks about the first key only.
	Hot Distribution = "hot"
)

// MaxKeys bounds the keys of a run: they are kept in memory, with about 50
// bytes each.
const MaxKeys = 10_000_000

// Keys are the keys of a run, and how often each is asked about. It is
// immutable, and safe for concurrent use.
type Keys struct {
	prefix       string
	names        names
	distribution Distribution
	skew         float64
}

// NewKeys returns n keys that begin with prefix: prefix.0, prefix.1 and so on,
// all equally long. n is from 1 to [MaxKeys], and skew, which only [Zipf]
// uses, is greater than 1.
func NewKeys(prefix string, n int, d Distribution, skew float64) (*Keys, error) {
	switch {
	case n < 1 || n > MaxKeys:
		return nil, fmt.Errorf("%d keys are out of bounds; there can be 1 to %d", n, MaxKeys)
	case d != Uniform && d != Zipf && d != Hot:
		return nil, fmt.Errorf("there is no distribution %q; there are %s, %s and %s", d, Uniform, Zipf, Hot)
	case d == Zipf && !(skew > 1 && skew <= 10):
		return nil, fmt.Errorf("a skew of %v is out of bounds; it is greater than 1, usually 1.1, and at most 10", skew)
	}
	return &Keys{prefix: prefix, names: number(prefix+".", n), distribution: d, skew: skew}, nil
}

// Len returns how many keys there are.
func (k *Keys) Len() int { return k.names.n }

// Name returns the i-th key.
func (k *Keys) Name(i int) string { return k.names.at(i) }

// subjects returns the subjects of all keys under root.
func (k *Keys) subjects(root string) names {
	return number(root+"."+k.prefix+".", k.Len())
}

// stream returns an endless series of keys, as their numbers. Streams of
// different seeds are independent. One is not safe for concurrent use.
func (k *Keys) stream(seed uint64) func() int {
	r := rand.New(rand.NewPCG(seed, 0x9E3779B97F4A7C15))
	switch k.distribution {
	case Hot:
		return func() int { return 0 }
	case Zipf:
		z := rand.NewZipf(r, k.skew, 1, uint64(k.Len()-1))
		return func() int { return int(z.Uint64()) }
	default:
		return func() int { return r.IntN(k.Len()) }
	}
}

// names are many numbered texts in one string, because a generator of load
// has better things to do than to make the same texts again and again.
type names struct {
	text  string
	width int
	n     int
}

// number returns the texts prefix0 to prefix(n-1), with leading zeros.
func number(prefix string, n int) names {
	digits := len(fmt.Sprint(n - 1))
	var b strings.Builder
	b.Grow(n * (len(prefix) + digits))
	for i := range n {
		fmt.Fprintf(&b, "%s%0*d", prefix, digits, i)
	}
	return names{text: b.String(), width: len(prefix) + digits, n: n}
}

func (s names) at(i int) string { return s.text[i*s.width : (i+1)*s.width] }
