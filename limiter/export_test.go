package limiter

// Units returns the integers of a token bucket: what a token is worth, what
// flows in per tick, what a full bucket holds, and the tick in microseconds.
func (r *Rule) Units() (token, refill, capacity, tick int64) {
	b := r.alg.(*tokenBucket)
	return b.token, b.refill, b.size, b.tick
}

// BucketMark makes the mark of a token bucket.
func BucketMark(until, at, frac, tick int64) Mark {
	return Mark{Until: until, form: formBucket, at: at, more: [2]int64{frac}, tick: tick}
}
