package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/quotaworker/ratelimit/limiter/policy"
)

func (p *program) policiesHistoryCommand(o *policies) *cobra.Command {
	return &cobra.Command{
		Use:     "history",
		Short:   "List the revisions, the newest first",
		Long:    `List the revisions that the bucket still has, the newest first, with what each is.`,
		Example: `  ratelimit policies history`,
		Args:    between(0, 0, "history"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := p.openBucket(cmd.Context(), o, false)
			if err != nil {
				return err
			}
			defer s.close()
			all, err := s.history()
			if err != nil {
				return p.bucketFailure(err)
			}
			type revision struct {
				Revision uint64 `json:"revision"`
				Created  string `json:"created"`
				What     string `json:"what"`
			}
			list := make([]revision, 0, len(all))
			for _, v := range all {
				r := revision{v.Revision, v.Created.UTC().Format(time.RFC3339), "deleted"}
				if !v.Deleted {
					if set, err := policy.Parse("", v.Text); err != nil {
						r.What = "has errors, and is in force nowhere"
					} else {
						r.What = fmt.Sprintf("policies: %d", set.Len())
					}
				}
				list = append(list, r)
			}
			if p.json {
				return p.printJSON(list)
			}
			for _, r := range list {
				fmt.Fprintf(p.stdout, "%6d  %s  %s\n", r.Revision, r.Created, r.What)
			}
			if len(list) == 0 {
				fmt.Fprintf(p.stdout, "nobody has put policies into %s yet\n", s.bucket)
			}
			return nil
		},
	}
}
