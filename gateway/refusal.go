package gateway

import (
	"net/http"
	"time"
)

// Code names a reason for refusing something, as clients see it.
type Code string

// Every reason there is.
const (
	CodeInvalidKey       Code = "invalid_key"
	CodeKeyRevoked       Code = "key_revoked"
	CodeTokenInvalid     Code = "token_invalid"
	CodeTokenExpired     Code = "token_expired"
	CodeOriginNotAllowed Code = "origin_not_allowed"
	CodeAuthRequired     Code = "auth_required"
	CodeAuthTimeout      Code = "auth_timeout"
	CodeRateLimited      Code = "rate_limited"
	CodeUnavailable      Code = "unavailable"
	CodeOutcomeUnknown   Code = "outcome_unknown"
	CodeForbidden        Code = "forbidden"
	CodeInvalidMessage   Code = "invalid_message"
	CodeInvalidChannel   Code = "invalid_channel"
	CodeUnknownType      Code = "unknown_type"
	CodeMessageTooLarge  Code = "message_too_large"
	CodeTooManyChannels  Code = "too_many_channels"
	CodeUnrecoverable    Code = "unrecoverable"
	CodeRequestTimeout   Code = "request_timeout"
	CodeNotFound         Code = "not_found"
	CodeConflict         Code = "conflict"
	CodeInternal         Code = "internal"
)

// Refusal is an error with a code: the only kind of error that reaches a client.
type Refusal struct {
	Code       Code
	Reason     string        // for people; never holds a secret
	RetryAfter time.Duration // when trying again makes sense; 0 where the code says nothing of time

	status int     // HTTP status where it is not that of the code
	bounds *bounds // of a strict subscribe; nil for everything else

	// For operators only.
	detail  string // the rule that refused, in full; empty when Reason says all
	who     principal
	action  action
	channel string
}

// bounds are those of a channel.
type bounds struct {
	head, earliest uint64
	epoch          string
}

func (r *Refusal) Error() string { return r.Reason }

// of returns the refusal as one of what somebody wanted to do.
func (r *Refusal) of(who principal, do action, channel string) *Refusal {
	known := *r
	known.who, known.action, known.channel = who, do, channel
	return &known
}

// Refuse returns a refusal with a code and a reason for people.
func Refuse(code Code, reason string) *Refusal { return &Refusal{Code: code, Reason: reason} }

// answer says how a refusal reaches a client, by code: the HTTP status, and for
// WebSocket the close code that follows the error frame (0: the connection stays).
type answer struct {
	status int
	close  uint16
}

// answers is the table of docs/protocol.md "Every refusal".
var answers = map[Code]answer{
	CodeInvalidKey:       {http.StatusUnauthorized, 1000},
	CodeKeyRevoked:       {http.StatusUnauthorized, 1000},
	CodeTokenInvalid:     {http.StatusUnauthorized, 1000},
	CodeTokenExpired:     {http.StatusUnauthorized, 1000},
	CodeOriginNotAllowed: {http.StatusForbidden, 1000},
	CodeAuthRequired:     {http.StatusUnauthorized, 1008},
	CodeAuthTimeout:      {http.StatusUnauthorized, 1008},
	CodeRateLimited:      {http.StatusTooManyRequests, 0},
	CodeUnavailable:      {http.StatusServiceUnavailable, 0},
	CodeOutcomeUnknown:   {http.StatusGatewayTimeout, 0},
	CodeForbidden:        {http.StatusForbidden, 0},
	CodeInvalidMessage:   {http.StatusBadRequest, 0},
	CodeInvalidChannel:   {http.StatusBadRequest, 0},
	CodeUnknownType:      {http.StatusBadRequest, 0},
	CodeMessageTooLarge:  {http.StatusRequestEntityTooLarge, 0},
	CodeTooManyChannels:  {http.StatusBadRequest, 0},
	CodeUnrecoverable:    {http.StatusConflict, 0},
	CodeRequestTimeout:   {http.StatusRequestTimeout, 0},
	CodeNotFound:         {http.StatusNotFound, 0},
	CodeConflict:         {http.StatusConflict, 0},
	CodeInternal:         {http.StatusInternalServerError, 0},
}
