package bench

import (
	"runtime"
	"syscall"
	"time"
)

// sleeper sleeps in the operating system, on a thread of its own. The timers of
// the Go runtime are a millisecond late when nothing else goes on, which is
// longer than most checks take.
type sleeper struct{}

// newSleeper returns a sleeper for the goroutine that calls it, whose thread
// ends with it.
func newSleeper() sleeper {
	runtime.LockOSThread()
	// By default Linux may wake a thread 50 microseconds late in order to
	// wake several at once. If it refuses, that is how late they are.
	const prSetTimerSlack = 29
	_, _, _ = syscall.RawSyscall(syscall.SYS_PRCTL, prSetTimerSlack, 1, 0)
	return sleeper{}
}

func (sleeper) sleep(d time.Duration) {
	t := syscall.NsecToTimespec(int64(d))
	for syscall.Nanosleep(&t, &t) == syscall.EINTR {
	}
}
