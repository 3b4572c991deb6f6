package client_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/quotaworker/ratelimit/client"
)

// demo starts a NATS server and a worker for an example, and returns where
// they are and what ends them.
func demo() (url string, stop func()) {
	srv := newServer(server.Options{})
	worker, err := nats.Connect(srv.ClientURL())
	if err != nil {
		panic(err)
	}
	subscribe(worker, new(buckets).handle)
	return srv.ClientURL(), func() {
		worker.Close()
		stopServer(srv)
	}
}

func Example() {
	url, stop := demo() // nats://127.0.0.1:4222, with ratelimitd running
	defer stop()

	nc, err := nats.Connect(url, client.ConnectOptions()...)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer nc.Close()
	c, err := client.New(nc)
	if err != nil {
		fmt.Println(err)
		return
	}

	res, err := c.Check(context.Background(), client.KeyOf("user", "ann@example.com"), client.WithRate(5, time.Second))
	switch {
	case errors.Is(err, client.ErrUnavailable):
		fmt.Println("nobody decided; let it pass")
	case err != nil:
		fmt.Println("wrong use:", err)
	case res.Allowed:
		fmt.Println("allowed,", res.Remaining, "left")
	default:
		fmt.Println("denied, try again in", res.RetryAfter)
	}
	// Output:
	// allowed, 4 left
}

func ExampleClient_Check() {
	url, stop := demo()
	defer stop()
	nc, err := nats.Connect(url, client.ConnectOptions()...)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer nc.Close()
	c, err := client.New(nc)
	if err != nil {
		fmt.Println(err)
		return
	}

	for range 3 {
		res, err := c.Check(context.Background(), "user.42", client.WithRate(2, time.Minute))
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(res.Allowed, res.Remaining, res.RetryAfter)
	}
	// Output:
	// true 1 0s
	// true 0 0s
	// false 0 30s
}

func ExampleClient_Peek() {
	url, stop := demo()
	defer stop()
	nc, err := nats.Connect(url, client.ConnectOptions()...)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer nc.Close()
	c, err := client.New(nc)
	if err != nil {
		fmt.Println(err)
		return
	}

	res, err := c.Peek(context.Background(), "user.42", client.WithRate(5, time.Second), client.WithBurst(20))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(res.Remaining, "of", res.Limit, "left; an empty bucket fills in", res.Window)
	// Output:
	// 20 of 20 left; an empty bucket fills in 4s
}

func ExampleClient_Refund() {
	url, stop := demo()
	defer stop()
	nc, err := nats.Connect(url, client.ConnectOptions()...)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer nc.Close()
	c, err := client.New(nc)
	if err != nil {
		fmt.Println(err)
		return
	}

	// An upload is charged by its size; when it fails, give the tokens back.
	ctx, limit := context.Background(), client.WithRate(100, time.Minute)
	res, err := c.Check(ctx, "user.42", limit, client.WithCost(30))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("left after the check:", res.Remaining)
	res, err = c.Refund(ctx, "user.42", limit, client.WithCost(30))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("left after the refund:", res.Remaining)
	// Output:
	// left after the check: 70
	// left after the refund: 100
}

func ExampleClient_Reset() {
	url, stop := demo()
	defer stop()
	nc, err := nats.Connect(url, client.ConnectOptions()...)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer nc.Close()
	c, err := client.New(nc)
	if err != nil {
		fmt.Println(err)
		return
	}

	res, err := c.Reset(context.Background(), "user.42", client.WithRate(5, time.Second))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(res.Remaining, "of", res.Limit)
	// Output:
	// 5 of 5
}

func ExampleClient_CheckEach() {
	url, stop := demo()
	defer stop()
	nc, err := nats.Connect(url, client.ConnectOptions()...)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer nc.Close()
	c, err := client.New(nc, client.WithPrefix("acme"))
	if err != nil {
		fmt.Println(err)
		return
	}

	outcomes, err := c.CheckEach(context.Background(), []client.Item{
		{Key: client.KeyOf("user", "42"), Options: []client.CheckOption{client.WithRate(5, time.Second)}},
		{Key: client.KeyOf("ip", "10.0.0.1"), Options: []client.CheckOption{client.WithRate(100, time.Second)}},
		{Key: client.KeyOf("export"), Options: []client.CheckOption{client.WithRate(5, time.Hour), client.WithCost(6)}},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, o := range outcomes {
		if o.Err != nil {
			fmt.Println(o.Err)
			continue
		}
		fmt.Println(o.Key, o.Allowed, o.Remaining)
	}
	// Output:
	// acme.user.42 true 4
	// acme.ip.10%2E0%2E0%2E1 true 99
	// ratelimit: check "acme.export": cost_exceeds_burst: cost 6 is more than the burst of 5
}

func ExampleClient_Wait() {
	url, stop := demo()
	defer stop()
	nc, err := nats.Connect(url, client.ConnectOptions()...)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer nc.Close()
	c, err := client.New(nc)
	if err != nil {
		fmt.Println(err)
		return
	}

	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for range 2 {
		_, err := c.Wait(ctx, "mail.out", client.WithRate(1, time.Minute))
		switch {
		case errors.Is(err, client.ErrPastDeadline):
			fmt.Println("not within 10 seconds; said at once")
		case err != nil:
			fmt.Println(err)
		default:
			fmt.Println("send it")
		}
	}
	// Output:
	// send it
	// not within 10 seconds; said at once
}

func ExampleClient_Lease() {
	url, stop := demo()
	defer stop()
	nc, err := nats.Connect(url, client.ConnectOptions()...)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer nc.Close()
	c, err := client.New(nc)
	if err != nil {
		fmt.Println(err)
		return
	}

	ctx := context.Background()
	lease, err := c.Lease(ctx, "api.search", client.WithRate(1000, time.Hour), client.WithMaxHeld(100))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer lease.Close(ctx)
	passed := 0
	for range 1500 {
		taken, err := lease.Take(ctx, 1)
		if err != nil {
			fmt.Println(err)
			return
		}
		if taken.Allowed {
			passed++
		}
	}
	fmt.Println(passed, "of 1500 passed,", lease.Held(), "are held")
	// Output:
	// 1000 of 1500 passed, 0 are held
}

func ExampleKeyOf() {
	fmt.Println(client.KeyOf("user", "ann@example.com"))
	fmt.Println(client.KeyOf("ip", "2001:db8::1"))
	fmt.Println(client.KeyOf("a.b", "c") == client.KeyOf("a", "b.c"))
	// Output:
	// user.ann@example%2Ecom
	// ip.2001:db8::1
	// false
}
