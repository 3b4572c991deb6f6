package bench

import "time"

// Sleeper sleeps for less than a millisecond, if that is what it is told, which
// the timers of the Go runtime do not. Only the goroutine that made it may use
// it, and should end some time: its thread is its own.
type Sleeper struct{ sleeper }

// NewSleeper returns a Sleeper for the goroutine that calls it.
func NewSleeper() Sleeper { return Sleeper{newSleeper()} }

// Sleep returns after d, or at once if that is zero or negative.
func (s Sleeper) Sleep(d time.Duration) {
	if d > 0 {
		s.sleep(d)
	}
}
