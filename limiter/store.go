package limiter

import "context"

// Store keeps buckets and decides checks against them.
//
// Take decides checks[i] into results[i]; the two slices have the same
// length. The checks are decided one after the other, each all or nothing,
// as if alone, and as if at one moment. Checks must be valid (see
// [Check.Validate]): if one is not, Take returns its error and decides none.
//
// A store that keeps buckets apart, so that it cannot decide over some of them
// at one moment, may decide a check that needs these in turn, and says so in
// Result.InTurn. It must give back what it took for a check that it then
// denies, never admit more than a limit, and may decide such checks after the
// others of the slice.
//
// A denial is a Result. An error means that at least one check was not
// decided: those are the results whose Source is SourceNone; or else that what
// was taken in turn could not be given back. A check that was not decided may
// still have been charged, when the answer was lost on its way back; it has not
// been charged more than once.
//
// Take honours the deadline of ctx. It is safe for concurrent use.
type Store interface {
	Take(ctx context.Context, checks []Check, results []Result) error
}

// Prepare returns the first error of checks and marks every result as not
// decided, which is how a Take begins.
func Prepare(checks []Check, results []Result) error {
	for i := range results {
		results[i].Source = SourceNone
	}
	for i := range checks {
		if err := checks[i].Validate(); err != nil {
			return err
		}
	}
	return nil
}
