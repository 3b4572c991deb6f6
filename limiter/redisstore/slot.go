package redisstore

import "strings"

// slotOf returns the hash slot of the bucket with this name. Redis hashes what
// stands between the first { and the next }, which is the key, or the whole
// name if that is nothing.
//
// A canonical key is neither empty nor does it hold braces, so all of its
// limits share a slot. A caller without the service may have other keys.
func slotOf(name string) uint16 {
	tag := name
	if i := strings.IndexByte(name, '{'); i >= 0 {
		if n := strings.IndexByte(name[i+1:], '}'); n > 0 {
			tag = name[i+1 : i+1+n]
		}
	}
	// CRC-16/XMODEM, as the Redis Cluster specification has it.
	var crc uint16
	for i := range len(tag) {
		crc ^= uint16(tag[i]) << 8
		for range 8 {
			if crc&0x8000 != 0 {
				crc = crc<<1 ^ 0x1021
			} else {
				crc <<= 1
			}
		}
	}
	return crc % 16384
}
