package redisstore

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/quotaworker/ratelimit/limiter"
)

// ErrContended is returned when others have changed a bucket each time between
// reading and writing it. Nothing was charged.
var ErrContended = errors.New("too many callers share a key for the strategy transaction; set RATELIMIT_REDIS_STRATEGY=script")

// errMoving is returned while a slot of Redis Cluster is on its way.
var errMoving = errors.New("the slot of a bucket is moving to another node of Redis Cluster; nothing was charged")

// maxRaces is how many races a transaction loses before it gives up.
const maxRaces = 64

// transaction decides with WATCH, MULTI and EXEC: one transaction for a batch,
// or in a cluster one for each of its slots. A batch without anything to write,
// such as one of denials, ends after reading.
type transaction struct {
	rdb    redis.UniversalClient
	layout layout
}

func (t *transaction) decide(ctx context.Context, now time.Time, checks []limiter.Check, results []limiter.Result) error {
	return eachExchange(t.layout, checks, results, func(e *exchange) error {
		return t.run(ctx, e, now, checks, results)
	})
}

// run tries until nobody has come in between.
func (t *transaction) run(ctx context.Context, e *exchange, now time.Time, checks []limiter.Check, results []limiter.Result) error {
	for race := 0; ; race++ {
		asked := false
		err := t.rdb.Watch(ctx, func(tx *redis.Tx) error {
			asked = true
			at, err := e.read(ctx, tx.Pipeline(), now)
			if err != nil {
				return err
			}
			e.decide(checks, results, at)
			pipe := tx.TxPipeline()
			if !e.write(ctx, pipe, at) {
				return nil
			}
			cmds, err := pipe.Exec(ctx)
			if redis.HasErrorPrefix(err, "EXECABORT") { // nothing ran, and the command that was refused knows why
				for _, cmd := range cmds {
					if cause := cmd.Err(); cause != nil && !redis.HasErrorPrefix(cause, "EXECABORT") {
						return cause
					}
				}
			}
			return err
		}, e.names...)
		if err == nil && !asked { // the client was sent from node to node, and says nothing of it
			return errMoving
		}
		if !errors.Is(err, redis.TxFailedErr) {
			return err
		}
		if race == maxRaces {
			return fmt.Errorf("%w (%d races lost)", ErrContended, race)
		}
		// Apart from each other, so that not all lose to the next one again.
		timer := time.NewTimer(rand.N(time.Duration(min(race, 20)+1) * 200 * time.Microsecond))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
	}
}
