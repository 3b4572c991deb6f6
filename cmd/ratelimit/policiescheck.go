package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/quotaworker/ratelimit/client/wire"
	"github.com/quotaworker/ratelimit/limiter/policy"
)

func (p *program) policiesCheckCommand() *cobra.Command {
	var strict bool
	var tokens int
	cmd := &cobra.Command{
		Use:   "check FILE",
		Short: "Look for mistakes in a file, and ask nobody",
		Long: `Look for mistakes in a file with policies; - is stdin. All errors are shown at
once, each with its line and a mark under the place. Warnings are about what
works, but hardly as it was meant: a policy that never applies, a limit that
another one makes pointless, a plan that nobody has. No server is asked, so it
fits into a commit hook or a pipeline.

Exit codes:
  0  no errors
  2  errors, or warnings with --strict
`,
		Example: `  ratelimit policies check policies.yaml
  ratelimit policies check policies.yaml --strict
  ratelimit policies check policies.yaml --hash-tag-tokens 2   # for a Redis Cluster`,
		Args: between(1, 1, "check FILE"),
		RunE: func(_ *cobra.Command, args []string) error {
			if tokens < 0 || tokens > wire.MaxKeyTokens {
				return wrongUse("--hash-tag-tokens is %d and must be between 0 and %d, which is how many tokens a key can have", tokens, wire.MaxKeyTokens)
			}
			_, set, err := p.readPolicies(args[0])
			if err != nil {
				return err
			}
			warnings := policy.Lint(set, tokens)
			if strict && len(warnings) > 0 {
				p.exit = exitWrongUse
			}
			if p.json {
				type warning struct {
					Line    int    `json:"line"`
					Message string `json:"message"`
				}
				list := make([]warning, 0, len(warnings))
				for _, w := range warnings {
					list = append(list, warning{w.Line, w.Message})
				}
				return p.printJSON(map[string]any{"policies": set.Len(), "warnings": list})
			}
			for _, w := range warnings {
				fmt.Fprintf(p.stdout, "warning: %s\n", w)
			}
			fmt.Fprintf(p.stdout, "policies: %d, errors: 0, warnings: %d\n", set.Len(), len(warnings))
			return nil
		},
	}
	cmd.Flags().BoolVar(&strict, "strict", false, "warnings fail, too")
	cmd.Flags().IntVar(&tokens, "hash-tag-tokens", 0, "also look at Redis Cluster, where so many tokens of a key choose its slot: the RATELIMIT_HASH_TAG_TOKENS of the workers")
	return cmd
}
