// Package lua holds the script that runs inside Redis.
//
// The script is constant text: what varies goes in as arguments. So Redis
// keeps one copy of it, addressed by its SHA-1, and workers of several
// versions can run side by side, each with its own script over the same
// buckets. For that the format of the buckets may only be added to.
package lua

import (
	_ "embed"
	"strings"
)

var (
	//go:embed take.lua
	driver string
	//go:embed token_bucket.lua
	tokenBucket string
	//go:embed leaky_bucket.lua
	leakyBucket string
	//go:embed sliding_window.lua
	slidingWindow string
	//go:embed fixed_window.lua
	fixedWindow string
)

// Take is the script that decides a batch of checks. The first lines of
// take.lua say what goes in and what comes out; limiter.Decide is its twin in
// Go.
var Take = assemble(
	step{"token_bucket", tokenBucket},
	step{"leaky_bucket", leakyBucket},
	step{"sliding_window", slidingWindow},
	step{"fixed_window", fixedWindow},
)

// step is the file of an algorithm.
type step struct{ name, text string }

// assemble puts the files together: what they share, each step as a function
// that returns its table, and the driver.
func assemble(steps ...step) string {
	var s strings.Builder
	s.WriteString(shared)
	for _, step := range steps {
		s.WriteString("algorithms." + step.name + " = (function()\n" + step.text + "end)()\n")
	}
	s.WriteString(driver)
	return s.String()
}

// shared is what the files have in common: division of integers that stays
// exact, and names that are quick to reach.
const shared = `
local tonumber, fmod = tonumber, math.fmod
local format, match, find = string.format, string.match, string.find
local function floor(a, b) return (a - fmod(a, b)) / b end
local function ceil(a, b)
  local rest = fmod(a, b)
  if rest > 0 then return (a - rest) / b + 1 end
  return a / b
end
local algorithms = {}
`
