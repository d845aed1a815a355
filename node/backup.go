package node

import (
	"context"
	"io"
	"sync/atomic"
	"time"

	"github.com/aptlyd/aptlyd/gateway/refusal"
)

// freshTimeout bounds the wait until a node is up to date.
const freshTimeout = 10 * time.Second

// Backup implements admin.Operator. Only one backup runs at a time, because pages that
// are overwritten meanwhile make the state file grow.
func (n *Node) Backup(ctx context.Context) (io.ReadCloser, int64, error) {
	if !n.backingUp.CompareAndSwap(false, true) {
		return nil, 0, refusal.New(refusal.Conflict, "another backup of this node is under way")
	}
	ctx, cancel := context.WithTimeout(ctx, freshTimeout)
	defer cancel()
	if err := n.CatchUp(ctx); err != nil {
		n.backingUp.Store(false)
		return nil, 0, err
	}
	r, size, _, _, err := n.state.Snapshot()
	if err != nil {
		n.backingUp.Store(false)
		return nil, 0, err
	}
	return &backup{r, &n.backingUp}, size, nil
}

// backup is a stream whose Close allows the next backup.
type backup struct {
	io.ReadCloser
	running *atomic.Bool
}

func (b *backup) Close() error {
	err := b.ReadCloser.Close()
	b.running.Store(false)
	return err
}
