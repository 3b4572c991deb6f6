package memstore_test

import (
	"testing"

	"github.com/quotaworker/ratelimit/limiter/limitertest"
	"github.com/quotaworker/ratelimit/limiter/memstore"
)

func TestConformance(t *testing.T) {
	limitertest.Run(t, func(*testing.T) limitertest.TimedStore { return memstore.New(memstore.Options{}) })
}
