// Package client asks the rate limiter over NATS: may this key do this now?
//
//	nc, err := nats.Connect(url, client.ConnectOptions()...)
//	...
//	c, err := client.New(nc)
//	...
//	res, err := c.Check(ctx, client.KeyOf("user", id), client.WithRate(5, time.Second))
//	switch {
//	case err != nil:
//		// Nobody decided. Let the call pass or not, as suits what it guards.
//	case !res.Allowed:
//		// Denied. The same check would be granted after res.RetryAfter.
//	}
//
// It needs nats.go and the standard library, nothing else.
//
// # Keys
//
// A key says who is limited. It is made of tokens separated by dots, as a NATS
// subject is, so that policies and NATS permissions can match a part of it:
// user.42, tenant.acme.user.42. [KeyOf] makes a key of any texts; use it for
// everything that comes from outside. A key that is not well formed is refused
// with [ErrInvalidKey] before anything is sent. Keys are visible to everybody
// who may watch the NATS subjects, so hash what is personal.
//
// # Limits
//
// Which limit holds is decided by the operator's policies. [WithRate] and
// [WithBurst] bring a limit along, which counts where the operator has none
// for the key; [WithPolicy] picks a policy by its name.
//
// # Verbs
//
// [Client.Check] takes tokens, [Client.Peek] looks, [Client.Refund] gives
// tokens back and [Client.Reset] fills the bucket. [Client.CheckEach] makes
// many checks in one request, and [Client.CheckAll] takes from several keys
// all or nothing.
//
// # Batching
//
// Checks that are made at the same time travel together: while four or more are
// under way, others wait for the next reply, or until there are 256 of them,
// and go in one message. There is no timer, and a lone check waits for nobody.
// At 128 callers that is several times as fast as a message for each, and
// takes a small part of the work off NATS and workers. Nothing else changes:
// each check has its own answer, error and deadline, and whoever stops waiting
// leaves at once. One that had not been sent by then was not charged.
//
// Messages go to ratelimit.check, or with [WithPrefix] to ratelimit.check and
// the prefix, and replies arrive in an inbox that the client subscribes to at
// the first check. What a NATS user may publish must include that subject.
// [WithoutBatching] sends each check on a subject of its own. Only
// [Client.Check] is batched. A message that gets no answer for 5 ms, because a
// worker hangs say, keeps no others from going.
//
// One Client for a connection and prefix serves a whole program; more of them
// share nothing. Before a connection is drained, let the calls return: those
// that wait then fail with [ErrDisconnected].
//
// # Errors
//
// A denial is an answer and not an error; an error says that nothing was
// decided. Each is an *[Error] with one of the stable codes of the service,
// which [errors.Is] compares to the variables of this package, such as
// [ErrNoPolicy]; only a call that its caller canceled has no code and wraps
// [context.Canceled].
//
// A request that found no workers is sent once more, because it was certainly
// not carried out. One that got no answer in time is never repeated: it may
// have been charged.
//
// # Time
//
// A call waits until the deadline of its context, or for the time of
// [WithTimeout] if that has none. Workers are told how long that is, and drop
// what they cannot answer in time without charging it.
//
// # Connection
//
// The client works over any connection, and never closes it. One made with
// [ConnectOptions] fails fast when the server is away, keeps no stale requests
// for later, and comes back by itself.
package client
