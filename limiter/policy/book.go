package policy

import (
	"sync"
	"sync/atomic"
	"time"
)

// Book holds the policies that are in force, while they are changed. Readers
// never wait. Make one with NewBook; it is safe for concurrent use.
type Book struct {
	set atomic.Pointer[Set]

	mu     sync.Mutex // one change at a time
	status Status
}

// Status says how a Book came to its policies, for metrics and health.
type Status struct {
	// Revision names the version of the policies in force; empty if there
	// never were any.
	Revision string

	// LoadedAt is when they came into force, and LastAttempt when they were
	// last tried to be changed, whether that succeeded or not.
	LoadedAt, LastAttempt time.Time

	// OK reports whether the last attempt succeeded, and LastError why not. A
	// failed attempt leaves the policies in force as they were. Without any
	// attempt it is true.
	OK        bool
	LastError error

	// Loads and Failures count the attempts by outcome.
	Loads, Failures uint64

	// Policies is the number of policies in force.
	Policies int
}

// NewBook returns a Book without policies.
func NewBook() *Book {
	b := &Book{status: Status{OK: true}}
	b.set.Store(new(Set))
	return b
}

// Set returns the policies in force, never nil. Whoever needs it more than
// once for one decision must keep it: the next call can return another one.
func (b *Book) Set() *Set { return b.set.Load() }

// Load parses a document and puts it in force as a whole. If it has errors,
// which are returned, the policies in force stay.
func (b *Book) Load(name string, text []byte, revision string) error {
	set, err := Parse(name, text)
	if err != nil {
		b.Fail(err)
		return err
	}
	b.Replace(set, revision)
	return nil
}

// Replace puts a set in force; nil stands for no policies.
func (b *Book) Replace(set *Set, revision string) {
	if set == nil {
		set = new(Set)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.set.Store(set)
	now := time.Now()
	b.status.Revision, b.status.LoadedAt, b.status.LastAttempt = revision, now, now
	b.status.OK, b.status.LastError = true, nil
	b.status.Policies = set.Len()
	b.status.Loads++
}

// Fail records that the policies could not be changed, because what should
// have been loaded could not be read. Those in force stay.
func (b *Book) Fail(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.status.LastAttempt, b.status.OK, b.status.LastError = time.Now(), false, err
	b.status.Failures++
}

// Status returns how the policies in force came about.
func (b *Book) Status() Status {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.status
}
