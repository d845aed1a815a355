package refusal

import (
	"net/http"
	"time"
)

// Error is a refusal with a code: the only kind of error that reaches a client.
type Error struct {
	Code       Code
	Reason     string        // for people; never holds a secret
	RetryAfter time.Duration // when trying again makes sense; 0 where the code says nothing of time
	Status     int           // HTTP status where it differs from that of the code
	Bounds     *Bounds       // of the channel of a strict subscribe; nil for everything else

	// What was asked of the members of a channel, so that a client can tell which of its frames
	// is refused; empty for all else.
	PresenceAction string // of a presence frame
	PresenceWatch  string // of a subscribe

	// For operators only.
	Detail string // the rule that refused, in full; empty when Reason says all
	Attempt
}

// Bounds say how far a channel reaches.
type Bounds struct {
	Head, Earliest uint64
	Epoch          string
}

// Attempt says who tried to do what, as far as it is known.
type Attempt struct {
	KeyID     string `json:"keyId"`
	KeyPrefix string `json:"keyPrefix"`
	Project   string `json:"project"`
	Channel   string `json:"channel"`
	Action    string `json:"action"`
}

// New returns a refusal with a code and a reason for people.
func New(code Code, reason string) *Error { return &Error{Code: code, Reason: reason} }

// Error implements error.
func (r *Error) Error() string { return r.Reason }

// Of returns a copy that says whose attempt was refused.
func (r *Error) Of(a Attempt) *Error {
	known := *r
	known.Attempt = a
	return &known
}

// HTTPStatus returns the status of an HTTP answer with this refusal.
func (r *Error) HTTPStatus() int {
	if r.Status != 0 {
		return r.Status
	}
	return r.Code.HTTPStatus()
}

// HTTPStatus returns the status of an HTTP answer with this code.
func (c Code) HTTPStatus() int { return answers[c].status }

// CloseCode returns the WebSocket close code that follows the error frame; 0 when the
// connection stays open.
func (c Code) CloseCode() uint16 { return answers[c].close }

// MethodNotAllowed returns the refusal of a method that a path does not have.
func MethodNotAllowed() *Error {
	return &Error{Code: InvalidMessage, Reason: "method not allowed", Status: http.StatusMethodNotAllowed}
}
