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
	return slotOfTag(tag)
}

// slotOfTag returns the hash slot of a tag.
func slotOfTag(tag string) uint16 {
	var crc uint16
	for i := range len(tag) {
		crc = crc<<8 ^ crcTable[byte(crc>>8)^tag[i]]
	}
	return crc % 16384
}

// crcTable is that of CRC-16/XMODEM, which the Redis Cluster specification asks
// for.
var crcTable = func() (table [256]uint16) {
	for i := range table {
		crc := uint16(i) << 8
		for range 8 {
			if crc&0x8000 != 0 {
				crc = crc<<1 ^ 0x1021
			} else {
				crc <<= 1
			}
		}
		table[i] = crc
	}
	return table
}()
