package bench

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"time"
)

// Storm connects, authenticates and subscribes clients all at once.
type Storm struct {
	Clients  int
	Channels int // each client subscribes to one
	InFlight int // clients that connect at a time
}

// Validate reports the first field that cannot be used.
func (s Storm) Validate() error {
	return cmp.Or(
		atLeast("clients", s.Clients, 1),
		atLeast("channels", s.Channels, 1),
		atLeast("in-flight", s.InFlight, 1),
	)
}

// StormReport is the result of a Storm.
type StormReport struct {
	Clients   int     `json:"clients"`
	InFlight  int     `json:"inFlight"`
	Seconds   float64 `json:"seconds"` // until the last was subscribed
	PerSecond float64 `json:"perSecond"`
	Cost
	CPUPerClient float64 `json:"serverCPUPerClient"` // µs
	Ready        Latency `json:"ready"`              // ms from connect to subscribed
}

// WriteTable writes the report for people.
func (r StormReport) WriteTable(w io.Writer) error {
	t := &table{w: w}
	t.count("clients", uint64(r.Clients), r.Seconds)
	t.seconds("until all are subscribed", r.Seconds)
	t.cost(r.Cost)
	if r.ServerCPU > 0 {
		t.printf("%-26s %9.0f µs\n", "server CPU per client", r.CPUPerClient)
	}
	t.latencies()
	t.latency("connect → subscribed", r.Ready)
	return t.end()
}

// Run connects all clients. An error means that one of them failed.
func (s Storm) Run(ctx context.Context, target Target) (report StormReport, err error) {
	if err := errors.Join(s.Validate(), target.Validate()); err != nil {
		return StormReport{}, err
	}
	swarm, err := newSwarm(ctx, target)
	if err != nil {
		return StormReport{}, err
	}
	defer func() { err = errors.Join(err, swarm.close()) }()
	run := rand.Uint32()
	for n := range s.Clients {
		swarm.add(placement{server: n % len(target.Servers), channel: fmt.Sprintf("bench.%08x.%d", run, n%s.Channels)})
	}
	ready := newStopwatch()
	swarm.onLive = func(m *member) { ready.record(0, swarm.now.Sub(m.began)) }
	meter, err := startMeter(target.PIDs)
	if err != nil {
		return StormReport{}, err
	}
	start := time.Now()
	if err := swarm.connect(ctx, swarm.members, s.InFlight); err != nil {
		return StormReport{}, err
	}
	report = StormReport{
		Clients: s.Clients, InFlight: s.InFlight, Seconds: time.Since(start).Seconds(),
		Ready: ready.latency(),
	}
	report.PerSecond = float64(s.Clients) / report.Seconds
	if report.Cost, err = meter.stop(); err != nil {
		return StormReport{}, err
	}
	report.CPUPerClient = report.ServerCPU / float64(s.Clients) * 1e6
	return report, nil
}
