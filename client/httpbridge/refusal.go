package httpbridge

import (
	"bytes"
	"encoding/json"
	"net/http"

	"github.com/quotaworker/ratelimit/client/wire"
)

// Codes of what can go wrong in HTTP before there is anything to ask the
// service. They join those of package wire.
const (
	codeForbidden        wire.Code = "forbidden"
	codeNotFound         wire.Code = "not_found"
	codeMethodNotAllowed wire.Code = "method_not_allowed"
	codeRequestTimeout   wire.Code = "request_timeout"
	codeLengthRequired   wire.Code = "length_required"
	codeTooLarge         wire.Code = "request_too_large"
	codeMediaType        wire.Code = "unsupported_media_type"
	codeInternal         wire.Code = "internal"
)

// refusal is a response that carries no decision.
type refusal struct {
	status  int
	code    wire.Code
	message string

	allow      string // value of Allow, if any
	retryAfter bool   // invite to come back in a second
	close      bool   // the rest of the connection cannot be trusted, or is not wanted
}

// refuse makes a refusal of an error of the protocol, by its one table.
func refuse(e *wire.Error) *refusal {
	status := e.Code.HTTPStatus()
	return &refusal{
		status:     status,
		code:       e.Code,
		message:    e.Message,
		retryAfter: status == http.StatusServiceUnavailable,
	}
}

func (f *refusal) write(w http.ResponseWriter) {
	h := w.Header()
	if f.allow != "" {
		h.Set("Allow", f.allow)
	}
	if f.retryAfter {
		h.Set("Retry-After", "1")
	}
	if f.close {
		h.Set("Connection", "close")
	}
	var body struct {
		Error struct {
			Code    wire.Code `json:"code"`
			Message string    `json:"message"`
		} `json:"error"`
	}
	body.Error.Code, body.Error.Message = f.code, f.message
	writeJSON(w, f.status, "application/json", encode(body))
}

// encode writes v as JSON for people to read: with < and & as they are.
func encode(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		// Only a number gets here that is none, or a year that has five
		// digits, in facts about health. An empty object is still JSON.
		return []byte("{}\n")
	}
	return b.Bytes()
}

// writeJSON sends a whole response. Answers are about this moment, so nobody
// may store them.
func writeJSON(w http.ResponseWriter, status int, contentType string, body []byte) {
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(body) // it fails when the caller is gone, and then nobody is left to tell
}
