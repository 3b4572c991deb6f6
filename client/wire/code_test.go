package wire

import "testing"

func TestCodeHTTPStatus(t *testing.T) {
	want := map[Code]int{
		CodeInvalidKey:            400,
		CodeInvalidRequest:        400,
		CodeCostExceedsBurst:      422,
		CodeLimitNotRepresentable: 400,
		CodeUnknownPolicy:         404,
		CodeNoPolicy:              404,
		CodeInlineLimitRefused:    403,
		CodeDeadlineExceeded:      504,
		CodeOverloaded:            503,
		CodeUnavailable:           503,
		"from_the_future":         500,
		"":                        500,
	}
	for code, status := range want {
		if got := code.HTTPStatus(); got != status {
			t.Errorf("%q.HTTPStatus() = %d, want %d", code, got, status)
		}
	}
	for code := range statuses {
		if _, ok := want[code]; !ok {
			t.Errorf("%q is not in this test", code)
		}
	}
}

func TestErrorf(t *testing.T) {
	e := Errorf(CodeNoPolicy, "no policy matches %q", "user.42")
	if got, want := e.Error(), `no_policy: no policy matches "user.42"`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
