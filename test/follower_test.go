package test

import (
	"encoding/json"
	"fmt"
	"sync"
	"testing"

	"github.com/aptlyd/aptlyd/client"
)

// follower subscribes to channels through every node and holds what is delivered
// against what was published.
type follower struct {
	t     *testing.T
	site  site
	views []*view // one per node
}

// view is what one node has delivered.
type view struct {
	subscriptions []*client.Subscription

	mu    sync.Mutex
	ids   map[string][]string // by channel, in the order of delivery
	wrong []string
}

// follow subscribes through each node of c, and through no other.
func follow(t *testing.T, c site, channels []string) *follower {
	t.Helper()
	f := &follower{t: t, site: c}
	for i := range c.Len() {
		v := &view{ids: make(map[string][]string)}
		f.views = append(f.views, v)
		cl := connect(t, c, c.keys().public, i)
		for _, channel := range channels {
			s, err := cl.Subscribe(within(t, deadline), channel, client.SubscribeOptions{
				From:      client.All(),
				OnMessage: v.take,
				OnGap:     func(g client.Gap) { v.complain("gap %+v", g) },
				OnReset:   func(r client.Reset) { v.complain("reset %+v", r) },
			})
			if err != nil {
				t.Fatal(err)
			}
			v.subscriptions = append(v.subscriptions, s)
		}
	}
	return f
}

func (v *view) take(m client.Message) {
	var e entry
	if err := json.Unmarshal(m.Data, &e); err != nil {
		v.complain("%s, offset %d: %v", m.Channel, m.Offset, err)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.ids[m.Channel] = append(v.ids[m.Channel], e.ID)
	if n := len(v.ids[m.Channel]); m.Offset != uint64(n) {
		v.wrong = append(v.wrong, fmt.Sprintf("%s: offset %d delivered as number %d", m.Channel, m.Offset, n))
	}
}

func (v *view) complain(format string, args ...any) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.wrong = append(v.wrong, fmt.Sprintf(format, args...))
}

// check waits until every node has delivered everything that l has had
// acknowledged, each message at its offset, in order and once.
func (f *follower) check(l *load) {
	f.t.Helper()
	for i, v := range f.views {
		eventually(f.t, deadline, func() error {
			v.mu.Lock()
			defer v.mu.Unlock()
			for id, a := range l.acked {
				if got := uint64(len(v.ids[a.channel])); got < a.offset {
					return fmt.Errorf("%s has delivered %d messages of %s, not %s at %d", f.site.Name(i), got, a.channel, id, a.offset)
				}
			}
			return nil
		})
		v.mu.Lock()
		for id, a := range l.acked {
			if got := v.ids[a.channel][a.offset-1]; got != id {
				f.t.Errorf("%s delivered %s as offset %d of %s, acknowledged was %s", f.site.Name(i), got, a.offset, a.channel, id)
			}
		}
		for _, wrong := range v.wrong {
			f.t.Errorf("%s: %s", f.site.Name(i), wrong)
		}
		v.mu.Unlock()
		for _, s := range v.subscriptions {
			if faults := s.Faults(); faults != (client.Faults{}) {
				f.t.Errorf("%s against its contract: %+v", f.site.Name(i), faults)
			}
		}
	}
}
