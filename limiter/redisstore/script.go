package redisstore

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/quotaworker/ratelimit/limiter"
	"github.com/quotaworker/ratelimit/lua"
)

// script runs plans on Redis.
type script struct {
	rdb     redis.UniversalClient
	planner planner
	sha     string
}

func newScript(rdb redis.UniversalClient, l layout) *script {
	sum := sha1.Sum([]byte(lua.Take))
	return &script{rdb: rdb, planner: planner{layout: l}, sha: hex.EncodeToString(sum[:])}
}

func (s *script) decide(ctx context.Context, now time.Time, checks []limiter.Check, results []limiter.Result) error {
	plans := s.planner.plan(checks)
	defer s.planner.free(plans)
	var failed error
	for i, reply := range s.run(ctx, plans, now) {
		if reply.err != nil {
			failed = errors.Join(failed, reply.err)
			continue
		}
		plans[i].replay(checks, results, reply.now, reply.numbers)
	}
	return failed
}

// reply is what the script said about a plan.
type reply struct {
	now     int64   // microseconds since the Unix epoch
	numbers []int64 // the states of the buckets, in the order of KEYS
	err     error
}

// run runs the plans, in order and in one round trip, and returns a reply for
// each. What Redis proved not to have run is sent once more.
func (s *script) run(ctx context.Context, plans []*plan, now time.Time) []reply {
	cmds := make([]*onceCmd, len(plans))
	for i, p := range plans {
		cmds[i] = newOnceCmd(ctx, p.command(now, "evalsha", s.sha))
	}
	s.send(ctx, cmds)

	var again []*onceCmd
	for i, cmd := range cmds {
		switch err := cmd.Err(); {
		case err == nil:
		case redis.HasErrorPrefix(err, "NOSCRIPT"), redis.IsReadOnlyError(err):
			// With its text the script runs and is kept, whoever flushes the
			// cache in between, and on a server that does not have it yet:
			// of a server that was demoted the client drops the connection.
			args := plans[i].args
			args[0], args[1] = "eval", lua.Take
			cmds[i] = newOnceCmd(ctx, args)
			again = append(again, cmds[i])
		}
	}
	if len(again) > 0 {
		s.send(ctx, again)
	}

	replies := make([]reply, len(plans))
	for i, cmd := range cmds {
		replies[i] = cmd.reply(plans[i].width())
	}
	return replies
}

// send runs the commands in one round trip (per node, in a cluster). Each
// carries its own error.
func (s *script) send(ctx context.Context, cmds []*onceCmd) {
	pipe := s.rdb.Pipeline()
	for _, cmd := range cmds {
		_ = pipe.Process(ctx, cmd) // queues; cannot fail
	}
	if _, err := pipe.Exec(ctx); err != nil {
		for _, cmd := range cmds {
			if cmd.Val() == nil && cmd.Err() == nil {
				cmd.SetErr(err) // a refused login leaves the commands untouched
			}
		}
	}
}

// onceCmd is a command that the client library must not send again by itself.
// Its options can say so for a single server; in a cluster it would resend
// after a lost reply, and charge twice.
type onceCmd struct{ *redis.IntSliceCmd }

func newOnceCmd(ctx context.Context, args []any) *onceCmd {
	cmd := redis.NewIntSliceCmd(ctx, args...)
	cmd.SetFirstKeyPos(3)
	return &onceCmd{cmd}
}

// NoRetry implements redis.Cmder.
func (*onceCmd) NoRetry() bool { return true }

// reply reads the answer of the script about that many buckets.
func (c *onceCmd) reply(width int) reply {
	nums, err := c.Result()
	if err != nil {
		return reply{err: err}
	}
	if len(nums) != width+1 {
		return reply{err: fmt.Errorf("the script returned %d numbers and not %d; is something between the worker and Redis?", len(nums), width+1)}
	}
	return reply{now: nums[0], numbers: nums[1:]}
}
