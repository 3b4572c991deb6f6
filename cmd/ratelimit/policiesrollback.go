package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/quotaworker/ratelimit/limiter/policy"
	"github.com/quotaworker/ratelimit/worker/policykv"
)

func (p *program) policiesRollbackCommand(o *policies) *cobra.Command {
	return &cobra.Command{
		Use:   "rollback [REVISION]",
		Short: "Put an older revision again",
		Long: `Put an older revision again, which makes a new one. Without a revision it is the
newest one before the present that has no errors, so that a second rollback
undoes the first.`,
		Example: `  ratelimit policies rollback
  ratelimit policies rollback 17`,
		Args: between(0, 1, "rollback [REVISION]"),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := p.openBucket(cmd.Context(), o, false)
			if err != nil {
				return err
			}
			defer s.close()
			now, from, err := p.inForce(s)
			if err != nil {
				return err
			}
			var to policykv.Version
			if len(args) == 1 {
				to, err = p.revision(s, args[0])
			} else {
				to, err = p.before(s, now)
			}
			if err != nil {
				return p.asFailure(err)
			}
			set, err := policy.Parse(fmt.Sprintf("revision %d", to.Revision), to.Text)
			if err != nil {
				return wrongUse("revision %d cannot be used:\n%s", to.Revision, err)
			}
			return p.write(s, now, from, to.Text, set)
		},
	}
}

// before returns the newest version without errors that says something else
// than the present one.
func (p *program) before(s *bucketStore, now policykv.Version) (policykv.Version, error) {
	all, err := s.history()
	if err != nil {
		return policykv.Version{}, err
	}
	for _, v := range all {
		if v.Deleted || v.Revision >= now.Revision || string(v.Text) == string(now.Text) {
			continue
		}
		if _, err := policy.Parse("", v.Text); err == nil {
			return v, nil
		}
	}
	return policykv.Version{}, wrongUse("there is nothing to go back to; see: ratelimit policies history")
}
