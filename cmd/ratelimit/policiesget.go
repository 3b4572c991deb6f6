package main

import (
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/quotaworker/ratelimit/worker/policykv"
)

func (p *program) policiesGetCommand(o *policies) *cobra.Command {
	return &cobra.Command{
		Use:   "get [REVISION]",
		Short: "Print the policies",
		Long: `Print the newest revision of the policies, or an older one, as it was put. With
--json the revision and when it was put stand beside it.`,
		Example: `  ratelimit policies get > policies.yaml
  ratelimit policies get 17`,
		Args: between(0, 1, "get [REVISION]"),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := p.openBucket(cmd.Context(), o, false)
			if err != nil {
				return err
			}
			defer s.close()
			var v policykv.Version
			if len(args) == 0 {
				v, err = s.get()
			} else {
				v, err = p.revision(s, args[0])
			}
			if err != nil {
				return p.asFailure(err)
			}
			if p.json {
				return p.printJSON(map[string]any{"revision": v.Revision, "created": v.Created.UTC().Format(time.RFC3339), "text": string(v.Text)})
			}
			_, err = p.stdout.Write(v.Text)
			return err
		},
	}
}

// revision finds a version by what it is called on the command line.
func (p *program) revision(s *bucketStore, name string) (policykv.Version, error) {
	n, err := strconv.ParseUint(name, 10, 64)
	if err != nil {
		return policykv.Version{}, wrongUse("%q is not a revision, which is a number; see: ratelimit policies history", name)
	}
	all, err := s.history()
	if err != nil {
		return policykv.Version{}, err
	}
	for _, v := range all {
		if v.Revision == n && !v.Deleted {
			return v, nil
		}
	}
	return policykv.Version{}, wrongUse("there is no revision %d of the policies, or no longer; see: ratelimit policies history", n)
}

// asFailure leaves a sentence of this program as it is, and explains what
// else a bucket came up with.
func (p *program) asFailure(err error) error {
	if f, ok := err.(*failure); ok {
		return f
	}
	return p.bucketFailure(err)
}
