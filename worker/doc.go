// Package worker answers checks that arrive over NATS. It is the one place
// where the protocol (client/wire) and the deciding (limiter) meet.
//
// A [Worker] is a NATS micro service named "ratelimit" in the queue group
// wire.QueueGroup, so any number of workers share the checks. Each verb has
// two endpoints: ratelimit.check.> with the key in the subject, and
// ratelimit.check with it in the body; likewise peek, reset and refund.
//
// # The way of a check
//
// The handler decodes the message, finds the limit that counts, hands the
// check to a [Queue] with what to do when it is decided, and returns. There is
// no goroutine and no timer per check: handlers of one subscription run one
// after the other, so a handler that waited for a store would be the ceiling
// of the whole worker. The reply is published by the queue's loop.
//
// A check that the deny cache knows to be denied ([Options].Denials) is answered
// by the handler. The workers tell each other on [DenialsSubject] what their
// caches must know: which buckets were refilled, before that is answered, and
// which deny again and again. What is lost there costs nothing but a denial that
// ends up to a second late.
//
// # What a worker promises
//
//   - A denial is a reply; an error reply says that no decision was made. It
//     carries the headers of the NATS services framework, wire.HeaderError
//     and wire.HeaderErrorCode, and a body with a stable code.
//   - A message that nobody can hear the answer of is not charged: one without
//     a reply subject, and one whose caller has stopped waiting. The header
//     wire.HeaderTimeout says how long it waits, counted from the arrival
//     here; without it Options.MaxAge counts. What is not a number from 0 to
//     a day in milliseconds counts as no header. In the body timeout_ms says
//     the same, also for one of several checks; the shortest counts.
//   - A reply subject is the caller's choice, so it is not used when it would
//     make a worker talk to a service on the caller's behalf: subjects under
//     "ratelimit." and those that begin with "$" get no reply, and their checks
//     are not charged. Other subjects are taken for inboxes, since an inbox can
//     have any prefix. Where tenants must not be able to name each other's
//     inboxes, give them NATS accounts of their own.
//   - The key stands in the subject or in the body; if in both, it must be the
//     same. In a request with several checks the tokens of the subject are put
//     before each key, so that NATS permissions on subjects hold for these too.
//   - Several checks are decided one by one in their order, each with its own
//     answer or error, and all answers go out as one reply. In wire.ModeAll they
//     are one check: granted all or none, and refused as a whole. Where the
//     store keeps their buckets apart it takes them in turn, and the reply says
//     so. Keys whose policy is not enforced have no say in that; they are
//     decided on their own.
//     If a policy denies one of the keys for good, the others are only looked
//     at, as with a cost of 0.
//   - The operator's policy counts before the limit in a request, which counts
//     before the default one; see [Inline] for what operators can change. What
//     a policy says without limits (unlimited, deny, mode off) is answered
//     without a store, has the source "policy" and is not degraded.
//   - A policy that is not enforced is decided and charged like any other. What
//     it denies is answered as allowed, with would_deny.
//   - A peek and a reset have no cost of their own; one that names a cost other
//     than 0 and 1 is refused rather than misunderstood.
//   - A bucket belongs to a key and a limit. Each limit that comes with
//     requests has a bucket of its own, so callers who bring different ones
//     for a key do not disturb each other, and a reset, a refund or a peek of
//     it brings the same limit along. Without one it is about the buckets of
//     the policy that counts, or that of the default limit.
//   - When [Worker.Stop] has returned nil, every message that the server gave
//     to this worker has been answered.
package worker
