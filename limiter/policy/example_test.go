package policy_test

import (
	"fmt"

	"github.com/quotaworker/ratelimit/limiter/policy"
)

func Example() {
	book := policy.NewBook()
	err := book.Load("policies.yaml", []byte(`
plans:
  free: 10/s burst 20
  pro: 100/s
policies:
  - match: user.*
    plan: free
overrides:
  - match: user.42
    plan: pro
`), "1")
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, key := range []string{"user.1", "user.42", "ip.1"} {
		m := book.Set().Match(key)
		if m.Policy == nil {
			fmt.Println(key, "has no policy")
			continue
		}
		for _, l := range m.Allowance().Limits {
			fmt.Println(key, "takes", l.Cost, "from", m.Bucket, "under", l)
		}
	}
	// Output:
	// user.1 takes 1 from user.1 under default: 10/s burst 20
	// user.42 takes 1 from user.42 under default: 100/s
	// ip.1 has no policy
}

func ExampleParse() {
	_, err := policy.Parse("policies.yaml", []byte(`policies:
  - match: user.*
    limits:
      second: {rate: 0, interval: 1s}
    on_outage: open
`))
	fmt.Println(err)
	// Output:
	// policies.yaml:4:22: rate: must be a whole number between 1 and 9007199254740992, and this is "0"
	//    4 |       second: {rate: 0, interval: 1s}
	//      |                      ^
	// policies.yaml:5:16: on_outage: must be memory, allow or deny, and this is "open"
	//    5 |     on_outage: open
	//      |                ^
}
