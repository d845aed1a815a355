package fsm

import (
	"errors"
	"fmt"
)

// Reasons why a committed command had no effect. DecodeResult and DecodeReceipt return
// errors that wrap them.
var (
	// ErrNotFound means that the project, key, channel or token does not exist.
	ErrNotFound = errors.New("not found")
	// ErrConflict means that an id or a key is taken, or that the last owner would go.
	ErrConflict = errors.New("conflict")
	// ErrRateLimited means that a bounded table is full: the message ids of the last ten
	// minutes, the past rules of a project, its quota of channels.
	ErrRateLimited = errors.New("too many")
	// ErrInvalid means that a field is out of bounds.
	ErrInvalid = errors.New("invalid")
	// ErrForbidden means that the sender lacks the right, or has lost it.
	ErrForbidden = errors.New("forbidden")
	// ErrEnded means that the sender's key, admin token or session has ended.
	ErrEnded = errors.New("ended")
	// ErrExpired means that the sender's token has expired.
	ErrExpired = errors.New("expired")
	// ErrStale means that the command is too old to know whether it was applied before. It
	// is not applied.
	ErrStale = errors.New("too old")
)

// ErrInUse says that another process has the state open.
var ErrInUse = errors.New("another process has it open")

// ErrClosed says that the State was closed, or has stopped after a storage error.
var ErrClosed = errors.New("state closed")

// errCorrupt marks stored bytes that differ from those written.
var errCorrupt = errors.New("corrupt record")

// errMissing says that messages are missing from the state file.
var errMissing = fmt.Errorf("missing: %w", errCorrupt)

// Result codes, part of the stored format of sessions.
const (
	codeOK byte = iota
	codeNotFound
	codeConflict
	codeRateLimited
	codeInvalid
	codeForbidden
	codeEnded
	codeExpired
	codeStale
)

var sentinels = [...]error{
	codeNotFound:    ErrNotFound,
	codeConflict:    ErrConflict,
	codeRateLimited: ErrRateLimited,
	codeInvalid:     ErrInvalid,
	codeForbidden:   ErrForbidden,
	codeEnded:       ErrEnded,
	codeExpired:     ErrExpired,
	codeStale:       ErrStale,
}

// refusal is a command's deterministic failure: a sentinel and its reason.
type refusal struct {
	code   byte
	reason string
}

func (r *refusal) Error() string { return r.reason + ": " + sentinels[r.code].Error() }
func (r *refusal) Unwrap() error { return sentinels[r.code] }

func refuse(code byte, format string, args ...any) *refusal {
	return &refusal{code, fmt.Sprintf(format, args...)}
}
