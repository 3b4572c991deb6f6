package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/quotaworker/ratelimit/client"
	"github.com/quotaworker/ratelimit/client/wire"
	"github.com/quotaworker/ratelimit/limiter/redisstore/redistest"
)

// answer is what every door says about a check with burst 5 at 1/s.
type answer struct {
	code      string // of an error
	allowed   bool
	remaining int64
	retry     int64 // ms
	reset     int64 // ms
}

// door asks through one way in.
type door func(t *testing.T, key string, cost int64) answer

// TestSameAnswersEverywhere follows one script through every door, on Redis
// and on memory.
func TestSameAnswersEverywhere(t *testing.T) {
	for store, environ := range map[string][]string{
		"memory": nil,
		"redis":  {"REDIS_URL=" + redistest.Start(t).URL()},
	} {
		d := start(t, roleAll, environ...)
		for name, ask := range doors(t, d) {
			t.Run(store+"/"+name, func(t *testing.T) {
				t.Parallel()
				semantics(t, store+"-"+name, ask)
			})
		}
	}
}

// semantics is the script. Time is real here, so that what depends on it has
// room below; limitertest checks the same to the microsecond.
func semantics(t *testing.T, key string, ask door) {
	if got := ask(t, key, 6); got.code != "cost_exceeds_burst" {
		t.Errorf("cost 6 of burst 5: got %+v, want the error cost_exceeds_burst", got)
	}
	// The bucket was first charged after first and before begin.
	first, begin := time.Now(), time.Time{}
	for i, step := range []struct {
		at   time.Duration
		want answer
	}{
		{0, answer{allowed: true, remaining: 4, reset: 1000}},
		{0, answer{allowed: true, remaining: 3, reset: 2000}},
		{0, answer{allowed: true, remaining: 2, reset: 3000}},
		{0, answer{allowed: true, remaining: 1, reset: 4000}},
		{0, answer{allowed: true, remaining: 0, reset: 5000}},
		{0, answer{allowed: false, remaining: 0, retry: 1000, reset: 5000}},
		{3 * time.Second, answer{allowed: true, remaining: 2, reset: 3000}},
		{3100 * time.Millisecond, answer{allowed: true, remaining: 1, reset: 3900}},
	} {
		if i > 0 {
			sleepUntil(t.Context(), begin.Add(step.at))
		}
		got := ask(t, key, 1)
		if i == 0 {
			begin = time.Now()
		}
		late := time.Since(first.Add(step.at)).Milliseconds() + 1 // at most so much more has refilled
		if late > 800 {
			t.Fatalf("step %d: the machine is too slow for this test: %d ms late", i, late)
		}
		if got.code != "" || got.allowed != step.want.allowed || got.remaining != step.want.remaining ||
			got.retry > step.want.retry || got.retry < step.want.retry-late ||
			got.reset > step.want.reset || got.reset < step.want.reset-late {
			t.Errorf("step %d at %s, up to %d ms late: got %+v, want %+v", i, step.at, late, got, step.want)
		}
	}
}

func doors(t *testing.T, d *Daemon) map[string]door {
	nc, err := nats.Connect(d.nats.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	c := dial(t, d.nats.ClientURL())
	cli := binary(t, "ratelimit")
	return map[string]door{
		"nats": func(t *testing.T, key string, cost int64) answer {
			body := fmt.Sprintf(`{"rate":1,"interval":"1s","burst":5,"cost":%d}`, cost)
			msg, err := nc.Request("ratelimit.check."+key, []byte(body), 5*time.Second)
			if err != nil {
				t.Fatal(err)
			}
			return parse(t, msg.Data)
		},
		"http": func(t *testing.T, key string, cost int64) answer {
			body := fmt.Sprintf(`{"key":%q,"rate":1,"interval":"1s","burst":5,"cost":%d}`, key, cost)
			resp, err := http.Post(d.httpURL+"/check", "application/json", bytes.NewReader([]byte(body)))
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			data, err := io.ReadAll(resp.Body)
			if err != nil {
				t.Fatal(err)
			}
			got := parse(t, data)
			want := http.StatusOK
			switch {
			case got.code != "":
				want = wire.Code(got.code).HTTPStatus()
			case !got.allowed:
				want = http.StatusTooManyRequests
				if ra := resp.Header.Get("Retry-After"); ra != "1" {
					t.Errorf("Retry-After is %q, want 1", ra)
				}
			}
			if resp.StatusCode != want {
				t.Errorf("status %d, want %d: %s", resp.StatusCode, want, data)
			}
			if got.code == "" {
				if h := resp.Header; h.Get("X-RateLimit-Limit") != "5" || h.Get("X-RateLimit-Remaining") != fmt.Sprint(got.remaining) ||
					h.Get("X-RateLimit-Reset") != fmt.Sprint((got.reset+999)/1000) {
					t.Errorf("headers %v do not fit %+v", h, got)
				}
			}
			return got
		},
		"client": func(t *testing.T, key string, cost int64) answer {
			res, err := c.Check(t.Context(), key, client.WithRate(1, time.Second), client.WithBurst(5), client.WithCost(cost))
			if err != nil {
				var e *client.Error
				if !errors.As(err, &e) {
					t.Fatal(err)
				}
				return answer{code: string(e.Code)}
			}
			return answer{"", res.Allowed, res.Remaining, res.RetryAfter.Milliseconds(), res.ResetAfter.Milliseconds()}
		},
		"cli": func(t *testing.T, key string, cost int64) answer {
			cmd := exec.CommandContext(t.Context(), cli, "check", key, "--rate", "1", "--interval", "1s", "--burst", "5", "--cost", fmt.Sprint(cost), "--json")
			cmd.Env = []string{"NATS_URL=" + d.nats.ClientURL(), "HOME=" + t.TempDir()}
			out, err := cmd.Output()
			if _, exited := err.(*exec.ExitError); err != nil && !exited {
				t.Fatal(err)
			}
			got := parse(t, out)
			want := 0
			switch {
			case got.code != "":
				want = 2
			case !got.allowed:
				want = 1
			}
			if code := cmd.ProcessState.ExitCode(); code != want {
				t.Errorf("exit code %d, want %d: %s", code, want, out)
			}
			return got
		},
	}
}

// parse reads a JSON answer, of whichever door.
func parse(t *testing.T, data []byte) answer {
	t.Helper()
	var a struct {
		Allowed      bool
		Remaining    int64
		RetryAfterMS int64 `json:"retry_after_ms"`
		ResetAfterMS int64 `json:"reset_after_ms"`
		Error        struct{ Code string }
	}
	if err := json.Unmarshal(data, &a); err != nil {
		t.Fatalf("%v: %s", err, data)
	}
	return answer{a.Error.Code, a.Allowed, a.Remaining, a.RetryAfterMS, a.ResetAfterMS}
}
