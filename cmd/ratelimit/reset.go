package main

import (
	"github.com/spf13/cobra"

	"github.com/quotaworker/ratelimit/client"
)

func (p *program) resetCommand() *cobra.Command {
	var q question
	cmd := &cobra.Command{
		Use:   "reset KEY...",
		Short: "Fill the buckets again",
		Long: `Fill the buckets of a key, as if it had never been asked about.

Give the same limit as to the check: a bucket belongs to a key and a limit.

` + exitHelp,
		Example: `  ratelimit reset user_123
  ratelimit reset user_123 user_124
  ratelimit reset user_123 --rate 5 --interval 1s`,
		RunE: func(cmd *cobra.Command, keys []string) error {
			return p.ask(cmd, "reset", keys, &q, (*client.Client).Reset)
		},
	}
	q.limitFlags(cmd)
	return p.asking(cmd)
}
