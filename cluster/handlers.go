package cluster

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/aptlyd/aptlyd/cluster/peer"
)

// appliedRequest asks a node to answer once it has applied an entry.
type appliedRequest struct {
	Index uint64 `json:"index"`
}

// handle works on one request of a peer.
func (c *Cluster) handle(ctx context.Context, from string, m peer.Method, raw []byte) ([]byte, error) {
	switch m {
	case peer.MethodReadIndex:
		return handleJSON(raw, func(r report) (view, error) { return c.handleReadIndex(ctx, from, r) })
	case peer.MethodApplied:
		return handleJSON(raw, func(r appliedRequest) (struct{}, error) {
			return struct{}{}, c.applier.wait(ctx, r.Index)
		})
	case peer.MethodQuery:
		return c.cfg.Handle(ctx, from, raw)
	case peer.MethodPropose:
		return handleJSON(raw, func(p proposal) (struct{}, error) { return struct{}{}, c.handlePropose(from, p) })
	case peer.MethodBootstrap:
		return handleJSON(raw, func(p proposal) (struct{}, error) { return struct{}{}, c.handleBootstrap(from, p) })
	case peer.MethodJoin:
		return handleJSON(raw, func(r joinRequest) (joinAnswer, error) { return c.handleJoin(ctx, from, r) })
	case peer.MethodRemove:
		return handleJSON(raw, func(r removeRequest) (struct{}, error) { return c.handleRemove(ctx, r) })
	case peer.MethodMember:
		return handleJSON(raw, func(r memberRequest) (struct{}, error) { return c.handleMember(ctx, r) })
	case peer.MethodMembership:
		return handleJSON(raw, c.handleMembership)
	case peer.MethodReport:
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
func request[A any](ctx context.Context, pool *peer.Pool, node string, m peer.Method, q any) (A, error) {
	var none A
	raw, err := json.Marshal(q)
	if err != nil {
		return none, fmt.Errorf("encode request: %w", err)
	}
	answer, err := pool.Call(ctx, node, peer.LaneControl, m, raw)
	if err != nil {
		return none, err
	}
	return decodeJSON[A](answer)
}
