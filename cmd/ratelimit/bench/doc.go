// Package bench loads the rate limiter service and measures it.
//
// # Words
//
// A [Keys] says which keys there are and which of them comes next: all alike,
// a few far more often than others (Zipf), or one hot key. A [Load] says how
// much is asked: so many checks in flight, each followed by the next (a closed
// loop), or so many a second whatever the answers do (an open loop). A
// [Target] is whom is asked and how: [Callers] are goroutines that each wait
// for their answer, and [Async] publishes and has callbacks, so that the cost
// of waiting is not measured. [Run] drives a target for a while and returns a
// [Round].
//
// # Time
//
// In an open loop a latency counts from when the check was due, not from when
// it was sent. A service that stands still for a second then shows as a
// thousand slow checks at 1,000 a second, and not as one: leaving out what
// could not even be asked meanwhile is called coordinated omission. What was
// due and never sent, because nobody answered, counts with the time it waited.
//
// The pacer sleeps with the operating system's own clock, because a sleep of
// the Go runtime can be a millisecond late. How late it was is part of each
// Round. See pace.go.
//
// # Comparing
//
// Machines are shared and get slower and faster by the minute, so a figure
// alone says little. [Compare] takes turns between a target and a baseline, in
// short rounds, and what counts are the ratios of neighbors. The baseline is an
// echo: [Echo] answers every request with the same bytes and does nothing
// else, on subjects as many and as long as those of the checks.
//
// # Counting
//
// [Admissions] adds up what each key was granted, and compares it with what
// its limit grants at most: the burst, and the rate times the time. More is
// over-admission, which a rate limiter must never do.
package bench
