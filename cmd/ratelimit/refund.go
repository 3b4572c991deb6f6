package main

import (
	"github.com/spf13/cobra"

	"github.com/quotaworker/ratelimit/client"
)

func (p *program) refundCommand() *cobra.Command {
	var q question
	cmd := &cobra.Command{
		Use:   "refund KEY...",
		Short: "Give tokens back",
		Long: `Give tokens back to the bucket of a key, for work that was not done after all.
A bucket is never more than full: what does not fit is lost.

Give the same limit as to the check: a bucket belongs to a key and a limit.

` + exitHelp,
		Example: `  ratelimit refund user_123 --cost 3
  ratelimit refund user_123 --cost 3 --rate 5 --interval 1s`,
		RunE: func(cmd *cobra.Command, keys []string) error {
			return p.ask(cmd, "refund", keys, &q, (*client.Client).Refund)
		},
	}
	q.limitFlags(cmd)
	q.costFlag(cmd, "tokens to give back")
	return p.asking(cmd)
}
