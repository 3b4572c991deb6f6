package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/quotaworker/ratelimit/client"
	"github.com/quotaworker/ratelimit/client/wire"
)

// answer prints one answer as a line: for programs as the service sent it,
// for people in words without colors.
func (p *program) answer(word string, r *client.Result) {
	if p.json {
		reply := replyOf(r)
		fmt.Fprintf(p.stdout, "%s\n", wire.AppendReply(nil, &reply))
		return
	}
	then := "full"
	switch {
	case !r.Allowed && r.RetryAfter == 0:
		then = "always"
	case !r.Allowed:
		then = "retry in " + human(r.RetryAfter)
	case r.ResetAfter > 0:
		then = "full in " + human(r.ResetAfter)
	}
	switch {
	case word != "":
	case r.Allowed:
		word = "allowed"
	default:
		word = "denied"
	}
	by := ""
	switch {
	case r.Policy != "" && r.LimitName != "":
		by = fmt.Sprintf(" (limit %s of policy %s)", r.LimitName, r.Policy)
	case r.Policy != "":
		by = fmt.Sprintf(" (policy %s)", r.Policy)
	}
	if r.Delay > 0 {
		by += ", wait " + human(r.Delay)
	}
	if r.WouldDeny {
		by += ", would be denied if enforced"
	}
	left := fmt.Sprintf("%d of %d left, ", r.Remaining, r.Limit)
	switch {
	case r.Limit > 0 || r.Source != "policy":
	case r.Allowed:
		left, then = "without a limit", ""
	default:
		left = ""
	}
	fmt.Fprintf(p.stdout, "%-7s  %s  %s%s%s\n", word, r.Key, left, then, by)
}

// replyOf returns the reply that r was.
func replyOf(r *client.Result) wire.Reply {
	var limits []wire.LimitReply
	for _, l := range r.Limits {
		limits = append(limits, wire.LimitReply{
			Name:         l.Name,
			Limit:        l.Limit,
			Remaining:    l.Remaining,
			RetryAfterMS: l.RetryAfter.Milliseconds(),
			ResetAfterMS: l.ResetAfter.Milliseconds(),
			WindowMS:     l.Window.Milliseconds(),
		})
	}
	return wire.Reply{
		Allowed:      r.Allowed,
		Key:          r.Key,
		Limit:        r.Limit,
		Remaining:    r.Remaining,
		RetryAfterMS: r.RetryAfter.Milliseconds(),
		ResetAfterMS: r.ResetAfter.Milliseconds(),
		WindowMS:     r.Window.Milliseconds(),
		DelayMS:      r.Delay.Milliseconds(),
		Policy:       r.Policy,
		LimitName:    r.LimitName,
		Limits:       limits,
		Source:       r.Source,
		Degraded:     r.Degraded,
		WouldDeny:    r.WouldDeny,
	}
}

// note says once, behind the answers, what a degraded answer is worth.
func (p *program) note(degraded bool) {
	if degraded && !p.json {
		fmt.Fprintln(p.stdout, "note: degraded: decided from one worker's memory, not from Redis; other workers do not see it, and a restart forgets it")
	}
}

// human writes a duration without the zeros that Duration.String ends in:
// 1h30m rather than 1h30m0s.
func human(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
