package policy_test

import (
	"testing"

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
