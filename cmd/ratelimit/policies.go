package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/spf13/cobra"

	"github.com/quotaworker/ratelimit/limiter/policy"
	"github.com/quotaworker/ratelimit/worker/policykv"
)

// policies holds the flags of the commands about policies.
type policies struct {
	bucket string
}

func (p *program) policiesCommand() *cobra.Command {
	var o policies
	cmd := &cobra.Command{
		Use:   "policies",
		Short: "Say who may do how much, and change it live",
		Long: `Policies say who may do how much: a pattern of keys, and the limits for them.
They are one YAML file, and all workers that run with RATELIMIT_POLICIES_KV have
them from one NATS KV bucket, where a change takes effect within a second.

Start with a file, policies.yaml:

  policies:
    - match: user.*
      limits: 10/s burst 20

Then look before you leap:

  ratelimit policies check policies.yaml                  # is it right?
  ratelimit policies explain user.42 --file policies.yaml # what would it do to this key?
  ratelimit policies diff policies.yaml                   # what would change?
  ratelimit policies put policies.yaml                    # change it, everywhere

And if it was a mistake:

  ratelimit policies history
  ratelimit policies rollback

A version with errors never gets there this way, and if one does in another way
the workers go on with the last good one.

Exit codes:
  0  done
  2  wrong use, or a file with errors
  3  no answer: no server, or none in time
`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				cmd.SetOut(cmd.ErrOrStderr())
				if err := cmd.Help(); err != nil {
					return err
				}
				return wrongUse("say what to do, as in: ratelimit policies check policies.yaml")
			}
			return wrongUse("policies has no command %q; see: ratelimit policies --help", args[0])
		},
	}
	cmd.PersistentFlags().StringVar(&o.bucket, "bucket", "", "NATS KV bucket with the policies ($RATELIMIT_POLICIES_KV, else "+policykv.DefaultBucket+")")
	cmd.PersistentFlags().BoolVar(&p.json, "json", false, "print everything, and an error too, as JSON on stdout")
	cmd.AddCommand(
		p.policiesCheckCommand(),
		p.policiesExplainCommand(&o),
		p.policiesDiffCommand(&o),
		p.policiesPutCommand(&o),
		p.policiesGetCommand(&o),
		p.policiesHistoryCommand(&o),
		p.policiesRollbackCommand(&o),
	)
	return cmd
}

// between refuses a command line with fewer or more arguments.
func between(least, most int, want string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) < least || len(args) > most {
			return wrongUse("that is not how it goes; write: ratelimit policies %s", want)
		}
		return nil
	}
}

// readPolicies reads a file, or stdin for -, and what it says. An error of
// the document names where it is.
func (p *program) readPolicies(path string) ([]byte, *policy.Set, error) {
	in := p.stdin
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return nil, nil, wrongUse("%s; name the file with the policies", cause(err))
		}
		defer f.Close()
		in = f
	}
	// One byte more than is allowed is for Parse to complain about.
	text, err := io.ReadAll(io.LimitReader(in, policy.MaxSize+1))
	if err != nil {
		return nil, nil, wrongUse("%s cannot be read: %s", path, cause(err))
	}
	name := path
	if path == "-" {
		name = "stdin"
	}
	set, err := policy.Parse(name, text)
	if err != nil {
		return nil, nil, wrongUse("%s cannot be used:\n%s", name, err)
	}
	return text, set, nil
}

// bucketStore is the bucket with the policies, and the connection to it. Each
// of its methods waits for one answer at most as long as the timeout.
type bucketStore struct {
	store   *policykv.Store
	bucket  string
	nc      *nats.Conn
	ctx     context.Context // of the command
	timeout time.Duration
}

func (s *bucketStore) get() (policykv.Version, error) {
	ctx, cancel := context.WithTimeout(s.ctx, s.timeout)
	defer cancel()
	return s.store.Get(ctx)
}

func (s *bucketStore) put(text []byte, expected uint64) (uint64, error) {
	ctx, cancel := context.WithTimeout(s.ctx, s.timeout)
	defer cancel()
	return s.store.Put(ctx, text, expected)
}

func (s *bucketStore) history() ([]policykv.Version, error) {
	ctx, cancel := context.WithTimeout(s.ctx, s.timeout)
	defer cancel()
	return s.store.History(ctx)
}

