package bench

import (
	"bytes"
	"os"
	"strings"
	"testing"
	"time"
)

func target(servers []string) Target {
	return Target{Servers: servers, Key: "sk_test", PIDs: []int{os.Getpid()}}
}

func TestIdle(t *testing.T) {
	servers := startBroker(t, func(*broker, int) lie { return honest })
	idle := Idle{Clients: 30, Channels: 4, InFlight: 7, Rest: 50 * time.Millisecond, Leave: patience, Rounds: 2}
	r, err := idle.Run(t.Context(), target(servers))
	if err != nil {
		t.Fatal(err)
	}
	if r.Broken() || len(r.Rounds) != 2 {
		t.Errorf("report %+v", r)
	}
	for _, round := range r.Rounds {
		if round.Reached != 30 || round.During <= 0 || round.Connect <= 0 || round.DescriptorsBefore <= 0 {
			t.Errorf("round %+v", round)
		}
	}
	var table bytes.Buffer
	if err := r.WriteTable(&table); err != nil || strings.Count(table.String(), "\n") != 4 {
		t.Errorf("table %q, %v", table.String(), err)
	}
}

func TestIdleNoticesTheDisconnected(t *testing.T) {
	servers := startBroker(t, once(1, hangUp))
	idle := Idle{Clients: 10, Channels: 1, InFlight: 10, Rest: time.Millisecond, Rounds: 1}
	r, err := idle.Run(t.Context(), target(servers))
	if err != nil {
		t.Fatal(err)
	}
	if !r.Broken() || r.Rounds[0].Reached != 0 || r.Rounds[0].Disconnected == 0 {
		t.Errorf("report %+v", r)
	}
}

func TestStorm(t *testing.T) {
	servers := startBroker(t, func(*broker, int) lie { return honest })
	r, err := Storm{Clients: 50, Channels: 3, InFlight: 20}.Run(t.Context(), target(servers))
	if err != nil {
		t.Fatal(err)
	}
	if r.PerSecond <= 0 || r.Ready.P50 <= 0 || r.Ready.P50 > r.Ready.Max {
		t.Errorf("report %+v", r)
	}
	if _, err := (Storm{Clients: 5, Channels: 1, InFlight: 5}).Run(t.Context(),
		target([]string{"ws://127.0.0.1:1"})); err == nil {
		t.Error("nobody noticed that there is no server")
	}
}

func TestReplay(t *testing.T) {
	servers := startBroker(t, func(*broker, int) lie { return honest })
	replay := Replay{Clients: 20, Channels: 3, Messages: 15, Size: 64, InFlight: 10, Settle: patience}
	r, err := replay.Run(t.Context(), target(servers))
	if err != nil {
		t.Fatal(err)
	}
	if r.Broken() || r.Delivered != 300 || r.Seconds <= 0 {
		t.Errorf("report %+v", r)
	}
}

func TestReplayNoticesWhatIsMissing(t *testing.T) {
	b := &broker{keep: 10, lie: func(*broker, int) lie { return honest }}
	replay := Replay{Clients: 4, Channels: 2, Messages: 15, Size: 64, InFlight: 10, Settle: patience}
	r, err := replay.Run(t.Context(), target(b.start(t)))
	if err != nil {
		t.Fatal(err)
	}
	if !r.Broken() || r.Delivered != 40 || r.Expired != 20 {
		t.Errorf("report %+v", r)
	}
}

func testSlow() Slow {
	return Slow{
		Good: 3, Stalled: 2, Crawling: 2, Crawl: 4096, Receive: 8192,
		Rate: 200, Size: 64, Duration: 100 * time.Millisecond, Recover: patience, InFlight: 3,
	}
}

func TestSlow(t *testing.T) {
	servers := startBroker(t, func(*broker, int) lie { return honest })
	r, err := testSlow().Run(t.Context(), target(servers))
	if err != nil {
		t.Fatal(err)
	}
	if r.Broken() || r.Recovered != 4 || r.Closed > 0 || r.Published < 20 || r.With.P50 <= 0 || r.Without.P50 <= 0 {
		t.Errorf("report %+v", r)
	}
	// The slow ones joined when half was over.
	if r.Delivered >= 7*r.Published || r.Delivered <= 3*r.Published {
		t.Errorf("%d published, %d delivered", r.Published, r.Delivered)
	}
}

// closeSlow makes a broker close a slow client's connection, the last that came,
// a moment after the slow ones have come.
func closeSlow(slow Slow) func(*broker, int) lie {
	at := int(slow.Rate*slow.Duration.Seconds()) + 5
	return func(b *broker, offset int) lie {
		if offset == at {
			b.youngest.Close()
		}
		return honest
	}
}

func TestSlowComesBackAfterAClose(t *testing.T) {
	slow := testSlow()
	slow.Duration = 300 * time.Millisecond
	b := &broker{keep: 5, lie: closeSlow(slow)}
	r, err := slow.Run(t.Context(), target(b.start(t)))
	if err != nil {
		t.Fatal(err)
	}
	if r.Broken() || r.Closed != 1 || r.Recovered != 4 || r.Gaps != 1 || r.Expired == 0 {
		t.Errorf("report %+v", r)
	}
}

func TestSlowNoticesAWrongGap(t *testing.T) {
	slow := testSlow()
	slow.Duration = 300 * time.Millisecond
	b := &broker{keep: 5, greedy: true, lie: closeSlow(slow)}
	r, err := slow.Run(t.Context(), target(b.start(t)))
	if err != nil {
		t.Fatal(err)
	}
	if !r.Broken() {
		t.Errorf("report %+v", r)
	}
}
