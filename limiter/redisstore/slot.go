package redisstore

import "strings"

// slotOf returns the hash slot of the buckets of a key. Redis hashes what
// stands between the first { and the next }, which is the key, or the whole
// name if nothing does.
func slotOf(key string) uint16 {
	if key == "" {
		return 0 // never asked of a cluster, but any fixed slot would do
	}
	if i := strings.IndexByte(key, '}'); i >= 0 {
		key = key[:i] // not a canonical key; a caller without a service may have one
	}
	// CRC-16/XMODEM, as the Redis Cluster specification has it.
	var crc uint16
	for i := range len(key) {
		crc ^= uint16(key[i]) << 8
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
