package redisstore

import "fmt"

// Together says why the buckets of these keys cannot be taken by one check: in
// Redis Cluster they must be in one slot, which is so for keys that are equal.
// Take refuses such a check with all those that it came with, so ask first.
func (s *Store) Together(keys []string) error {
	if !s.slots {
		return nil
	}
	for _, key := range keys[min(1, len(keys)):] {
		if slotOf("rl:{"+key+"}") != slotOf("rl:{"+keys[0]+"}") {
			return fmt.Errorf("keys %q and %q are in different slots of Redis Cluster, which takes no two such keys all or none; check them each, or use a Redis that is not a cluster", keys[0], key)
		}
	}
	return nil
}