// openBucket connects. With create it makes the bucket if there is none.
func (p *program) openBucket(ctx context.Context, o *policies, create bool) (*bucketStore, error) {
	bucket := p.conn.pick("--bucket", o.bucket, "RATELIMIT_POLICIES_KV").value
	if bucket == "" {
		bucket = policykv.DefaultBucket
	}
	nc, err := p.conn.dial()
	if err != nil {
		return nil, err
	}
	s := &bucketStore{bucket: bucket, nc: nc, ctx: ctx, timeout: p.conn.timeout}
	ask, cancel := context.WithTimeout(ctx, p.conn.timeout)
	defer cancel()
	js, err := jetstream.New(nc)
	if err == nil {
		s.store, err = policykv.Open(ask, js, bucket)
	}
	if create && errors.Is(err, policykv.ErrNoBucket) {
		missing := err
		if s.store, err = policykv.Create(ask, js, bucket); err != nil && !errors.Is(err, policykv.ErrNoJetStream) {
			err = fmt.Errorf("%w (it could not be made: %s)", missing, cause(err))
		}
	}
	if err != nil {
		s.close()
		return nil, p.bucketFailure(err)
	}
	return s, nil
}

func (s *bucketStore) close() { s.nc.Close() }

// bucketFailure splits what is wrong with a bucket into what has to be changed
// and what may work later.
func (p *program) bucketFailure(err error) error {
	for _, wrong := range []error{policykv.ErrNoBucket, policykv.ErrNone, policykv.ErrChanged, policykv.ErrTooLong} {
		if errors.Is(err, wrong) {
			return wrongUse("%s", err)
		}
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return noAnswer("no answer about the policies within %s from %s; may you use JetStream there? Long policies may need a longer --timeout", p.conn.timeout, p.conn.where)
	}
	return noAnswer("%s; asked %s", err, p.conn.where)
}

// inForce returns the newest version in the bucket, and the policies that the
// workers go by: those of that version or, if it has errors or is a deletion,
// of the newest one before it. That there is none is not an error: it has no
// policies, and the revision that Put wants.
func (p *program) inForce(s *bucketStore) (policykv.Version, *policy.Set, error) {
	v, err := s.get()
	switch {
	case err == nil:
		if set, err := policy.Parse(policykv.Key, v.Text); err == nil {
			return v, set, nil
		}
	case !errors.Is(err, policykv.ErrNone):
		return v, nil, p.bucketFailure(err)
	case v.Revision == 0:
		return v, nil, nil
	}
	all, err := s.history()
	if err != nil {
		return v, nil, p.bucketFailure(err)
	}
	for _, older := range all {
		if older.Deleted || older.Revision >= v.Revision {
			continue
		}
		if set, err := policy.Parse(policykv.Key, older.Text); err == nil {
			return v, set, nil
		}
	}
	return v, nil, nil
}

// write puts a version over another and says what that changes.
func (p *program) write(s *bucketStore, over policykv.Version, from *policy.Set, text []byte, to *policy.Set) error {
	changes := policy.Diff(from, to)
	if over.Text != nil && string(over.Text) == string(text) {
		if !p.json {
			fmt.Fprintf(p.stdout, "nothing to change: revision %d is the same\n", over.Revision)
			return nil
		}
		return p.printJSON(map[string]any{"revision": over.Revision, "changes": changesJSON(nil)})
	}
	revision, err := s.put(text, over.Revision)
	if err != nil {
		return p.bucketFailure(err)
	}
	if p.json {
		return p.printJSON(map[string]any{"revision": revision, "changes": changesJSON(changes)})
	}
	p.printChanges(changes)
	fmt.Fprintf(p.stdout, "put: revision %d of %s\n", revision, s.bucket)
	return nil
}

func (p *program) printChanges(changes []policy.Change) {
	for _, c := range changes {
		fmt.Fprintln(p.stdout, c)
	}
	if len(changes) == 0 {
		fmt.Fprintln(p.stdout, "no policy changes")
	}
}

type changeJSON struct {
	Kind    policy.ChangeKind `json:"kind"`
	What    string            `json:"what"`
	Details []string          `json:"details"`
}

func changesJSON(changes []policy.Change) []changeJSON {
	all := make([]changeJSON, 0, len(changes))
	for _, c := range changes {
		all = append(all, changeJSON{c.Kind, c.What, append([]string{}, c.Details...)})
	}
	return all
}

// printJSON prints a value as one line.
func (p *program) printJSON(v any) error {
	enc := json.NewEncoder(p.stdout)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}
