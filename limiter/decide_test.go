package limiter_test

import (
	"errors"
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/quotaworker/ratelimit/limiter"
)

// TestDecideIsAllOrNothing: a granted check charges every bucket its cost, a
// denied one and a look change none, and the answer says which bucket it was.
func TestDecideIsAllOrNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, limiter.MaxDemands).Draw(t, "demands")
		c := limiter.Check{Demands: make([]limiter.Demand, n)}
		states := make([]limiter.State, n)
		fits, looks := true, true
		for i := range n {
			r := drawRule(t)
			token, _, capacity, _ := r.Units()
			c.Demands[i] = limiter.Demand{Rule: r, Cost: drawCost(t, r.Limit().Burst)}
			states[i][0] = rapid.OneOf(rapid.Int64Range(0, capacity), rapid.Just(int64(0))).Draw(t, "debt")
			fits = fits && c.Demands[i].Cost*token <= capacity-states[i][0]
			looks = looks && c.Demands[i].Cost == 0
		}
		before := slices.Clone(states)
		res := limiter.Result{Allowed: !fits, Levels: make([]limiter.Level, 3)} // left over from another check
		limiter.Decide(&c, states, epoch, &res)
		if res.Allowed != fits || len(res.Levels) != n {
			t.Fatalf("allowed %t with %d levels, want %t with %d", res.Allowed, len(res.Levels), fits, n)
		}
		if (!fits || looks) && !slices.Equal(states, before) {
			t.Fatalf("states %v became %v, want no change", before, states)
		}
		var longest time.Duration
		for i, l := range res.Levels {
			token, _, capacity, _ := c.Demands[i].Rule.Units()
			want := before[i][0]
			if fits {
				want += c.Demands[i].Cost * token
			}
			if states[i][0] != want || l.Remaining != (capacity-want)/token {
				t.Fatalf("bucket %d: debt %d and %d left, want debt %d and %d left", i, states[i][0], l.Remaining, want, (capacity-want)/token)
			}
			if had := c.Demands[i].Cost*token <= capacity-before[i][0]; l.Admitted != had || (l.RetryAfter > 0) == had {
				t.Fatalf("bucket %d: %+v, want admitted %t", i, l, had)
			}
			longest = max(longest, l.RetryAfter)
		}
		if res.RetryAfter() != longest || fits != (longest == 0) {
			t.Fatalf("retry after %s, want %s", res.RetryAfter(), longest)
		}
		if b := res.Levels[res.Binding()]; !fits && b.RetryAfter != longest {
			t.Fatalf("binding is %+v, want the one that waits %s", b, longest)
		}
	})
}

// TestRefundNeverOverfills, whatever somebody gives back.
func TestRefundNeverOverfills(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := drawRule(t)
		token, _, capacity, _ := r.Units()
		debt := rapid.Int64Range(0, capacity).Draw(t, "debt")
		cost := rapid.OneOf(rapid.Int64Range(0, r.Limit().Burst), rapid.Int64Min(0), rapid.Just(int64(math.MaxInt64))).Draw(t, "cost")
		states := []limiter.State{{debt}}
		var res limiter.Result
		limiter.Decide(&limiter.Check{Op: limiter.Refund, Demands: []limiter.Demand{{Rule: r, Cost: cost}}}, states, epoch, &res)
		want := max(0, debt-min(cost, r.Limit().Burst)*token)
		if states[0][0] != want || !res.Allowed || res.Levels[0].Remaining != (capacity-want)/token {
			t.Fatalf("%s: debt %d less %d tokens is %d (%+v), want %d", r.Limit(), debt, cost, states[0][0], res, want)
		}
	})
}

func TestBinding(t *testing.T) {
	for _, tt := range []struct {
		name string
		res  limiter.Result
		want int
	}{
		{"no levels", limiter.Result{}, 0},
		{"allowed: fewest left", limiter.Result{Allowed: true, Levels: []limiter.Level{{Remaining: 5}, {Remaining: 2}, {Remaining: 2}}}, 1},
		{"denied: longest wait", limiter.Result{Levels: []limiter.Level{{Remaining: 0, RetryAfter: 1}, {Remaining: 9, RetryAfter: 3}, {Admitted: true}}}, 1},
	} {
		if got := tt.res.Binding(); got != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, got, tt.want)
		}
	}
}

func TestValidateNamesOneBucketTwice(t *testing.T) {
	one, err := limiter.Limit{Rate: 1, Interval: time.Second}.Compile()
	if err != nil {
		t.Fatal(err)
	}
	same, _ := limiter.Limit{Name: "default", Rate: 2, Interval: time.Hour}.Compile()
	other, _ := limiter.Limit{Name: "other", Rate: 1, Interval: time.Second}.Compile()
	for _, tt := range []struct {
		name string
		a, b limiter.Demand
		want error
	}{
		{"same name, other limit", limiter.Demand{Key: "k", Rule: one}, limiter.Demand{Key: "k", Rule: same}, limiter.ErrInvalidCheck},
		{"another name", limiter.Demand{Key: "k", Rule: one}, limiter.Demand{Key: "k", Rule: other}, nil},
		{"another key", limiter.Demand{Key: "k", Rule: one}, limiter.Demand{Key: "K", Rule: one}, nil},
	} {
		c := limiter.Check{Demands: []limiter.Demand{tt.a, tt.b}}
		if err := c.Validate(); !errors.Is(err, tt.want) {
			t.Errorf("%s: error %v, want %v", tt.name, err, tt.want)
		}
	}
}
