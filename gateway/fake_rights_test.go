package gateway

import (
	"context"
	"slices"

	"github.com/aptlyd/aptlyd/fsm"
	"github.com/aptlyd/aptlyd/gateway/refusal"
)

func (b *fakeBroker) KeyByID(id string) (fsm.Key, bool) {
	defer b.judged.Add(1)
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, key := range b.keys {
		if key.ID == id {
			return key, true
		}
	}
	return fsm.Key{}, false
}

func (b *fakeBroker) Stamp() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.clock
}

func (b *fakeBroker) KeyUsed(id string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !slices.Contains(b.used, id) {
		b.used = append(b.used, id)
	}
}

func (b *fakeBroker) Refusals(_ context.Context, q refusal.Query) ([]refusal.Record, error) {
	return b.observer.(*Server).Refusals(q)
}

func (b *fakeBroker) Disconnect(_ context.Context, id string) error {
	if !b.observer.(*Server).Disconnect(id) {
		return refusal.New(refusal.NotFound, "no such connection")
	}
	return nil
}

// onCatchUp has something happen when the leader is asked next.
func (b *fakeBroker) onCatchUp(then func()) {
	b.set(func() {
		b.catchUp = func(context.Context) error {
			then()
			return nil
		}
	})
}
