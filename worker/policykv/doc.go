// Package policykv keeps the policies of a fleet in one key of a NATS KV
// bucket: whoever may write there changes all workers within a second, and the
// history of the bucket is the way back.
//
// A worker follows the key:
//
//	nc, err := nats.Connect(url, nats.CustomInboxPrefix(policykv.InboxPrefix))
//	js, err := jetstream.New(nc)
//	book := policy.NewBook()
//	go policykv.Watch(ctx, js, policykv.DefaultBucket, book, log) // wait for it
//
// Each version is put in force as a whole or not at all. A version with errors,
// a deleted key, a bucket that is gone and a server that is away leave the
// policies in force as they were; the log and the status of the book say so,
// and Watch goes on trying. The revision in that status is the one of the key.
//
// A worker that starts, or comes back, while the newest version has errors takes
// the newest one without, so that it decides as those that were there all along.
//
// An operator changes the key, knowing which version it is that changes:
//
//	store, err := policykv.Open(ctx, js, policykv.DefaultBucket)
//	now, err := store.Get(ctx)
//	revision, err := store.Put(ctx, text, now.Revision) // ErrChanged if it is another one by now
//
// One document is one message, so it can be as long as the max_payload of the
// server lets it: 1 MB if nothing else was said, which is some 20,000 patterns.
// A server can allow up to 8 MB, as much as a document may have anyway; longer
// ones than the server takes are for a file at each worker.
package policykv

const (
	// DefaultBucket is the bucket that the documentation talks of.
	DefaultBucket = "ratelimit-policies"

	// Key is the key in it that holds the document.
	Key = "policies.yaml"

	// InboxPrefix is where the answers to one who follows the bucket should
	// come in. Inboxes of their own mean that a worker need not be allowed to
	// listen to the answers that callers get.
	InboxPrefix = "_INBOX_policies"

	// History is how many versions a bucket keeps that Create makes.
	History = 20
)
