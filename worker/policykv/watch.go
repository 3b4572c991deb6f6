package policykv

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/quotaworker/ratelimit/limiter/policy"
)

const (
	// minRetry and maxRetry bound how long to wait before looking again for a
	// bucket that is not there. It is less than a second, in which a change
	// has to arrive, the first one too.
	minRetry = 50 * time.Millisecond
	maxRetry = 800 * time.Millisecond

	// audit is how often to ask for the version that the key has, because a
	// watch can be lost without a word, as when its bucket is deleted.
	audit = 5 * time.Second

	// askTimeout bounds one question to the server.
	askTimeout = 5 * time.Second
)

// errLost ends a watch that has to be begun anew.
var errLost = errors.New("the watch was lost")

// Watch keeps a Book up to date with the bucket until ctx is done, and then
// returns. Whatever is wrong with the bucket or its content leaves the
// policies in force, is logged once, is in the status of the book, and does
// not end it. A connection that is closed does.
func Watch(ctx context.Context, js jetstream.JetStream, bucket string, book *policy.Book, log *slog.Logger) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	nc := js.Conn()
	connected := nc.StatusChanged(nats.CONNECTED, nats.CLOSED)
	defer nc.RemoveStatusListener(connected)
	f := &follower{js: js, bucket: bucket, book: book, log: log.With("bucket", bucket, "key", Key), connected: connected}
	wait := minRetry
	for {
		began := time.Now()
		err := f.follow(ctx)
		if ctx.Err() != nil || nc.IsClosed() {
			return
		}
		if time.Since(began) > maxRetry {
			wait = minRetry
		}
		if !errors.Is(err, errLost) {
			f.trouble(err)
		}
		select {
		case <-ctx.Done():
			return
		case <-connected:
			wait = minRetry
		case <-time.After(wait/2 + rand.N(wait/2)):
			wait = min(2*wait, maxRetry)
		}
	}
}

// follower is one run of Watch. It belongs to one goroutine.
type follower struct {
	js        jetstream.JetStream
	bucket    string
	book      *policy.Book
	log       *slog.Logger
	connected chan nats.Status

	kv jetstream.KeyValue

	// seen is the revision that was looked at last, good or bad, and made when
	// it was: the revisions of a bucket that is made anew begin at 1 again.
	seen uint64
	made time.Time

	// inForce is the revision of this bucket that is in force, 0 for none.
	inForce uint64

	// last is the trouble that was reported last, empty if all is well.
	last string
}

// follow applies what the key holds and each change of it, until something is
// wrong.
func (f *follower) follow(ctx context.Context) error {
	// Also ends the watch that nats.go keeps going in the background.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ask, done := context.WithTimeout(ctx, askTimeout)
	defer done()
	var err error
	if f.kv, err = f.js.KeyValue(ask, f.bucket); err != nil {
		return f.explain(err)
	}
	w, err := f.kv.Watch(ctx, Key)
	if err != nil {
		return f.explain(err)
	}
	defer func() { _ = w.Stop() }() // its consumer may be gone already
	tick := time.NewTicker(audit)
	defer tick.Stop()
	found := false
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-f.connected:
			// Of a server that was away nobody knows what it remembers.
			return errLost
		case entry, ok := <-w.Updates():
			switch {
			case !ok:
				return errLost
			case entry != nil:
				found = true
				if err := f.apply(ctx, entry); err != nil {
					return err
				}
			case !found:
				f.seen, f.inForce = 0, 0
				f.trouble(fmt.Errorf("the bucket %s has no key %s yet; put one there with: ratelimit policies put FILE", f.bucket, Key))
			}
		case <-tick.C:
			if err := f.audit(ctx); err != nil {
				return err
			}
		}
	}
}

// audit looks whether the key has another version than was seen.
func (f *follower) audit(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	entry, err := f.kv.Get(ctx, Key)
	switch {
	case errors.Is(err, jetstream.ErrKeyNotFound): // or deleted, which the watch tells
		return nil
	case err != nil:
		return f.explain(err)
	case !f.isSeen(entry):
		return errLost
	}
	return nil
}

func (f *follower) isSeen(entry jetstream.KeyValueEntry) bool {
	return entry.Revision() == f.seen && entry.Created().Equal(f.made)
}

// apply puts a version in force, if it is one and has no errors. The error is
// one of the bucket.
func (f *follower) apply(ctx context.Context, entry jetstream.KeyValueEntry) error {
	if f.isSeen(entry) && f.last == "" {
		return nil // of a watch that was begun anew
	}
	missed := entry.Revision() != f.seen+1
	if entry.Revision() <= f.seen && !f.isSeen(entry) {
		f.inForce = 0 // what is in force is from a bucket that is no more
	}
	f.seen, f.made = entry.Revision(), entry.Created()
	var why error
	if entry.Operation() != jetstream.KeyValuePut {
		why = fmt.Errorf("the key %s of the bucket %s was deleted; to have no policies, put a document that says policies: []", Key, f.bucket)
	} else if set, err := policy.Parse(Key, entry.Value()); err != nil {
		why = fmt.Errorf("revision %d: %w", f.seen, err)
	} else {
		f.accept(set, f.seen)
		f.last = ""
		return nil
	}
	// Of those that were missed one may be in force elsewhere.
	var err error
	if missed {
		err = f.goBack(ctx)
	}
	f.trouble(why)
	return err
}

func (f *follower) accept(set *policy.Set, revision uint64) {
	before := f.book.Set()
	f.book.Replace(set, strconv.FormatUint(revision, 10))
	f.inForce = revision
	f.log.Info("policies in force", "revision", revision, "policies", set.Len(), "changes", len(policy.Diff(before, set)))
}

// goBack puts the newest version before the one that was seen in force that
// has no errors, unless it is. It fetches one after the other, because all of
// them at once can be too much to arrive in time.
func (f *follower) goBack(ctx context.Context) error {
	for back := uint64(1); back <= jetstream.KeyValueMaxHistory && back < f.seen; back++ {
		revision := f.seen - back
		if revision == f.inForce {
			return nil
		}
		entry, err := f.version(ctx, revision)
		if errors.Is(err, jetstream.ErrKeyNotFound) {
			continue // a deletion, another key, or too long ago
		}
		if err != nil {
			return f.explain(err)
		}
		if set, err := policy.Parse(Key, entry.Value()); err == nil {
			f.accept(set, revision)
			return nil
		}
	}
	return nil
}

func (f *follower) version(ctx context.Context, revision uint64) (jetstream.KeyValueEntry, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	return f.kv.GetRevision(ctx, Key, revision)
}

// trouble reports, once, that the policies could not be changed.
func (f *follower) trouble(err error) {
	if err == nil || err.Error() == f.last {
		return
	}
	f.last = err.Error()
	f.book.Fail(err)
	f.log.Error("the policies were not changed, and those in force stay", "error", err)
}

// explain says what to do about an error of JetStream.
func (f *follower) explain(err error) error {
	return explain(err, f.bucket)
}
