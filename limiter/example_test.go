package limiter_test

import (
	"context"
	"fmt"
	"time"

	"github.com/quotaworker/ratelimit/limiter"
	"github.com/quotaworker/ratelimit/limiter/memstore"
)

// Limit calls within one process, without any service.
func Example() {
	lim, err := limiter.New(memstore.New(memstore.Options{}), limiter.Limit{Rate: 1, Interval: time.Hour, Burst: 2})
	if err != nil {
		fmt.Println(err)
		return
	}
	for range 3 {
		d, err := lim.Allow(context.Background(), "user.42")
		fmt.Println(d.Allowed, d.Remaining, d.RetryAfter.Round(time.Hour), err)
	}
	// Output:
	// true 1 0s <nil>
	// true 0 0s <nil>
	// false 0 1h0m0s <nil>
}
