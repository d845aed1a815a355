package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"
)

// testRun is a load together with what it is put on.
type testRun struct {
	Load
	Target
}

func (r testRun) Run(ctx context.Context) (Report, error) { return r.Load.Run(ctx, r.Target) }

func testLoad(servers []string) *testRun {
	load := Load{
		Subscribers: 5,
		Channels:    2,
		Rate:        500,
		Size:        80,
		Duration:    300 * time.Millisecond,
		Window:      16,
		Settle:      patience,
	}
	return &testRun{load, Target{Servers: servers, Key: "sk_test"}}
}

// once makes a broker lie a single time, at an offset.
func once(at int, what lie) func(*broker, int) lie {
	told := false
	return func(_ *broker, offset int) lie {
		if told || offset != at {
			return honest
		}
		told = true
		return what
	}
}

func TestLoadOnAnHonestBroker(t *testing.T) {
	var progress bytes.Buffer
	l := testLoad(startBroker(t, func(*broker, int) lie { return honest }))
	l.Progress = &progress
	l.Duration = 1200 * time.Millisecond
	r, err := l.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if r.Broken() || len(r.Problems) > 0 {
		t.Errorf("verdict %+v, %q", r.Verdict, r.Problems)
	}
	if r.Published == 0 || r.Published > 700 || r.Acknowledged != r.Published ||
		r.Failed+r.Unknown+r.Repeated+r.Reconnects > 0 {
		t.Errorf("report %+v", r)
	}
	// Three subscribers follow channel 0, two channel 1.
	if r.Delivered < 2*r.Acknowledged || r.Delivered > 3*r.Acknowledged {
		t.Errorf("%d acknowledged, %d delivered", r.Acknowledged, r.Delivered)
	}
	for name, l := range map[string]Latency{"acknowledge": r.PublishToAcknowledge, "deliver": r.PublishToDeliver} {
		if l.P50 <= 0 || l.P50 > l.P99 || l.P99 > l.Max {
			t.Errorf("%s: %+v", name, l)
		}
	}
	if !strings.Contains(progress.String(), "acknowledged") {
		t.Errorf("progress: %q", progress.String())
	}
}

func TestLoadFlatOut(t *testing.T) {
	l := testLoad(startBroker(t, func(*broker, int) lie { return honest }))
	l.Rate, l.Channels, l.Subscribers, l.Window = 0, 7, 2, 2
	r, err := l.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	// Fewer subscribers than channels: each channel has exactly one.
	if r.Broken() || r.Acknowledged == 0 || r.Delivered != r.Acknowledged || r.Acknowledged != r.Published {
		t.Errorf("report %+v", r)
	}
}

func TestLoadCatchesABrokerThatLies(t *testing.T) {
	for name, test := range map[string]struct {
		lie   lie
		wrong func(Verdict) uint64
	}{
		"forgets":          {forget, func(v Verdict) uint64 { return v.OutOfOrder }},
		"delivers twice":   {repeat, func(v Verdict) uint64 { return v.Duplicated }},
		"skips an offset":  {skip, func(v Verdict) uint64 { return v.OutOfOrder }},
		"stores one twice": {double, func(v Verdict) uint64 { return v.Duplicated }},
		"tells the truth":  {honest, func(v Verdict) uint64 { return 1 }},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := testLoad(startBroker(t, once(10, test.lie))).Run(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if r.Broken() != (test.lie != honest) || test.wrong(r.Verdict) == 0 {
				t.Errorf("verdict %+v, %q", r.Verdict, r.Problems)
			}
		})
	}
}

func TestLoadCatchesALossAtTheEnd(t *testing.T) {
	l := testLoad(startBroker(t, func(_ *broker, offset int) lie {
		if offset > 20 {
			return forget
		}
		return honest
	}))
	l.Channels, l.Settle = 1, 100*time.Millisecond
	r, err := l.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if r.Lost == 0 || !r.Broken() || len(r.Problems) == 0 {
		t.Errorf("verdict %+v, %q", r.Verdict, r.Problems)
	}
}

func TestLoadSurvivesLostConnections(t *testing.T) {
	l := testLoad(startBroker(t, func(_ *broker, offset int) lie {
		switch offset {
		case 10, 25:
			return hangUp
		}
		return honest
	}))
	r, err := l.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if r.Broken() || r.Acknowledged != r.Published || r.Repeated == 0 || r.Reconnects == 0 || len(r.Reasons) == 0 {
		t.Errorf("report %+v", r)
	}
}

func TestLoadCountsFailures(t *testing.T) {
	l := testLoad(startBroker(t, once(5, forbid)))
	r, err := l.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if r.Broken() || r.Failed != 1 || r.Acknowledged != r.Published-1 {
		t.Errorf("report %+v", r)
	}
}

func TestLoadWithoutQuorumLeavesUnsettled(t *testing.T) {
	l := testLoad(startBroker(t, func(*broker, int) lie { return refuse }))
	l.Settle = 50 * time.Millisecond
	r, err := l.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if r.Acknowledged != 0 || r.Failed+r.Unknown != r.Published || len(r.Problems) != 2 || !r.Broken() {
		t.Errorf("report %+v", r)
	}
}

func TestLoadEndsEarlyWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	l := testLoad(startBroker(t, func(_ *broker, offset int) lie {
		if offset == 10 {
			cancel()
		}
		return honest
	}))
	l.Duration = time.Hour
	r, err := l.Run(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if r.Broken() || r.Acknowledged != r.Published {
		t.Errorf("report %+v", r)
	}
}

func TestLoadNamesTheFieldAtFault(t *testing.T) {
	for field, spoil := range map[string]func(*testRun){
		"servers":     func(l *testRun) { l.Servers = nil },
		"key":         func(l *testRun) { l.Key = "" },
		"subscribers": func(l *testRun) { l.Subscribers = 0 },
		"channels":    func(l *testRun) { l.Channels = 5001 },
		"rate":        func(l *testRun) { l.Rate = -1 },
		"size":        func(l *testRun) { l.Size = MinSize - 1 },
		"duration":    func(l *testRun) { l.Duration = 0 },
		"window":      func(l *testRun) { l.Window = 0 },
	} {
		l := testLoad([]string{"127.0.0.1:1"})
		spoil(l)
		if _, err := l.Run(t.Context()); err == nil || !strings.HasPrefix(err.Error(), field+":") {
			t.Errorf("%s: got %v", field, err)
		}
	}
}

func TestReportForPeopleAndPrograms(t *testing.T) {
	r := Report{Seconds: 2, Published: 10, Verdict: Verdict{Delivered: 30, Lost: 4}, Problems: []string{"it is gone"}}
	var table bytes.Buffer
	if err := r.WriteTable(&table); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"published", "15/s", "out of order", "p99.9", "! it is gone"} {
		if !strings.Contains(table.String(), want) {
			t.Errorf("%q is missing in:\n%s", want, table.String())
		}
	}
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var fields map[string]any
	if err := json.Unmarshal(text, &fields); err != nil {
		t.Fatal(err)
	}
	if fields["lost"] != 4.0 || fields["published"] != 10.0 || fields["publishToDeliver"] == nil {
		t.Errorf("JSON %s", text)
	}
}
