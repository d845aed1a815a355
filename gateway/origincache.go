package gateway

import (
	"unique"

	"github.com/aptlyd/aptlyd/fsm"
	"github.com/aptlyd/aptlyd/gateway/auth"
	"github.com/aptlyd/aptlyd/gateway/refusal"
)

// originCache remembers the answers about origins while many connections are judged
// anew. A match with a hundred rules takes 0.1 ms, and most connections come from few
// origins.
type originCache map[originCacheKey]*refusal.Error

type originCacheKey struct {
	project      *fsm.Project
	origin, host unique.Handle[string]
}

func (p originCache) checkOrigin(who auth.Principal, from peer, project *fsm.Project) *refusal.Error {
	if who.Kind != auth.PublicKey {
		return auth.CheckOrigin(who, from.origin.Value(), from.host.Value(), project)
	}
	at := originCacheKey{project, from.origin, from.host}
	refused, known := p[at]
	if !known {
		refused = auth.CheckOrigin(who, from.origin.Value(), from.host.Value(), project)
		p[at] = refused
	}
	return refused
}
