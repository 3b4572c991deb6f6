package redisstore

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/quotaworker/ratelimit/limiter"
)

func mustCompile(t *testing.T, l limiter.Limit) *limiter.Rule {
	t.Helper()
	r, err := l.Compile()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func check(op limiter.Op, cost int64, rule *limiter.Rule, keys ...string) limiter.Check {
	c := limiter.Check{Op: op}
	for _, key := range keys {
		c.Demands = append(c.Demands, limiter.Demand{Key: key, Rule: rule, Cost: cost})
	}
	return c
}

// callsOf writes down what the script is called with, one line per call.
func callsOf(t *testing.T, slots bool, checks ...limiter.Check) []string {
	t.Helper()
	plans := (&planner{layout: layout{slots: slots}}).plan(checks)
	var calls []string
	for _, p := range plans {
		args := p.command(time.UnixMicro(42))
		n := args[0].(int)
		calls = append(calls, fmt.Sprint(p.names)+" "+strings.TrimSpace(fmt.Sprintln(args[n+1:]...)))
	}
	return calls
}

// TestArguments pins what the script gets, most of all that checks of one
// bucket become one entry.
func TestArguments(t *testing.T) {
	const take, refund, reset, look = limiter.Take, limiter.Refund, limiter.Reset, limiter.Look
	ten := mustCompile(t, limiter.Limit{Rate: 10, Interval: time.Second})
	other := mustCompile(t, limiter.Limit{Name: "other", Rate: 5, Interval: time.Second})
	changed := mustCompile(t, limiter.Limit{Rate: 20, Interval: time.Second}) // the same name
	same := mustCompile(t, limiter.Limit{Rate: 10, Interval: time.Second})
	many := func(n int, c limiter.Check) []limiter.Check { return slices.Repeat([]limiter.Check{c}, n) }
	undo := check(limiter.Undo, 3, ten, "a")
	undo.Demands[0].Taken = 17
	const limits = "token_bucket 4 100000 1 1000000 1" // of ten
	for _, tt := range []struct {
		name   string
		slots  bool
		checks []limiter.Check
		want   []string
	}{
		{"nothing", false, nil, nil},
		{"one token of one key", false, many(1, check(take, 1, ten, "a")),
			[]string{"[rl:{a}:default] 42 1 " + limits + " 1 1"}},
		{"a look", false, many(3, check(take, 0, ten, "a")),
			[]string{"[rl:{a}:default] 42 1 " + limits + " 1 0"}},
		{"256 checks of one key", false, many(256, check(take, 1, ten, "a")),
			[]string{"[rl:{a}:default] 42 1 " + limits + " 1 0 256 1 1 1"}},
		{"the same through another rule of the same limit", false, append(many(2, check(take, 1, ten, "a")), many(2, check(take, 1, same, "a"))...),
			[]string{"[rl:{a}:default] 42 1 " + limits + " 1 0 4 1 1 1"}},
		{"cost 3", false, many(1, check(take, 3, ten, "a")),
			[]string{"[rl:{a}:default] 42 1 " + limits + " 1 0 1 1 1 3"}},
		{"others between do not part them", false, []limiter.Check{check(take, 2, ten, "a"), check(take, 1, ten, "b"), check(take, 0, ten, "a"), check(take, 2, ten, "a")},
			[]string{"[rl:{b}:default rl:{a}:default] 42 1 " + limits + " 2 1 2 1 2 2"}},
		{"another cost between does", false, []limiter.Check{check(take, 1, ten, "a"), check(take, 2, ten, "a"), check(take, 1, ten, "a")},
			[]string{"[rl:{a}:default] 42 1 " + limits + " 1 0 1 1 1 1 1 1 1 2 1 1 1 1"}},
		{"a check of both between does", false, []limiter.Check{check(take, 1, ten, "a"), check(take, 1, ten, "a", "b"), check(take, 1, ten, "a")},
			[]string{"[rl:{a}:default rl:{b}:default] 42 1 " + limits + " 2 0 1 1 1 1 1 2 1 1 2 1 1 1 1 1"}},
		{"refund and reset", false, []limiter.Check{check(refund, 3, ten, "a"), check(refund, 99, ten, "b"), check(reset, 0, ten, "c"), check(refund, 0, ten, "d")},
			[]string{"[rl:{a}:default rl:{b}:default rl:{c}:default rl:{d}:default] 42 1 " + limits + " 4 0 1 1 1 -3 1 1 2 -99 1 1 3"}},
		{"a look at what a check would do", false, []limiter.Check{check(look, 2, ten, "a"), check(take, 1, ten, "b"), check(look, 1, ten, "b"), check(look, 1, ten, "a", "b")},
			[]string{"[rl:{a}:default rl:{b}:default] 42 1 " + limits + " 2 0 0 1 1 2 1 1 2 1 0 2 1 1 2 1"}},
		{"what was taken is given back", false, many(2, undo),
			[]string{"[rl:{a}:default] 42 1 " + limits + " 1 0 1 1 1 3@17 1 1 1 3@17"}},
		{"two limits", false, []limiter.Check{check(take, 1, ten, "a"), check(take, 1, other, "a")},
			[]string{"[rl:{a}:default rl:{a}:other] 42 2 " + limits + " 1 1 token_bucket 4 200000 1 1000000 1 1 1"}},
		{"a limit that changes within the batch", false, []limiter.Check{check(take, 1, ten, "a"), check(take, 1, changed, "a"), check(take, 1, ten, "a")},
			[]string{
				"[rl:{a}:default] 42 1 " + limits + " 1 1",
				"[rl:{a}:default] 42 1 token_bucket 4 50000 1 1000000 1 1 1",
				"[rl:{a}:default] 42 1 " + limits + " 1 1",
			}},
		{"slots", true, []limiter.Check{check(take, 1, ten, "a"), check(take, 1, ten, "b"), check(take, 1, other, "a")},
			[]string{
				"[rl:{a}:default rl:{a}:other] 42 2 " + limits + " 1 1 token_bucket 4 200000 1 1000000 1 1 1",
				"[rl:{b}:default] 42 1 " + limits + " 1 1",
			}},
	} {
		if got := callsOf(t, tt.slots, tt.checks...); !slices.Equal(got, tt.want) {
			t.Errorf("%s:\n got %q\nwant %q", tt.name, got, tt.want)
		}
	}
}

func TestPlansAreBounded(t *testing.T) {
	ten := mustCompile(t, limiter.Limit{Rate: 10, Interval: time.Second})
	var checks []limiter.Check
	for i := range 1000 {
		var keys []string
		for j := range limiter.MaxDemands {
			keys = append(keys, fmt.Sprint(i, ".", j))
		}
		checks = append(checks, check(limiter.Take, 1, ten, keys...))
	}
	plans := new(planner).plan(checks)
	if len(plans) != 4 {
		t.Fatalf("16,000 buckets: %d plans; want 4 of 4000", len(plans))
	}
	for i, p := range plans {
		if len(p.buckets) > maxBuckets || len(p.checks) != 250 {
			t.Errorf("plan %d has %d buckets of %d checks", i, len(p.buckets), len(p.checks))
		}
	}
}

// TestBucketNamesAreInjective, whatever a key holds and however many of its
// tokens are in the tag. Without braces, which no canonical key holds, not even
// names with different numbers of tokens are alike.
func TestBucketNamesAreInjective(t *testing.T) {
	key := rapid.StringOf(rapid.SampledFrom([]rune("a{}:.%")))
	name := rapid.StringMatching(`[ab_-]{1,2}`)
	rapid.Check(t, func(t *rapid.T) {
		demand := func() (limiter.Demand, string) {
			k, n := key.Draw(t, "key"), name.Draw(t, "name")
			rule, err := limiter.Limit{Name: n, Rate: 1, Interval: time.Second}.Compile()
			if err != nil {
				t.Fatal(err)
			}
			return limiter.Demand{Key: k, Rule: rule}, fmt.Sprintf("%q %q", k, n)
		}
		a, as := demand()
		b, bs := demand()
		l, m := layout{tokens: rapid.IntRange(0, 4).Draw(t, "tokens")}, layout{tokens: rapid.IntRange(0, 4).Draw(t, "other tokens")}
		if (l.name(&a) == l.name(&b)) != (as == bs) {
			t.Fatalf("%s and %s, %d tokens: %q and %q", as, bs, l.tokens, l.name(&a), l.name(&b))
		}
		if as != bs && !strings.ContainsAny(a.Key+b.Key, "{}") && l.name(&a) == m.name(&b) {
			t.Fatalf("%s with %d tokens and %s with %d: %q", as, l.tokens, bs, m.tokens, l.name(&a))
		}
	})
}
