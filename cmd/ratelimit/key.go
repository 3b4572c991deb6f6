package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/quotaworker/ratelimit/client"
	"github.com/quotaworker/ratelimit/client/wire"
)

func (p *program) keyCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "key TOKEN...",
		Short: "Write any text as a key",
		Long: `Write any text as a key, which goes wherever a key does: behind a verb, and
behind ratelimit.check. in a NATS subject.

A key is tokens with dots between them. Each argument becomes one token: what
cannot stand in a token is written %XX, a dot too. Different arguments make
different keys. No service is asked.`,
		Example: `  ratelimit key user 'ann smith'                  # user.ann%20smith
  ratelimit key addr 10.0.0.1                     # addr.10%2E0%2E0%2E1
  ratelimit check "$(ratelimit key user "$NAME")"
  nats req "ratelimit.check.$(ratelimit key user "$NAME")" ''`,
		Args: atLeastOne("a text", "ratelimit key user 'ann smith'"),
		RunE: func(_ *cobra.Command, tokens []string) error {
			for i, t := range tokens {
				if t == "" {
					return wrongUse("argument %d is empty; every token needs a text, because a missing name should not be a key that many share", i+1)
				}
			}
			key := client.KeyOf(tokens...)
			if err := wire.CheckKey(key); err != nil {
				return err
			}
			fmt.Fprintln(p.stdout, key)
			return nil
		},
	}
}
