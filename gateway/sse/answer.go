package sse

import (
	"net/http"
	"strconv"
	"time"
)

// The answers are written by hand, because event loops write them. Those of SSE have no
// length: their end is the end of the connection, which every version of HTTP/1 and every
// proxy understands.

// Answer is the head of an answer.
type Answer struct {
	Status     int
	Origin     string        // whose pages may read it; "" for no other origin's
	Events     bool          // a stream of events follows instead of JSON
	RetryAfter time.Duration // 0 for no word about it
	KeepAlive  bool          // the connection may be used for another request
	Length     int           // of the JSON text
}

// Append appends the head.
func (a Answer) Append(dst []byte, now time.Time) []byte {
	dst = strconv.AppendInt(append(dst, "HTTP/1.1 "...), int64(a.Status), 10)
	dst = append(append(append(dst, ' '), http.StatusText(a.Status)...), "\r\nDate: "...)
	dst = now.UTC().AppendFormat(dst, http.TimeFormat)
	if a.Events {
		dst = append(dst, "\r\nContent-Type: text/event-stream\r\n"+
			"Cache-Control: no-store, no-transform\r\nX-Accel-Buffering: no"...)
	} else {
		dst = append(dst, "\r\nContent-Type: application/json\r\nCache-Control: no-store\r\nContent-Length: "...)
		dst = strconv.AppendInt(dst, int64(a.Length), 10)
	}
	dst = append(dst, "\r\nReferrer-Policy: no-referrer\r\nX-Content-Type-Options: nosniff\r\nVary: Origin"...)
	if a.Origin != "" {
		dst = append(append(dst, "\r\nAccess-Control-Allow-Origin: "...), a.Origin...)
		dst = append(dst, "\r\nAccess-Control-Expose-Headers: Retry-After"...)
	}
	if a.RetryAfter > 0 {
		dst = append(dst, "\r\nRetry-After: "...)
		dst = strconv.AppendInt(dst, int64((a.RetryAfter+time.Second-1)/time.Second), 10)
	}
	if !a.KeepAlive {
		dst = append(dst, "\r\nConnection: close"...)
	}
	return append(dst, "\r\n\r\n"...)
}

// AppendRetry appends how long a client waits before it comes back, which it keeps to from
// then on.
func AppendRetry(dst []byte, wait time.Duration) []byte {
	return append(strconv.AppendInt(append(dst, "retry: "...), wait.Milliseconds(), 10), '\n')
}
