package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/aptlyd/aptlyd/bench"
)

// TestMain lets the test binary be its own child, as the program is.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && roles[os.Args[1]] != nil {
		main()
		return
	}
	os.Exit(m.Run())
}

// TestPeersBearEveryKindOfLoad runs small loads on real peers: nothing is lost,
// which also shows that the protocols are spoken well.
func TestPeersBearEveryKindOfLoad(t *testing.T) {
	few := bench.Fanout{
		Channels: 3, Subscribers: 4, Publishers: 1, Window: 8, Rate: 200, Size: 128,
		Duration: 300 * time.Millisecond, InFlight: 10, Settle: 20 * time.Second,
	}
	publish := few
	publish.Subscribers = 0
	turns := bench.Churn{
		Members: 10, Rate: 50, Stay: 100 * time.Millisecond, Data: 2, Duration: 300 * time.Millisecond,
		InFlight: 10, Settle: 20 * time.Second,
	}
	missed := bench.Replay{Clients: 10, Channels: 3, Messages: 20, Size: 128, InFlight: 10, Settle: 20 * time.Second}
	jetStream := func(always bool) func(context.Context) (bench.Target, func() error, error) {
		return func(ctx context.Context) (bench.Target, func() error, error) { return startJetStream(ctx, "", always) }
	}
	centrifuge := func(c centrifugeConfig) func(context.Context) (bench.Target, func() error, error) {
		return func(context.Context) (bench.Target, func() error, error) { return startCentrifuge(c) }
	}
	for name, c := range map[string]struct {
		start func(context.Context) (bench.Target, func() error, error)
		loads []load
	}{
		"NATS":               {startNATS, []load{delivered(few), storm(bench.Storm{Clients: 20, Channels: 3, InFlight: 10})}},
		"JetStream":          {jetStream(false), []load{acknowledged(publish), timed(few)}},
		"JetStream always":   {jetStream(true), []load{acknowledged(publish), timed(few)}},
		"Centrifuge":         {centrifuge(centrifugeConfig{}), []load{delivered(few), acknowledged(publish)}},
		"Centrifuge history": {centrifuge(centrifugeConfig{History: 100}), []load{delivered(few), replay(missed)}},
		"Centrifuge members": {centrifuge(centrifugeConfig{Members: true}), []load{presence(turns)}},
	} {
		t.Run(name, func(t *testing.T) {
			target, stop, err := c.start(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := stop(); err != nil {
					t.Error(err)
				}
			}()
			for _, l := range c.loads {
				measured, problems, err := l(t.Context(), target)
				if err != nil || len(problems) > 0 || len(measured) == 0 {
					t.Errorf("measured %v, %q, %v", measured, problems, err)
				}
			}
		})
	}
}

func TestContendersTakeTurns(t *testing.T) {
	var order []string
	values := map[string][]float64{"a": {3, 1, 2}, "b": {5, 5, 9}}
	contend := func(name string) contender {
		return contender{name, func(context.Context) (bench.Target, func() error, error) {
			order = append(order, name)
			return bench.Target{Key: name}, func() error { order = append(order, "stop"); return nil }, nil
		}}
	}
	r := row{
		Name: "r", Title: "title", contenders: []contender{contend("a"), contend("b")},
		load: func(_ context.Context, target bench.Target) ([]metric, []string, error) {
			next := values[target.Key][0]
			values[target.Key] = values[target.Key][1:]
			if next == 9 {
				return []metric{{"m", next}}, []string{"lost one"}, nil
			}
			return []metric{{"m", next}}, nil, nil
		},
		ratio: "m",
	}
	results, err := runRows(t.Context(), []row{r}, 3, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(order, " "); got != strings.TrimSpace(strings.Repeat("a stop b stop ", 3)) {
		t.Errorf("order %s", got)
	}
	a, b := results[0].Lines[0], results[0].Lines[1]
	if a.Median["m"] != 2 || a.Min["m"] != 1 || a.Max["m"] != 3 || b.Median["m"] != 5 || len(a.Problems) != 0 {
		t.Errorf("a %+v, b %+v", a, b)
	}
	var table bytes.Buffer
	if err := writeTable(&table, results); err != nil || !strings.Contains(table.String(), "5.00 (5.00–9.00)") ||
		!strings.Contains(table.String(), "m of b: 4.50 (1.67–5.00) times that of a\n") ||
		!strings.Contains(table.String(), "! b: lost one") {
		t.Errorf("table %s, %v", table.String(), err)
	}

	fault := errors.New("no start")
	r.contenders[1].start = func(context.Context) (bench.Target, func() error, error) { return bench.Target{}, nil, fault }
	values["a"] = []float64{1}
	if _, err := runRows(t.Context(), []row{r}, 1, io.Discard); !errors.Is(err, fault) {
		t.Errorf("got %v", err)
	}
}

func TestChoose(t *testing.T) {
	all := rows("", "", time.Second)
	chosen, err := choose(all, "storm,acked")
	if err != nil || len(chosen) != 2 || chosen[0].Name != "acked" {
		t.Errorf("chosen %v, %v", chosen, err)
	}
	if _, err := choose(all, "storm,thunder"); err == nil {
		t.Error("an unknown row was chosen")
	}
}
