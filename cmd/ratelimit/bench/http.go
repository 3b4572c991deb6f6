package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/quotaworker/ratelimit/client/wire"
)

// maxBody bounds what is read of an answer over HTTP, in bytes.
const maxBody = 64 << 10

// OverHTTP asks the HTTP door at base, such as http://127.0.0.1:8080, with the
// same body each time. It keeps at most so many connections open, and uses
// each again and again.
func OverHTTP(base string, keys *Keys, body []byte, connections int, timeout time.Duration) (Ask, error) {
	u, err := url.Parse(base)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("%q is not the address of an HTTP bridge; write one such as http://127.0.0.1:8080", base)
	}
	hc := &http.Client{
		Timeout: timeout,
		Transport: &http.Transport{
			Proxy:               http.ProxyFromEnvironment,
			MaxConnsPerHost:     connections,
			MaxIdleConnsPerHost: connections,
			DisableCompression:  true,
		},
	}
	door := strings.TrimSuffix(u.String(), "/") + "/v1/check/"
	return func(ctx context.Context, key int) (Answer, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, door+keys.Name(key), bytes.NewReader(body))
		if err != nil {
			return Answer{}, err
		}
		if len(body) > 0 {
			req.Header.Set("Content-Type", "application/json")
		}
		res, err := hc.Do(req)
		if err != nil {
			return Answer{}, unreached(err)
		}
		defer res.Body.Close()
		text, err := io.ReadAll(io.LimitReader(res.Body, maxBody))
		if err != nil {
			return Answer{}, unreached(err)
		}
		a, err := read(text, true)
		var refused *wire.Error
		if err != nil && !errors.As(err, &refused) {
			return Answer{}, &wire.Error{Code: wire.CodeUnavailable, Message: fmt.Sprintf("%s answers %s, and not as the HTTP bridge does; name the address of one", door, res.Status)}
		}
		return a, err
	}, nil
}

// unreached says why there was no answer over HTTP.
func unreached(err error) error {
	var u *url.Error
	if errors.As(err, &u) && u.Timeout() {
		return &wire.Error{Code: wire.CodeDeadlineExceeded, Message: err.Error()}
	}
	return &wire.Error{Code: wire.CodeUnavailable, Message: err.Error()}
}
