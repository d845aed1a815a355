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

// handle works on one request of a peer.
func (c *Cluster) handle(ctx context.Context, from string, m method, raw []byte) ([]byte, error) {
	switch m {
	case methodReadIndex:
		return handleJSON(raw, func(r report) (view, error) { return c.handleReadIndex(ctx, from, r) })
	case methodApplied:
		return handleJSON(raw, func(r appliedRequest) (struct{}, error) {
			return struct{}{}, c.applier.wait(ctx, r.Index)
		})
	case methodQuery:
		return c.cfg.Handle(ctx, from, raw)
	case methodPropose:
		return handleJSON(raw, func(p proposal) (struct{}, error) { return struct{}{}, c.handlePropose(from, p) })
	case methodBootstrap:
		return handleJSON(raw, func(p proposal) (struct{}, error) { return struct{}{}, c.handleBootstrap(from, p) })
	case methodJoin:
		return handleJSON(raw, func(r joinRequest) (joinAnswer, error) { return c.handleJoin(ctx, from, r) })
	case methodRemove:
		return handleJSON(raw, func(r removeRequest) (struct{}, error) { return c.handleRemove(ctx, r) })
	case methodMember:
		return handleJSON(raw, func(r memberRequest) (struct{}, error) { return c.handleMember(ctx, r) })
	case methodMembership:
		return handleJSON(raw, c.handleMembership)
	case methodReport:
		return json.Marshal(c.report())
	default:
		return nil, fmt.Errorf("method %d is not known here", m)
	}
}

// handleJSON decodes a request, works on it and encodes the answer.
func handleJSON[Q, A any](raw []byte, work func(Q) (A, error)) ([]byte, error) {
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
