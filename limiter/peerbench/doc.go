// Package peerbench puts the rate limiters that a Go program could use instead
// of this one next to it: the same keys, the same limit, the same Redis, in
// rounds that take turns. README.md has the figures and what to make of them.
//
// It is a module of its own, so that the libraries it compares with are nobody
// else's requirements.
//
// A [Peer] is one way to ask. Nothing is measured that has not been seen to
// limit: TestPeers asks each of them about distinct keys and counts, and the
// benchmark counts what each of them lets through while it is measured.
package peerbench
