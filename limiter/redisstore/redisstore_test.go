package redisstore_test

import (
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/quotaworker/ratelimit/limiter/limitertest"
	"github.com/quotaworker/ratelimit/limiter/memstore"
	"github.com/quotaworker/ratelimit/limiter/redisstore"
	"github.com/quotaworker/ratelimit/limiter/redisstore/redistest"
)

// open returns a client of the server with the settings of production.
func open(t testing.TB, s *redistest.Server) redis.UniversalClient {
	t.Helper()
	rdb, err := redisstore.Open(redisstore.Config{URL: s.URL()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = rdb.Close() })
	return rdb
}

func TestConformance(t *testing.T) {
	server := redistest.Start(t)
	rdb := open(t, server)
	limitertest.Run(t, func(t *testing.T) limitertest.TimedStore {
		server.MustDo("FLUSHALL")
		return redisstore.New(rdb)
	})
}

// TestTwin holds the script in Redis and the rule in Go together.
func TestTwin(t *testing.T) {
	rdb := open(t, redistest.Start(t))
	limitertest.Twin(t, memstore.New(memstore.Options{}), redisstore.New(rdb))
}
