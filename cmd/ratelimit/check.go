package main

import (
	"github.com/spf13/cobra"

	"github.com/quotaworker/ratelimit/client"
)

func (p *program) checkCommand() *cobra.Command {
	var q question
	cmd := &cobra.Command{
		Use:   "check KEY...",
		Short: "Ask for tokens: allowed or denied",
		Long: `Take tokens from the bucket of a key, if it has enough of them.

The limit is the one that the service has for the key. Where it has none, or
lets requests bring their own, --rate and --interval are the limit: that many
tokens per interval, and up to --burst of them at once.

Several keys are asked about one after the other, each on its own.

` + exitHelp,
		Example: `  ratelimit check user_123
  ratelimit check user_123 --rate 5 --interval 1s
  ratelimit check user_123 --rate 5 --interval 1s --burst 20 --cost 3
  ratelimit check user_123 --json
  ratelimit check "$(ratelimit key user 'ann smith')"

  # run something at most three times an hour
  ratelimit check backup --rate 3 --interval 1h && ./backup.sh

  # wait for a turn, and give up when nobody answers
  until ratelimit check feed --rate 1 --interval 10s; do [ $? -eq 1 ] || break; sleep 1; done`,
		RunE: func(cmd *cobra.Command, keys []string) error {
			return p.ask(cmd, "", keys, &q, (*client.Client).Check)
		},
	}
	q.limitFlags(cmd)
	q.costFlag(cmd, "tokens to take; 0 only looks")
	return p.asking(cmd)
}
