package httpio

import (
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"github.com/aptlyd/aptlyd/gateway/refusal"
)

// WriteJSON answers with v. Where that fails the client has gone.
func WriteJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(v)
}

// WriteRefusal answers with body and the status of a refusal. Retry-After says when to come
// back where the status calls for it.
func WriteRefusal(w http.ResponseWriter, r *refusal.Error, body any) {
	status := r.HTTPStatus()
	if status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable {
		seconds := max(1, int((r.RetryAfter+time.Second-1)/time.Second))
		w.Header().Set("Retry-After", strconv.Itoa(seconds))
	}
	WriteJSON(w, status, body)
}
