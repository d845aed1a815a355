package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aptlyd/aptlyd/cluster"
	"github.com/aptlyd/aptlyd/fsm"
)

// post collects what a relay sends.
type post struct {
	mu       sync.Mutex
	arrived  map[string]map[fsm.ChannelKey][]string // by peer
	hold     chan struct{}                          // when set, peer "slow" takes nothing until it is closed
	dropped  atomic.Int64
	inFlight chan struct{} // one token per batch that "slow" is offered
}

func newPost() *post {
	return &post{arrived: make(map[string]map[fsm.ChannelKey][]string), inFlight: make(chan struct{}, 1024)}
}

func (p *post) take(peer string, batch []fsm.Appended) {
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

func (p *post) send(ctx context.Context, peer string, raw []byte) error {
	if peer == "slow" {
		p.inFlight <- struct{}{}
		select {
		case <-p.hold:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	batch, err := decodeTransients(raw)
	if err != nil {
		return err
	}
	p.take(peer, batch)
	return nil
}

func (p *post) relay(t *testing.T) *relay {
	t.Helper()
	r := newRelay(p.send, func(n int) { p.dropped.Add(int64(n)) })
	t.Cleanup(func() {
		if err := r.close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

func (p *post) got(peer string, k fsm.ChannelKey) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.arrived[peer][k]
}

func (p *post) broadcast(r *relay, k fsm.ChannelKey, data []byte, now time.Time) error {
	return r.broadcast(byChannel([]fsm.Publish{{Channel: k, Data: data}}, 1), now)
}

func TestRelayKeepsOrderAndServesWhoAttends(t *testing.T) {
	const publishers, messages = 8, 500
	p := newPost()
	r := p.relay(t)
	now := time.Now()
	r.setPeers([]string{"one", "two", "deaf"}, now)
	for _, peer := range []string{"two", "deaf"} {
		r.applyInterest(peer, interestChange{Epoch: 1, Number: 1}, now)
	}
	r.applyInterest("two", interestChange{Epoch: 1, Number: 2, Add: []fsm.ChannelKey{channelNumber(3)}, Complete: true}, now)
	r.applyInterest("deaf", interestChange{Epoch: 1, Number: 2, Complete: true}, now)
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
		t.Errorf("two has %d channels, deaf %d, %d messages are dropped", len(p.arrived["two"]), len(p.arrived["deaf"]), p.dropped.Load())
	}
}

// A peer that is busy holds publishers up with a refusal; one that hangs loses
// what does not fit.
func TestRelayIsBounded(t *testing.T) {
	p := newPost()
	p.hold = make(chan struct{})
	r := p.relay(t)
	r.setPeers([]string{"slow", "fast"}, time.Now())
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
	if !errors.Is(err, cluster.ErrOverloaded) || published > 12 {
		t.Fatalf("after %d MiB: %v", published, err)
	}
	if err := p.broadcast(r, k, big, sending.Add(relaySlowAfter+1)); err != nil {
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

func FuzzDecodeTransients(f *testing.F) {
	valid := encodeTransients([]fsm.Appended{
		{Channel: channelNumber(1), Messages: []fsm.Message{{Timestamp: 5, Data: []byte("1")}, {Timestamp: 6, Data: []byte(`{}`)}}},
		{Channel: channelNumber(2), Messages: []fsm.Message{{Timestamp: 7, Data: []byte(`"b"`)}}},
	})
	f.Add(valid)
	for n := range valid {
		f.Add(valid[:n])
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		batch, err := decodeTransients(raw)
		if err != nil {
			if !errors.Is(err, errTransients) || batch != nil {
				t.Errorf("%v with %v", err, batch)
			}
			return
		}
		again, err := decodeTransients(encodeTransients(batch))
		if err != nil || fmt.Sprint(again) != fmt.Sprint(batch) {
			t.Errorf("%v becomes %v, %v", batch, again, err)
		}
	})
}
