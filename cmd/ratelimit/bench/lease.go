package bench

import (
	"context"
	"errors"

	"github.com/quotaworker/ratelimit/client"
)

// Leased asks leases of the first n keys, which it starts. Each check takes
// that many tokens. The second function closes the leases, and its error says
// that they could not give their tokens back.
func Leased(ctx context.Context, c *client.Client, keys *Keys, n int, cost int64, limit ...client.CheckOption) (Ask, func(context.Context) error, error) {
	var leases []*client.Lease
	giveBack := func(ctx context.Context) error {
		var errs []error
		for _, l := range leases {
			errs = append(errs, l.Close(ctx))
		}
		return errors.Join(errs...)
	}
	var opts []client.LeaseOption
	for _, o := range limit {
		opts = append(opts, o)
	}
	look := append(limit[:len(limit):len(limit)], client.WithCost(0))
	answers := make([]Answer, n)
	for i := range n {
		// Leases do not say under which limit they are, nor where their tokens
		// came from: if Redis goes away meanwhile, what memory grants counts as
		// if it were shared.
		res, err := c.Check(ctx, keys.Name(i), look...)
		if err == nil {
			var l *client.Lease
			if l, err = c.Lease(ctx, keys.Name(i), opts...); err == nil {
				leases = append(leases, l)
			}
		}
		if err != nil {
			return nil, nil, errors.Join(err, giveBack(ctx))
		}
		answers[i] = answerOf(&res)
	}
	return func(ctx context.Context, key int) (Answer, error) {
		taken, err := leases[key].Take(ctx, cost)
		a := answers[key]
		a.Allowed = taken.Allowed
		return a, err
	}, giveBack, nil
}
