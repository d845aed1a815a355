package client

import (
	"errors"
	"time"
)

// Code names the reason of a refusal, as the broker sends it.
type Code string

// The codes that a program decides on; the protocol's documentation has them all.
const (
	CodeInvalidKey      Code = "invalid_key"
	CodeKeyRevoked      Code = "key_revoked"
	CodeRateLimited     Code = "rate_limited"
	CodeUnavailable     Code = "unavailable"
	CodeOutcomeUnknown  Code = "outcome_unknown"
	CodeForbidden       Code = "forbidden"
	CodeInvalidMessage  Code = "invalid_message"
	CodeInvalidChannel  Code = "invalid_channel"
	CodeMessageTooLarge Code = "message_too_large"
	CodeTooManyChannels Code = "too_many_channels"
	CodeTokenInvalid    Code = "token_invalid"
	CodeTokenExpired    Code = "token_expired"
	CodeUnrecoverable   Code = "unrecoverable" // what follows the state that was loaded is not all there
	CodeNotFound        Code = "not_found"
	CodeConflict        Code = "conflict"
	CodeInternal        Code = "internal"
)

// Error is a refusal by the broker.
type Error struct {
	Code       Code
	Reason     string        // for people
	RetryAfter time.Duration // how long to wait before trying again; 0 where the broker did not say
}

// Error returns the reason, or the code where the broker gave no reason.
func (e *Error) Error() string {
	if e.Reason == "" {
		return "refused: " + string(e.Code)
	}
	return e.Reason
}

// Is makes an outcome_unknown refusal match ErrUnknown.
func (e *Error) Is(target error) bool {
	return target == ErrUnknown && e.Code == CodeOutcomeUnknown
}

// passing reports whether the same request may well succeed later.
func (e *Error) passing() bool {
	switch e.Code {
	case CodeRateLimited, CodeUnavailable, CodeOutcomeUnknown:
		return true
	}
	return false
}

// ofToken reports whether a fresh token may be let in.
func (e *Error) ofToken() bool { return e.Code == CodeTokenInvalid || e.Code == CodeTokenExpired }

var (
	// ErrUnknown marks the error of a publish that may have happened. Publishing
	// again with the same ID is safe within the broker's ten minutes.
	ErrUnknown = errors.New("outcome unknown")
	// ErrClosed is the error of everything that Close cut short.
	ErrClosed = errors.New("client closed")
)
