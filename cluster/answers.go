package cluster

import (
	"context"
	"encoding/json"
	"fmt"
)

// appliedRequest asks a node to answer once it has applied an entry.
type appliedRequest struct {
	Index uint64 `json:"index"`
}

// answer works on one request of a peer.
func (c *Cluster) answer(ctx context.Context, from string, m method, raw []byte) ([]byte, error) {
	switch m {
	case methodReadIndex:
		return answerWith(raw, func(r report) (view, error) { return c.answerReadIndex(ctx, from, r) })
	case methodApplied:
		return answerWith(raw, func(r appliedRequest) (struct{}, error) {
			return struct{}{}, c.applier.wait(ctx, r.Index)
		})
	case methodQuery:
		return c.cfg.Handle(ctx, from, raw)
	case methodPropose:
		return answerWith(raw, func(p proposal) (struct{}, error) { return struct{}{}, c.answerPropose(from, p) })
	case methodForm:
		return answerWith(raw, func(p proposal) (struct{}, error) { return struct{}{}, c.answerForm(from, p) })
	case methodJoin:
		return answerWith(raw, func(r joinRequest) (joinAnswer, error) { return c.answerJoin(ctx, from, r) })
	case methodRemove:
		return answerWith(raw, func(r removeRequest) (struct{}, error) { return c.answerRemove(ctx, r) })
	case methodMember:
		return answerWith(raw, func(r memberRequest) (struct{}, error) { return c.answerMember(ctx, r) })
	case methodMembership:
		return answerWith(raw, c.answerMembership)
	case methodReport:
		return json.Marshal(c.report())
	default:
		return nil, fmt.Errorf("method %d is not known here", m)
	}
}

// answerWith decodes a request, works on it and encodes the answer.
func answerWith[Q, A any](raw []byte, work func(Q) (A, error)) ([]byte, error) {
	q, err := decodeJSON[Q](raw)
	if err != nil {
		return nil, err
	}
	a, err := work(q)
	if err != nil {
		return nil, err
	}
	return json.Marshal(a)
}

// request asks a peer and decodes its answer.
func request[A any](ctx context.Context, pool *rpcPool, node string, m method, q any) (A, error) {
	var none A
	raw, err := json.Marshal(q)
	if err != nil {
		return none, fmt.Errorf("encode request: %w", err)
	}
	answer, err := pool.call(ctx, node, laneControl, m, raw)
	if err != nil {
		return none, err
	}
	return decodeJSON[A](answer)
}
