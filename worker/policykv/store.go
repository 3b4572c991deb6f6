package policykv

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Errors of a Store. They are wrapped in sentences that say what to do.
var (
	// ErrNoBucket: there is no such bucket.
	ErrNoBucket = errors.New("there is no such bucket")

	// ErrNoJetStream: the server has no JetStream, or not for this account.
	ErrNoJetStream = errors.New("the NATS server has no JetStream")

	// ErrNone: nobody has put policies there yet, or they were deleted.
	ErrNone = errors.New("there are no policies")

	// ErrChanged: somebody else has put policies in the meantime.
	ErrChanged = errors.New("the policies were changed by somebody else")

	// ErrTooLong: the document does not fit into a message, or the bucket.
	ErrTooLong = errors.New("the policies are too long")
)

// Version is one version of the policies.
type Version struct {
	// Revision names it. It grows with each change, not always by one.
	Revision uint64

	// Created is when it was put there.
	Created time.Time

	// Deleted reports whether it is not a document but its removal.
	Deleted bool

	// Text is the document.
	Text []byte
}

// Store reads and writes the policies in a bucket. It is safe for concurrent
// use.
type Store struct {
	nc *nats.Conn
	kv jetstream.KeyValue
}

// Open returns the policies in a bucket; the error can be ErrNoBucket.
func Open(ctx context.Context, js jetstream.JetStream, bucket string) (*Store, error) {
	kv, err := js.KeyValue(ctx, bucket)
	if err != nil {
		return nil, explain(err, bucket)
	}
	return &Store{js.Conn(), kv}, nil
}

// Create makes a bucket that keeps so many versions as History says, on one
// server.
func Create(ctx context.Context, js jetstream.JetStream, bucket string) (*Store, error) {
	kv, err := js.CreateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: bucket, History: History, Description: "policies of the rate limiter"})
	if err != nil {
		return nil, explain(err, bucket)
	}
	return &Store{js.Conn(), kv}, nil
}

// Get returns the newest version. The error is ErrNone if there is none, and
// then the revision is that of the deletion, or 0, as Put wants it.
func (s *Store) Get(ctx context.Context) (Version, error) {
	entry, err := s.kv.Get(ctx, Key)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		// A key that was deleted has a last version, too.
		all, err := s.History(ctx)
		if err != nil || len(all) == 0 {
			return Version{}, fmt.Errorf("%w in the bucket %s; put some there with: ratelimit policies put FILE", ErrNone, s.kv.Bucket())
		}
		return Version{Revision: all[0].Revision}, fmt.Errorf("%w in the bucket %s any more, they were deleted; bring them back with: ratelimit policies rollback", ErrNone, s.kv.Bucket())
	}
	if err != nil {
		return Version{}, explain(err, s.kv.Bucket())
	}
	return version(entry), nil
}

// Put writes a version if the newest one is still that of the expected
// revision, 0 standing for none, and returns its revision. The error is
// ErrChanged if it is not, and ErrTooLong if the text does not fit into a
// message. It does not look at the text.
func (s *Store) Put(ctx context.Context, text []byte, expected uint64) (uint64, error) {
	revision, err := s.kv.Update(ctx, Key, text, expected)
	var api *jetstream.APIError
	switch {
	case errors.As(err, &api) && api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence:
		return 0, fmt.Errorf("%w since you looked; look again with: ratelimit policies diff FILE", ErrChanged)
	case errors.Is(err, nats.ErrMaxPayload):
		return 0, tooLong(len(text), fmt.Sprintf("the NATS server takes messages of %d", s.nc.MaxPayload()), "raise max_payload of the server, up to 8MB")
	case errors.As(err, &api) && api.ErrorCode == messageExceedsMaximum:
		return 0, tooLong(len(text), "the bucket "+s.kv.Bucket()+" takes fewer", "raise its --max-value-size with: nats kv edit "+s.kv.Bucket())
	case err != nil:
		return 0, explain(err, s.kv.Bucket())
	}
	return revision, nil
}

// messageExceedsMaximum is what JetStream says about a value that is longer
// than its bucket allows.
const messageExceedsMaximum jetstream.ErrorCode = 10054

// tooLong says what to do about a document that does not fit.
func tooLong(size int, limit, raise string) error {
	return fmt.Errorf("%w: they have %d bytes and %s; put customers that differ only in their limits into plans, %s, or give each worker the file with RATELIMIT_POLICIES", ErrTooLong, size, limit, raise)
}

// History returns the versions that the bucket still has, the newest first. It
// fetches the texts one after the other, because a watch that brings many long
// ones stalls for seconds.
func (s *Store) History(ctx context.Context) ([]Version, error) {
	all, err := s.versions(ctx)
	if err != nil {
		return nil, explain(err, s.kv.Bucket())
	}
	slices.Reverse(all)
	for i := range all {
		if all[i].Deleted {
			continue
		}
		entry, err := s.kv.GetRevision(ctx, Key, all[i].Revision)
		if errors.Is(err, jetstream.ErrKeyNotFound) {
			return all[:i], nil // a new version has just pushed the oldest ones out
		}
		if err != nil {
			return nil, explain(err, s.kv.Bucket())
		}
		all[i].Text = entry.Value()
	}
	return all, nil
}

// versions returns all versions without their texts, the oldest first.
func (s *Store) versions(ctx context.Context) ([]Version, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w, err := s.kv.Watch(ctx, Key, jetstream.IncludeHistory(), jetstream.MetaOnly())
	if err != nil {
		return nil, err
	}
	defer func() { _ = w.Stop() }() // it has brought what it could
	var all []Version
	for {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case entry, ok := <-w.Updates():
			switch {
			case !ok:
				return nil, errLost
			case entry == nil:
				return all, nil
			}
			all = append(all, version(entry))
		}
	}
}

func version(e jetstream.KeyValueEntry) Version {
	return Version{Revision: e.Revision(), Created: e.Created(), Deleted: e.Operation() != jetstream.KeyValuePut, Text: e.Value()}
}

// explain says what to do about an error of JetStream.
func explain(err error, bucket string) error {
	switch {
	case errors.Is(err, jetstream.ErrBucketNotFound), errors.Is(err, jetstream.ErrStreamNotFound):
		return fmt.Errorf("%w as %s; make it with: nats kv add %s --history %d", ErrNoBucket, bucket, bucket, History)
	case errors.Is(err, jetstream.ErrJetStreamNotEnabled), errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount), errors.Is(err, nats.ErrNoResponders):
		return fmt.Errorf("%w, or it is not ready; turn it on, or use a file for the policies", ErrNoJetStream)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("the NATS server did not answer about the bucket %s in time; let this user do there what deploy/nats/nats.conf lets it, if it may not: %w", bucket, err)
	case errors.Is(err, jetstream.ErrInvalidBucketName):
		return fmt.Errorf("%q is no name of a bucket: it can have letters, digits, _ and -", bucket)
	}
	return fmt.Errorf("the bucket %s cannot be used: %w", bucket, err)
}
