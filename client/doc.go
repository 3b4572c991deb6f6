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
// # Waiting
//
// [Client.Wait] is Check for those who would rather wait than be denied. Those
// who wait for the same key stand in line; only the first asks, once for each
// token, and the figures of one denial say when everybody behind can have
// theirs. A deadline that cannot be met fails at once with [ErrPastDeadline]:
//
//	_, err := c.Wait(ctx, "mail.out", client.WithRate(10, time.Second))
//
// # Leases
//
// [Client.Lease] is for callers to whom a round trip per call is too much. A
// [Lease] takes tokens ahead and spends them in this process, which costs a
// look at the clock and one atomic operation, and no allocation:
//
//	l, err := c.Lease(ctx, "api.search")
//	...
//	defer l.Close(ctx)
//	taken, err := l.Take(ctx, 1)
//
// Tokens are charged before they are spent, so nothing is ever admitted that
// was not charged. What differs from Check is when: a token may be spent up to
// the hold time ([WithHoldTime], a second by default) after it was charged.
// So, over any interval,
//
//	admitted <= what the limit grants + what leases hold when it begins
//
// and over the whole life of the leases it is what the limit grants. A window
// that ends, of a fixed_window say, ends what was taken in it: it is not spent
// in the next one.
//
// A lease takes ahead what was used in the last 20 ms or so, but holds at most
// a quarter of what the bucket has left, and at most [WithMaxHeld]. On a bucket
// that runs low it takes only what its callers wait for, and others get their
// share. One request is under way at a time, however many callers there are;
// they wait for it in the order of their calls. New tokens are asked for when
// half of what is held is spent, so that callers seldom wait. A denial is
// remembered until it ends, at most for the hold time, in which a reset or a
// new policy goes unnoticed.
//
// What is not spent within the hold time is given back, and so is the rest by
// [Lease.Close], except what has come back to the bucket by itself meanwhile,
// what was taken in a window that is over or may be, and what the shared store
// did not charge: answers that are degraded, of a policy in shadow, or of one
// without limits. A refund that fails is not repeated, and a process that dies
// gives nothing back: then tokens are lost until the bucket refills, but never
// made. While the service is away a lease spends what it holds, and then its
// errors are those of Check.
//
// A lease counts in tokens: the cost that a policy has for a check does not
// matter to it. A limit of the algorithm leaky_bucket spaces its callers, who
// cannot share what was taken ahead. A lease finds that out from the first
// Delay in a reply; from then on each Take is a request of its own, and its
// answer has the Delay. Until then, tokens that were asked for together have
// none.
//
// # Errors
//
// A denial is an answer and not an error; an error says that nothing was
// decided. Each is an *[Error] with one of the stable codes of the service,
// which [errors.Is] compares to the variables of this package, such as
// [ErrNoPolicy]. Only three have no code: that of a call that its caller
// canceled, which wraps [context.Canceled], [ErrDenied] and [ErrLeaseClosed].
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
