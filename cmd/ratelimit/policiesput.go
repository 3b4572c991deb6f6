package main

import (
	"github.com/spf13/cobra"

	"github.com/quotaworker/ratelimit/worker/policykv"
)

func (p *program) policiesPutCommand(o *policies) *cobra.Command {
	var seen uint64
	cmd := &cobra.Command{
		Use:   "put FILE",
		Short: "Change the policies, on all workers within a second",
		Long: `Put a file with policies, - for stdin, into the bucket, and say what it changes.
A file with errors changes nothing. It is one message, so its length is bounded
by max_payload of the NATS server: 1 MB, some 20,000 patterns, if not changed.

Two operators do not overwrite each other: it fails if somebody else has put
policies in between. With --revision it also fails unless the newest revision is
the one that you have seen, as get and history show it.

The first put makes the bucket, which keeps 20 revisions on one server. To have
it on three, or if you may not make one, have it made:

  nats kv add ratelimit-policies --history 20 --replicas 3`,
		Example: `  ratelimit policies put policies.yaml
  ratelimit policies put policies.yaml --revision 17`,
		Args: between(1, 1, "put FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			text, to, err := p.readPolicies(args[0])
			if err != nil {
				return err
			}
			s, err := p.openBucket(cmd.Context(), o, true)
			if err != nil {
				return err
			}
			defer s.close()
			now, from, err := p.inForce(s)
			if err != nil {
				return err
			}
			if cmd.Flags().Changed("revision") && now.Revision != seen {
				return wrongUse("%s: the newest revision is %d and not %d; look at it with: ratelimit policies diff FILE", policykv.ErrChanged, now.Revision, seen)
			}
			return p.write(s, now, from, text, to)
		},
	}
	cmd.Flags().Uint64Var(&seen, "revision", 0, "revision that this is a change of; 0 for none")
	return cmd
}
