package policy_test

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/quotaworker/ratelimit/limiter/policy"
)

var update = flag.Bool("update", false, "write the messages into testdata instead of comparing them")

// TestInvalid holds the exact messages of everything that can be wrong: each
// document in testdata breaks one rule, in one way or several.
func TestInvalid(t *testing.T) {
	paths, err := filepath.Glob("testdata/invalid-*.yaml")
	if err != nil || len(paths) < 20 {
		t.Fatalf("%d documents, %v", len(paths), err)
	}
	for _, path := range paths {
		name := filepath.Base(path)
		t.Run(name, func(t *testing.T) {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			book, before := bookWithPolicies(t)
			set, err := policy.Parse(name, text)
			var errs policy.Errors
			if set != nil || !errors.As(err, &errs) || len(errs) == 0 {
				t.Fatalf("Parse returned %v, %v; want policy.Errors", set, err)
			}
			got := err.Error() + "\n"
			golden := strings.TrimSuffix(path, ".yaml") + ".golden"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
			// The policies in force stay what they are.
			if err := book.Load(name, text, "bad"); err == nil {
				t.Error("Book.Load accepted it")
			}
			if book.Set() != before {
				t.Error("the policies in force have changed")
			}
		})
	}
}
