package node

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/aptlyd/aptlyd/fsm"
)

// keyUseBatch bounds the uses in one command.
const keyUseBatch = 1000

// keyUses records when keys and admin tokens were last used on this node, since its last
// report to the state.
type keyUses struct {
	mu   sync.Mutex
	last map[string]int64 // by id, Unix ms
}

func newKeyUses() *keyUses { return &keyUses{last: make(map[string]int64)} }

func (u *keyUses) note(id string, at int64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.last[id] = max(u.last[id], at)
}

// take returns the uses by id and clears them.
func (u *keyUses) take() []fsm.KeyUse {
	u.mu.Lock()
	last := u.last
	u.last = make(map[string]int64)
	u.mu.Unlock()
	uses := make([]fsm.KeyUse, 0, len(last))
	for _, id := range slices.Sorted(maps.Keys(last)) {
		uses = append(uses, fsm.KeyUse{ID: id, At: last[id]})
	}
	return uses
}

// KeyUsed implements gateway.Broker.
func (n *Node) KeyUsed(id string) { n.keyUses.note(id, time.Now().UnixMilli()) }

// reportKeyUses tells the state when keys were last used. Uses that the state does not take
// wait for the next report.
func (n *Node) reportKeyUses(ctx context.Context) {
	for part := range slices.Chunk(n.keyUses.take(), keyUseBatch) {
		if err := n.cluster.Apply(ctx,
			n.withSender(fsm.Sender{Kind: fsm.NodeSender}, fsm.KeysUsed{Used: part}.Encode())).Err; err != nil {
			for _, use := range part {
				n.keyUses.note(use.ID, use.At)
			}
		}
	}
}
