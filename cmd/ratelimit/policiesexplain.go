package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/quotaworker/ratelimit/client"
	"github.com/quotaworker/ratelimit/client/wire"
	"github.com/quotaworker/ratelimit/limiter/policy"
)

func (p *program) policiesExplainCommand(o *policies) *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "explain KEY",
		Short: "Say which policy decides about a key, why, and what is left",
		Long: `Say which policy decides about a key, why it and no other, what it allows, and
what is left in the bucket now. Nothing is taken.

With --file it is about the policies in a file, and no server is asked: that is
how to try a policy before it is put.`,
		Example: `  ratelimit policies explain user.42
  ratelimit policies explain user.42 --file policies.yaml`,
		Args: between(1, 1, "explain KEY"),
		RunE: func(cmd *cobra.Command, args []string) error {
			key := args[0]
			if err := wire.CheckKey(key); err != nil {
				return err
			}
			if file != "" {
				_, set, err := p.readPolicies(file)
				if err != nil {
					return err
				}
				return p.explain(set.Explain(key), 0, nil, nil)
			}
			s, err := p.openBucket(cmd.Context(), o, false)
			if err != nil {
				return err
			}
			defer s.close()
			v, err := s.get()
			if err != nil {
				return p.bucketFailure(err)
			}
			set, err := policy.Parse(fmt.Sprintf("revision %d", v.Revision), v.Text)
			if err != nil {
				return wrongUse("the workers go by an older revision, because the newest one cannot be used; mend it with put or rollback:\n%s", err)
			}
			c, err := client.New(s.nc, client.WithoutBatching())
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), p.conn.timeout)
			defer cancel()
			res, err := c.Peek(ctx, key)
			return p.explain(set.Explain(key), v.Revision, &res, err)
		},
	}
	cmd.Flags().StringVar(&file, "file", "", "file with the policies, instead of those in the bucket")
	return cmd
}

// explain prints an explanation, and what a peek brought if there was one. That
// nobody answers the peek takes nothing from the explanation.
func (p *program) explain(e policy.Explanation, revision uint64, now *client.Result, peek error) error {
	if p.json {
		doc := map[string]any{"key": e.Key, "policy": nil, "explanation": e.String()}
		if m := e.Match; m.Policy != nil {
			limits := []string{}
			for _, l := range m.Allowance().Limits {
				limits = append(limits, l.String())
			}
			doc["policy"], doc["match"], doc["limits"] = m.Policy.Name, m.Policy.Pattern, limits
			doc["allows"], doc["mode"], doc["enforced"] = m.Allowance().String(), m.Policy.Mode.String(), e.Enforced
			doc["on_outage"] = m.Policy.OnOutage.String()
		}
		if revision > 0 {
			doc["revision"] = revision
		}
		if now != nil && peek == nil {
			doc["remaining"], doc["limit"], doc["reset_after_ms"] = now.Remaining, now.Limit, now.ResetAfter.Milliseconds()
		}
		return p.printJSON(doc)
	}
	fmt.Fprint(p.stdout, e)
	switch {
	case now == nil:
	case peek != nil:
		fmt.Fprintf(p.stdout, "  Now: not known; %s\n", failureOf(peek).message)
	case len(now.Limits) > 0:
		for _, l := range now.Limits {
			fmt.Fprintf(p.stdout, "  Now, %s: %s.\n", l.Name, level(l.Remaining, l.Limit, l.ResetAfter))
		}
	case now.Limit > 0: // or there is nothing that could be left
		fmt.Fprintf(p.stdout, "  Now: %s.\n", level(now.Remaining, now.Limit, now.ResetAfter))
	}
	return nil
}

// level says how a bucket is.
func level(remaining, limit int64, reset time.Duration) string {
	if reset == 0 {
		return fmt.Sprintf("%d of %d left, full", remaining, limit)
	}
	return fmt.Sprintf("%d of %d left, full in %s", remaining, limit, human(reset))
}
