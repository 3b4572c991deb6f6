package redisstore

import (
	"context"
	"errors"
	"io"
	"net"
	"syscall"

	"github.com/redis/go-redis/v9"
)

// Reason names the kind of an error of Take in one word, for metrics and logs:
// timeout, refused, closed, pool, readonly, loading, oom, busy, misconf, auth,
// replicas, cluster, contended, script or other.
func Reason(err error) string {
	var netErr net.Error
	var opErr *net.OpError
	switch {
	case errors.Is(err, redis.ErrPoolTimeout), errors.Is(err, redis.ErrPoolExhausted):
		return "pool"
	case errors.As(err, &opErr) && opErr.Op == "dial" && !opErr.Timeout(), redis.IsMaxClientsError(err):
		return "refused"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &netErr) && netErr.Timeout():
		return "timeout"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed), errors.Is(err, syscall.EPIPE), errors.Is(err, syscall.ECONNRESET), errors.Is(err, redis.ErrClosed), errors.As(err, &opErr):
		return "closed"
	case errors.Is(err, ErrContended):
		return "contended"
	case redis.IsReadOnlyError(err):
		return "readonly"
	case redis.IsLoadingError(err):
		return "loading"
	case redis.IsOOMError(err):
		return "oom"
	case redis.IsNoReplicasError(err), redis.IsMasterDownError(err):
		return "replicas"
	case redis.IsClusterDownError(err), redis.IsTryAgainError(err), errors.Is(err, errMoving), redis.HasErrorPrefix(err, "MOVED"), redis.HasErrorPrefix(err, "ASK"):
		return "cluster"
	case redis.IsAuthError(err), redis.IsPermissionError(err):
		return "auth"
	case redis.HasErrorPrefix(err, "BUSY"):
		return "busy"
	case redis.HasErrorPrefix(err, "MISCONF"):
		return "misconf"
	case redis.HasErrorPrefix(err, "ERR"):
		return "script"
	}
	return "other"
}
