//go:build !linux

package bench

import (
	"runtime"
	"time"
)

// sleeper sleeps with the timers of the Go runtime as long as they are sure to
// be in time, and yields to others for the rest.
type sleeper struct{}

func newSleeper() sleeper { return sleeper{} }

// coarse is how late the timers may be.
const coarse = 2 * time.Millisecond

func (sleeper) sleep(d time.Duration) {
	until := time.Now().Add(d)
	if d > coarse {
		time.Sleep(d - coarse)
	}
	for time.Now().Before(until) {
		runtime.Gosched()
	}
}
