-- The twin of limiter/leakybucket.go, which admits what the token bucket
-- admits and keeps the same state. How long to wait before proceeding follows
-- from the state, so it is computed where the script is replayed.

return algorithms.token_bucket
