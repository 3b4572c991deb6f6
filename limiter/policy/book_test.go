package policy_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quotaworker/ratelimit/limiter/policy"
)

const somePolicies = `
policies:
  - match: user.*
    limits: 10/s
`

// mustParse returns the set of a document that must be right.
func mustParse(t testing.TB, text string) *policy.Set {
	t.Helper()
	set, err := policy.Parse("p.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// bookWithPolicies returns a book and the policies in force.
func bookWithPolicies(t testing.TB) (*policy.Book, *policy.Set) {
	t.Helper()
	book := policy.NewBook()
	if err := book.Load("p.yaml", []byte(somePolicies), "1"); err != nil {
		t.Fatal(err)
	}
	return book, book.Set()
}

func TestBookStatus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		book := policy.NewBook()
		if s := book.Status(); s != (policy.Status{OK: true}) || book.Set() == nil || book.Set().Len() != 0 {
			t.Errorf("a new book: %+v with %d policies", s, book.Set().Len())
		}
		if m := book.Set().Match("user.1"); m != (policy.Match{}) {
			t.Errorf("a new book matches: %+v", m)
		}
		if _, ok := book.Set().MatchNamed("user.1", "x"); ok {
			t.Error("a new book has a policy x")
		}

		loaded := time.Now()
		if err := book.Load("p.yaml", []byte(somePolicies), "7"); err != nil {
			t.Fatal(err)
		}
		good := policy.Status{Revision: "7", LoadedAt: loaded, LastAttempt: loaded, OK: true, Loads: 1, Policies: 1}
		if s := book.Status(); s != good {
			t.Errorf("after a load: %+v, want %+v", s, good)
		}

		time.Sleep(time.Minute)
		err := book.Load("p.yaml", []byte("nonsense"), "8")
		if err == nil {
			t.Fatal("nonsense was loaded")
		}
		s := book.Status()
		if s.OK || s.LastError == nil || s.LastError.Error() != err.Error() || s.Revision != "7" || s.LoadedAt != loaded || s.LastAttempt != loaded.Add(time.Minute) || s.Failures != 1 || s.Loads != 1 || s.Policies != 1 {
			t.Errorf("after a failure: %+v", s)
		}
		if book.Set().Len() != 1 {
			t.Error("the policies are gone")
		}

		time.Sleep(time.Minute)
		book.Replace(nil, "9")
		s = book.Status()
		if want := (policy.Status{Revision: "9", LoadedAt: time.Now(), LastAttempt: time.Now(), OK: true, Loads: 2, Failures: 1}); s != want {
			t.Errorf("after replacing them by none: %+v, want %+v", s, want)
		}
	})
}

// TestBookIsReadWhileItIsChanged has readers that never see half a set: what a
// set says about two keys always is of one version.
func TestBookIsReadWhileItIsChanged(t *testing.T) {
	version := func(n int) []byte {
		return fmt.Appendf(nil, "plans: {p: %d/s}\npolicies:\n- match: a\n  plan: p\n- match: b\n  limits: %d/s\n", n, n)
	}
	book := policy.NewBook()
	if err := book.Load("p.yaml", version(1), "1"); err != nil {
		t.Fatal(err)
	}
	var readers, writers sync.WaitGroup
	var done atomic.Bool
	for range 4 {
		readers.Go(func() {
			for !done.Load() {
				set := book.Set()
				a, b := set.Match("a"), set.Match("b")
				if a, b := a.Allowance().Limits[0].Rule.Limit().Rate, b.Allowance().Limits[0].Rule.Limit().Rate; a != b {
					t.Errorf("versions %d and %d in one set", a, b)
					return
				}
				_ = book.Status()
			}
		})
	}
	for range 2 {
		writers.Go(func() {
			for n := range 200 {
				if n%10 == 0 {
					_ = book.Load("p.yaml", []byte("nonsense"), "bad")
				}
				if err := book.Load("p.yaml", version(n+1), fmt.Sprint(n)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	writers.Wait()
	done.Store(true)
	readers.Wait()
	if s := book.Status(); s.Loads != 401 || s.Failures != 40 {
		t.Errorf("%d loads and %d failures, want 401 and 40", s.Loads, s.Failures)
	}
}
