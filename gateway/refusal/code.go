package refusal

import "net/http"

// Code names a reason for refusing something, as clients see it.
type Code string

// The codes of docs/protocol.md "Every refusal".
const (
	InvalidKey       Code = "invalid_key"
	KeyRevoked       Code = "key_revoked"
	KeyInURL         Code = "key_in_url"
	TokenInvalid     Code = "token_invalid"
	TokenExpired     Code = "token_expired"
	OriginNotAllowed Code = "origin_not_allowed"
	AuthRequired     Code = "auth_required"
	AuthTimeout      Code = "auth_timeout"
	RateLimited      Code = "rate_limited"
	Unavailable      Code = "unavailable"
	OutcomeUnknown   Code = "outcome_unknown"
	Forbidden        Code = "forbidden"
	InvalidMessage   Code = "invalid_message"
	InvalidChannel   Code = "invalid_channel"
	UnknownType      Code = "unknown_type"
	MessageTooLarge  Code = "message_too_large"
	TooManyChannels  Code = "too_many_channels"
	Unrecoverable    Code = "unrecoverable"
	RequestTimeout   Code = "request_timeout"
	NotFound         Code = "not_found"
	Conflict         Code = "conflict"
	Internal         Code = "internal"
)

// answer says how a refusal reaches a client.
type answer struct {
	status int    // of HTTP
	close  uint16 // WebSocket close code that follows the error frame; 0 keeps the connection open
}

// answers is the table of docs/protocol.md "Every refusal".
var answers = map[Code]answer{
	InvalidKey:       {http.StatusUnauthorized, 1000},
	KeyRevoked:       {http.StatusUnauthorized, 1000},
	KeyInURL:         {http.StatusUnauthorized, 1000},
	TokenInvalid:     {http.StatusUnauthorized, 1000},
	TokenExpired:     {http.StatusUnauthorized, 1000},
	OriginNotAllowed: {http.StatusForbidden, 1000},
	AuthRequired:     {http.StatusUnauthorized, 1008},
	AuthTimeout:      {http.StatusUnauthorized, 1008},
	RateLimited:      {http.StatusTooManyRequests, 0},
	Unavailable:      {http.StatusServiceUnavailable, 0},
	OutcomeUnknown:   {http.StatusGatewayTimeout, 0},
	Forbidden:        {http.StatusForbidden, 0},
	InvalidMessage:   {http.StatusBadRequest, 0},
	InvalidChannel:   {http.StatusBadRequest, 0},
	UnknownType:      {http.StatusBadRequest, 0},
	MessageTooLarge:  {http.StatusRequestEntityTooLarge, 0},
	TooManyChannels:  {http.StatusBadRequest, 0},
	Unrecoverable:    {http.StatusConflict, 0},
	RequestTimeout:   {http.StatusRequestTimeout, 0},
	NotFound:         {http.StatusNotFound, 0},
	Conflict:         {http.StatusConflict, 0},
	Internal:         {http.StatusInternalServerError, 0},
}
