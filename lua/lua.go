// Package lua holds the scripts that run inside Redis.
//
// A script is constant text: what varies goes in as arguments. So Redis keeps
// one copy of it, addressed by its SHA-1, and workers of several versions can
// run side by side, each with its own script over the same buckets. For that
// the format of the buckets may only be added to.
package lua

import _ "embed"

// Take decides a batch of checks. Its first lines say what goes in and what
// comes out; limiter.Decide is its twin in Go.
//
//go:embed take.lua
var Take string
