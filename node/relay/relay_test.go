package relay

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aptlyd/aptlyd/fsm"
)

// fakeNetwork collects what a relay sends.
type fakeNetwork struct {
	mu       sync.Mutex
	arrived  map[string]map[fsm.ChannelKey][]string // by peer
	hold     chan struct{}                          // when set, peer "slow" takes nothing until it is closed
	dropped  atomic.Int64
	inFlight chan struct{} // one token per batch that "slow" is offered
}

func newFakeNetwork() *fakeNetwork {
	return &fakeNetwork{arrived: make(map[string]map[fsm.ChannelKey][]string), inFlight: make(chan struct{}, 1024)}
}

func (p *fakeNetwork) take(peer string, batch []fsm.Appended) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.arrived[peer] == nil {
		p.arrived[peer] = make(map[fsm.ChannelKey][]string)
	}
	for _, g := range batch {
		for _, m := range g.Messages {
			p.arrived[peer][g.Channel] = append(p.arrived[peer][g.Channel], string(m.Data))
		}
	}
}

func (p *fakeNetwork) send(ctx context.Context, peer string, raw []byte) error {
	if peer == "slow" {
		p.inFlight <- struct{}{}
		select {
		case <-p.hold:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	batch, err := Decode(raw)
	if err != nil {
		return err
	}
	p.take(peer, batch)
	return nil
}

func (p *fakeNetwork) relay(t *testing.T) *Relay {
	t.Helper()
	r := New(p.send, func(n int) { p.dropped.Add(int64(n)) })
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

func (p *fakeNetwork) got(peer string, k fsm.ChannelKey) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.arrived[peer][k]
}

func (p *fakeNetwork) broadcast(r *Relay, k fsm.ChannelKey, data []byte, now time.Time) error {
	return r.Broadcast([]fsm.Appended{{Channel: k, Messages: []fsm.Message{{Timestamp: 1, Data: data}}}}, now)
}

func TestRelayKeepsOrderAndServesInterest(t *testing.T) {
	const publishers, messages = 8, 500
	p := newFakeNetwork()
	r := p.relay(t)
	now := time.Now()
	r.SetPeers([]string{"one", "two", "deaf"}, now)
	for _, peer := range []string{"two", "deaf"} {
		r.SetInterest(peer, Change{Epoch: 1, Number: 1}, now)
	}
	r.SetInterest("two", Change{Epoch: 1, Number: 2, Add: []fsm.ChannelKey{channelNumber(3)}, Complete: true}, now)
	r.SetInterest("deaf", Change{Epoch: 1, Number: 2, Complete: true}, now)
	var done sync.WaitGroup
	for n := range publishers {
		done.Go(func() {
			for i := range messages {
				if err := p.broadcast(r, channelNumber(n), fmt.Append(nil, i), now); err != nil {
					t.Error(err)
				}
			}
		})
	}
	done.Wait()
	inOrder := func(peer string, k fsm.ChannelKey) error {
		got := p.got(peer, k)
		for i, text := range got {
			if text != fmt.Sprint(i) {
				return fmt.Errorf("%s: message %d of %v is %s", peer, i, k, text)
			}
		}
		if len(got) != messages {
			return fmt.Errorf("%s has %d messages of %v", peer, len(got), k)
		}
		return nil
	}
	eventually(t, func() error {
		for n := range publishers {
			if err := inOrder("one", channelNumber(n)); err != nil {
				return err
			}
		}
		return inOrder("two", channelNumber(3))
	})
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.arrived["two"]) != 1 || len(p.arrived["deaf"]) != 0 || p.dropped.Load() != 0 {
		t.Errorf("two has %d channels, deaf %d, %d messages are dropped", len(p.arrived["two"]), len(p.arrived["deaf"]),
			p.dropped.Load())
	}
}

// A busy peer makes publishers wait. A peer that hangs loses what does not fit.
func TestRelayIsBounded(t *testing.T) {
	p := newFakeNetwork()
	p.hold = make(chan struct{})
	r := p.relay(t)
	r.SetPeers([]string{"slow", "fast"}, time.Now())
	big, k := bytes.Repeat([]byte("1"), 1<<20), channelNumber(1)
	if err := p.broadcast(r, k, big, time.Now()); err != nil {
		t.Fatal(err)
	}
	<-p.inFlight
	r.mu.Lock()
	sending := r.peers["slow"].sending
	r.mu.Unlock()
	published := 1
	var err error
	for published < 100 {
		// The other peer takes everything before the next one comes.
		eventually(t, func() error {
			if got := len(p.got("fast", k)); got != published {
				return fmt.Errorf("the other peer has %d of %d messages", got, published)
			}
			return nil
		})
		if err = p.broadcast(r, k, big, sending); err != nil {
			break
		}
		published++
	}
	if !errors.Is(err, ErrOverloaded) || published > 12 {
		t.Fatalf("after %d MiB: %v", published, err)
	}
	if err := p.broadcast(r, k, big, sending.Add(slowAfter+1)); err != nil {
		t.Errorf("a peer that hangs holds publishers up: %v", err)
	}
	if p.dropped.Load() != 1 {
		t.Errorf("%d messages are dropped", p.dropped.Load())
	}
	close(p.hold)
	eventually(t, func() error {
		if slow, fast := len(p.got("slow", k)), len(p.got("fast", k)); slow != published || fast != published+1 {
			return fmt.Errorf("of %d messages the slow peer has %d, the other %d", published+1, slow, fast)
		}
		return nil
	})
}

func FuzzDecode(f *testing.F) {
	valid := Encode([]fsm.Appended{
		{
			Channel:  channelNumber(1),
			Messages: []fsm.Message{{Timestamp: 5, Data: []byte("1")}, {Timestamp: 6, Data: []byte(`{}`)}},
		},
		{Channel: channelNumber(2), Messages: []fsm.Message{{Timestamp: 7, Data: []byte(`"b"`)}}},
	})
	f.Add(valid)
	for n := range valid {
		f.Add(valid[:n])
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		batch, err := Decode(raw)
		if err != nil {
			if !errors.Is(err, ErrMalformed) || batch != nil {
				t.Errorf("%v with %v", err, batch)
			}
			return
		}
		again, err := Decode(Encode(batch))
		if err != nil || fmt.Sprint(again) != fmt.Sprint(batch) {
			t.Errorf("%v becomes %v, %v", batch, again, err)
		}
	})
}
