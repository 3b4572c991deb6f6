package main

import (
	"github.com/spf13/cobra"

	"github.com/quotaworker/ratelimit/limiter/policy"
)

func (p *program) policiesDiffCommand(o *policies) *cobra.Command {
	return &cobra.Command{
		Use:   "diff FILE [FILE2]",
		Short: "Say what would change",
		Long: `Say what putting a file would change; with two files, what differs between
them. It compares what the policies say, not how they are written: comments and
the order make no difference. + is new, - is removed, ~ is changed.`,
		Example: `  ratelimit policies diff policies.yaml
  ratelimit policies diff old.yaml new.yaml`,
		Args: between(1, 2, "diff FILE [FILE2]"),
		RunE: func(cmd *cobra.Command, args []string) error {
			_, from, err := p.readPolicies(args[0])
			if err != nil {
				return err
			}
			to := from
			if len(args) == 2 {
				if _, to, err = p.readPolicies(args[1]); err != nil {
					return err
				}
			} else {
				s, err := p.openBucket(cmd.Context(), o, false)
				if err != nil {
					return err
				}
				defer s.close()
				if _, from, err = p.inForce(s); err != nil {
					return err
				}
			}
			changes := policy.Diff(from, to)
			if p.json {
				return p.printJSON(changesJSON(changes))
			}
			p.printChanges(changes)
			return nil
		},
	}
}
