package redisstore

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/quotaworker/ratelimit/limiter"
)

// TestTogether agrees with what planBatch does, for it must refuse no less.
func TestTogether(t *testing.T) {
	rule, err := limiter.Limit{Rate: 1, Interval: time.Second}.Compile()
	if err != nil {
		t.Fatal(err)
	}
	cluster, single := &Store{slots: true}, &Store{}
	refused := 0
	for i := range 1000 {
		keys := []string{"a", fmt.Sprintf("user.%d", i%7), fmt.Sprintf("user.%d", i)}[i%2:]
		var c limiter.Check
		for _, key := range keys {
			c.Demands = append(c.Demands, limiter.Demand{Key: key, Rule: rule})
		}
		_, planned := (&planner{slots: true}).plan([]limiter.Check{c})
		if got := cluster.Together(keys); (got != nil) != errors.Is(planned, limiter.ErrInvalidCheck) {
			t.Fatalf("%q: Together says %v, planBatch %v", keys, got, planned)
		} else if got != nil {
			refused++
		}
		if err := single.Together(keys); err != nil {
			t.Errorf("%q on a single server: %v", keys, err)
		}
	}
	if refused == 0 || refused == 1000 {
		t.Errorf("%d of 1000 were refused", refused)
	}
}
