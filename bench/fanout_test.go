package bench

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"
)

func testFanout() Fanout {
	return Fanout{
		Channels:    2,
		Subscribers: 6,
		Publishers:  2,
		Window:      4,
		Size:        80,
		Duration:    200 * time.Millisecond,
		InFlight:    5,
		Settle:      patience,
	}
}

func TestFanoutCountsWhatHonestBrokersDeliver(t *testing.T) {
	servers := startBroker(t, func(*broker, int) lie { return honest })
	for name, change := range map[string]func(*Fanout){
		"flat out":   func(*Fanout) {},
		"fixed rate": func(f *Fanout) { f.Rate = 300 },
		"publish":    func(f *Fanout) { f.Subscribers = 0 },
		"so many":    func(f *Fanout) { f.Messages, f.Duration = 7, time.Hour },
		"rate, many": func(f *Fanout) { f.Messages, f.Duration, f.Rate = 7, time.Hour, 300 },
	} {
		f := testFanout()
		change(&f)
		r, err := f.Run(t.Context(), Target{Servers: servers, Key: "sk_test"})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if r.Broken() || len(r.Problems) > 0 {
			t.Errorf("%s: verdict %+v, %q", name, r.Verdict, r.Problems)
		}
		if r.Published == 0 || r.Acknowledged != r.Published || r.Delivered != r.Published*uint64(f.Subscribers) {
			t.Errorf("%s: report %+v", name, r)
		}
		if f.Messages > 0 && r.Published != uint64(f.Messages) {
			t.Errorf("%s: %d published", name, r.Published)
		}
		if f.Rate > 0 && r.Published > 61 {
			t.Errorf("%s: %d published", name, r.Published)
		}
		if f.Subscribers > 0 && (r.PublishToDeliver.P50 <= 0 || r.PublishToDeliver.P50 > r.PublishToDeliver.Max) {
			t.Errorf("%s: latency %+v", name, r.PublishToDeliver)
		}
		var table bytes.Buffer
		if err := r.WriteTable(&table); err != nil || !strings.Contains(table.String(), "publish → deliver") {
			t.Errorf("%s: table %q, %v", name, table.String(), err)
		}
	}
}

func TestFanoutCatchesLies(t *testing.T) {
	for name, c := range map[string]struct {
		what  lie
		wrong func(FanoutReport) bool
	}{
		"lost":         {forget, func(r FanoutReport) bool { return r.Lost > 0 }},
		"repeated":     {repeat, func(r FanoutReport) bool { return r.Duplicated == 6 && r.Lost == 0 }},
		"stored twice": {double, func(r FanoutReport) bool { return r.OutOfOrder > 0 }},
		"skipped":      {skip, func(r FanoutReport) bool { return r.OutOfOrder == 6 && r.Lost == 6 }},
		"refused":      {refuse, func(r FanoutReport) bool { return r.Refused == 1 }},
		"disconnected": {hangUp, func(r FanoutReport) bool { return r.Disconnected > 0 }},
	} {
		f := testFanout()
		f.Channels, f.Publishers, f.Settle = 1, 1, 300*time.Millisecond
		r, err := f.Run(t.Context(), Target{Servers: startBroker(t, once(3, c.what)), Key: "sk_test"})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if !r.Broken() || !c.wrong(r) || len(r.Problems) == 0 && r.Verdict == (Verdict{Delivered: r.Delivered}) {
			t.Errorf("%s: report %+v", name, r)
		}
	}
}

// An acknowledgement that never comes breaks no promise by itself, but nothing is shown.
func TestFanoutMissesAnAcknowledgement(t *testing.T) {
	f := testFanout()
	f.Channels, f.Publishers, f.Subscribers, f.Messages, f.Settle = 1, 1, 0, 3, 300*time.Millisecond
	r, err := f.Run(t.Context(), Target{Servers: startBroker(t, once(3, swallow)), Key: "sk_test"})
	if err != nil {
		t.Fatal(err)
	}
	if !r.Broken() || r.Published != 3 || r.Acknowledged != 2 {
		t.Errorf("report %+v", r)
	}
}

func TestValidateNamesTheField(t *testing.T) {
	idle := Idle{Clients: 1, Channels: 1, InFlight: 1, Rest: 1, Rounds: 1}
	storm := Storm{Clients: 1, Channels: 1, InFlight: 1}
	replay := Replay{Clients: 1, Channels: 1, Messages: 1, Size: MinSize, InFlight: 1}
	slow := Slow{Good: 1, Stalled: 1, Crawl: 1, Rate: 1, Size: MinSize, Duration: 1, Recover: 1, InFlight: 1}
	for field, check := range map[string]func() error{
		"subscribers": func() error { f := testFanout(); f.Subscribers = -1; return f.Validate() },
		"window":      func() error { f := testFanout(); f.Window = 0; return f.Validate() },
		"rounds":      func() error { i := idle; i.Rounds = 0; return i.Validate() },
		"in-flight":   func() error { s := storm; s.InFlight = 0; return s.Validate() },
		"messages":    func() error { r := replay; r.Messages = 0; return r.Validate() },
		"good":        func() error { s := slow; s.Good = 0; return s.Validate() },
		"stalled":     func() error { s := slow; s.Stalled = 0; return s.Validate() },
	} {
		if err := check(); err == nil || !strings.HasPrefix(err.Error(), field) {
			t.Errorf("%s: %v", field, err)
		}
	}
	if err := errors.Join(idle.Validate(), storm.Validate(), replay.Validate(), slow.Validate()); err != nil {
		t.Error(err)
	}
}
