package worker_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/quotaworker/ratelimit/client/wire"
	"github.com/quotaworker/ratelimit/limiter"
)

// TestBoundsAgree: wire, which must not import limiter, repeats the bounds of
// a limit. What one accepts the other does.
func TestBoundsAgree(t *testing.T) {
	for _, tt := range []struct {
		rate     int64
		interval time.Duration
		burst    int64
	}{
		{1, limiter.MinInterval, 1},
		{1, limiter.MinInterval - time.Microsecond, 1},
		{1, limiter.MinInterval + time.Nanosecond, 1},
		{1, limiter.MaxInterval, 1},
		{1, limiter.MaxInterval + time.Microsecond, 1},
		{limiter.MaxCount, time.Second, 1},
		{limiter.MaxCount + 1, time.Second, 1},
		{1, time.Second, limiter.MaxCount + 1},
	} {
		limit := limiter.Limit{Rate: tt.rate, Interval: tt.interval, Burst: tt.burst}
		_, domain := limit.Compile()
		body := fmt.Sprintf(`{"rate":%d,"interval":"%s","burst":%d}`, tt.rate, tt.interval, tt.burst)
		_, protocol := wire.DecodeRequest([]byte(body))
		if (domain == nil) != (protocol == nil) {
			t.Errorf("%s: limiter says %v, wire says %v", body, domain, protocol)
		}
	}
}
