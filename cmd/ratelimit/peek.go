package main

import (
	"github.com/spf13/cobra"

	"github.com/quotaworker/ratelimit/client"
)

func (p *program) peekCommand() *cobra.Command {
	var q question
	cmd := &cobra.Command{
		Use:   "peek KEY...",
		Short: "Look at what is left, and take nothing",
		Long: `Look at the bucket of a key. Nothing is taken, and the exit code is 0 even when
the bucket is empty.

Give the same limit as to the check: a bucket belongs to a key and a limit.

` + exitHelp,
		Example: `  ratelimit peek user_123
  ratelimit peek user_123 --rate 5 --interval 1s
  ratelimit peek user_123 --json`,
		RunE: func(cmd *cobra.Command, keys []string) error {
			return p.ask(cmd, "peek", keys, &q, (*client.Client).Peek)
		},
	}
	q.limitFlags(cmd)
	return p.asking(cmd)
}
