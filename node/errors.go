package node

import (
	"context"
	"errors"
	"time"

	"github.com/aptlyd/aptlyd/cluster"
	"github.com/aptlyd/aptlyd/fsm"
	"github.com/aptlyd/aptlyd/gateway/refusal"
)

// retryAfter is the time that a client waits when the cluster cannot take a write: about
// one election.
const retryAfter = time.Second

// asRefusal turns an error of the state or the cluster into a refusal for a client.
func asRefusal(err error) error {
	var known *refusal.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &known):
		return err
	case errors.Is(err, fsm.ErrNotFound), errors.Is(err, cluster.ErrUnknownMember):
		return refusal.New(refusal.NotFound, err.Error())
	case errors.Is(err, fsm.ErrConflict), errors.Is(err, cluster.ErrQuorumAtRisk), errors.Is(err,
		cluster.ErrAmbiguousMember):
		return refusal.New(refusal.Conflict, err.Error())
	case errors.Is(err, fsm.ErrForbidden):
		return refusal.New(refusal.Forbidden, err.Error())
	case errors.Is(err, fsm.ErrInvalid), errors.Is(err, cluster.ErrInvalidCommand):
		return refusal.New(refusal.InvalidMessage, err.Error())
	case errors.Is(err, fsm.ErrRateLimited), errors.Is(err, cluster.ErrOverloaded):
		return &refusal.Error{Code: refusal.RateLimited, Reason: err.Error(), RetryAfter: retryAfter}
	case errors.Is(err, cluster.ErrOutcomeUnknown), errors.Is(err, fsm.ErrStale):
		return refusal.New(refusal.OutcomeUnknown, "the write may or may not have happened")
	case errors.Is(err, cluster.ErrUnavailable),
		errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return &refusal.Error{
			Code: refusal.Unavailable, Reason: "the cluster cannot answer right now",
			RetryAfter: retryAfter,
		}
	default:
		return err
	}
}

// refusalTo is asRefusal in words for the sender of a command.
func refusalTo(kind fsm.SenderKind, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fsm.ErrEnded) && kind == fsm.AdminSender:
		return refusal.New(refusal.InvalidKey, "the admin token is not valid any more")
	case errors.Is(err, fsm.ErrEnded):
		return refusal.New(refusal.KeyRevoked, "the API key has ended")
	case errors.Is(err, fsm.ErrExpired):
		return refusal.New(refusal.TokenExpired, "the token has expired")
	}
	return asRefusal(err)
}
