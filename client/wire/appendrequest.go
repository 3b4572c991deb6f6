package wire

import (
	"strconv"
	"unicode/utf8"
)

// AppendRequest appends the body of r to dst in its shortest form: fields that
// are absent are left out, and of a request that says
// nothing the body is empty. It checks nothing; [DecodeRequest] does.
func AppendRequest(dst []byte, r *Request) []byte {
	if len(r.Checks) > 0 {
		dst = append(dst, `{"checks":[`...)
		for i := range r.Checks {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = appendCheck(dst, &r.Checks[i])
		}
		dst = append(dst, ']')
		if r.Mode != "" {
			dst = appendString(append(dst, `,"mode":`...), r.Mode)
		}
		if r.TimeoutMS != 0 {
			dst = strconv.AppendInt(append(dst, `,"timeout_ms":`...), r.TimeoutMS, 10)
		}
		return append(dst, '}')
	}
	start := len(dst)
	dst = appendCheck(dst, r)
	if string(dst[start:]) == "{}" {
		return dst[:start]
	}
	return dst
}

func appendCheck(dst []byte, r *Request) []byte {
	dst = append(dst, '{')
	if r.Key != "" {
		dst = append(appendString(append(dst, `"key":`...), r.Key), ',')
	}
	if r.Rate != 0 {
		dst = append(strconv.AppendInt(append(dst, `"rate":`...), r.Rate, 10), ',')
		dst = append(appendInterval(append(dst, `"interval":`...), r.IntervalMicros), ',')
	}
	if r.Burst != 0 {
		dst = append(strconv.AppendInt(append(dst, `"burst":`...), r.Burst, 10), ',')
	}
	if r.CostGiven || r.Cost != 1 {
		dst = append(strconv.AppendInt(append(dst, `"cost":`...), r.Cost, 10), ',')
	}
	if r.Algorithm != "" {
		dst = append(appendString(append(dst, `"algorithm":`...), r.Algorithm), ',')
	}
	if r.Policy != "" {
		dst = append(appendString(append(dst, `"policy":`...), r.Policy), ',')
	}
	if r.TimeoutMS != 0 {
		dst = append(strconv.AppendInt(append(dst, `"timeout_ms":`...), r.TimeoutMS, 10), ',')
	}
	return endObject(dst)
}

// endObject closes an object whose members each end with a comma.
func endObject(dst []byte) []byte {
	if dst[len(dst)-1] == ',' {
		dst = dst[:len(dst)-1]
	}
	return append(dst, '}')
}

// appendInterval appends a duration in the largest unit in which it is whole.
func appendInterval(dst []byte, micros int64) []byte {
	n, unit := micros, "us"
	for _, larger := range [...]struct {
		size int64
		unit string
	}{{1000, "ms"}, {1000, "s"}, {60, "m"}, {60, "h"}} {
		if n == 0 || n%larger.size != 0 {
			break
		}
		n, unit = n/larger.size, larger.unit
	}
	dst = strconv.AppendInt(append(dst, '"'), n, 10)
	return append(append(dst, unit...), '"')
}

// appendString appends s as a JSON string. What is not UTF-8 becomes U+FFFD.
func appendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			dst = append(dst, '\\', byte(r))
		case r < 0x20:
			dst = append(dst, '\\', 'u', '0', '0', upperHex[r>>4], upperHex[r&15])
		case r < utf8.RuneSelf:
			dst = append(dst, byte(r))
		default:
			dst = utf8.AppendRune(dst, r)
		}
	}
	return append(dst, '"')
}
