package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/aptlyd/aptlyd/bench"
	"github.com/aptlyd/aptlyd/client"
)

// row is one load, and who bears it.
type row struct {
	Name       string
	Title      string
	contenders []contender
	load       load
	ratio      string // the metric of which each contender is told as a multiple of the first
}

// contender starts new servers for one load.
type contender struct {
	name  string
	start func(context.Context) (target bench.Target, stop func() error, err error)
}

// load puts a load on servers and measures; the problems are promises broken.
type load func(context.Context, bench.Target) (measured []metric, problems []string, err error)

// metric is something measured.
type metric struct {
	name  string
	value float64
}

// settle is how long a load waits at its end for what is under way.
const settle = 30 * time.Second

// rows returns all rows. Each publishes for the given time. The older JetStream is
// that of another build of this program, if there is one.
func rows(aptlyd, older string, duration time.Duration) []row {
	follow := func(nodes int, name string, rule client.Rule) contender {
		return contender{name, func(ctx context.Context) (bench.Target, func() error, error) {
			return startAptlyd(ctx, aptlyd, nodes, rule)
		}}
	}
	contend := func(nodes int, name, durability string) contender {
		return follow(nodes, name, client.Rule{Durability: durability})
	}
	durable := contend(3, "aptlyd", "quorum")
	transient := contend(3, "aptlyd memory", "memory")
	jetStream := func(always bool, name string) []contender {
		start := func(program string) func(context.Context) (bench.Target, func() error, error) {
			return func(ctx context.Context) (bench.Target, func() error, error) {
				return startJetStream(ctx, program, always)
			}
		}
		contenders := []contender{{"JetStream R3 " + name, start("")}}
		if older != "" {
			contenders = append(contenders, contender{"older R3 " + name, start(older)})
		}
		return contenders
	}
	unsynced, always := jetStream(false, "unsynced"), jetStream(true, "always")
	natsWS := contender{"NATS WebSocket", startNATS}
	centrifugeOf := func(name string, config centrifugeConfig) contender {
		return contender{name, func(context.Context) (bench.Target, func() error, error) { return startCentrifuge(config) }}
	}
	centrifuge := centrifugeOf("Centrifuge", centrifugeConfig{})
	single := []contender{contend(1, "aptlyd", "quorum"), contend(1, "aptlyd memory", "memory"), centrifuge, natsWS}
	over := func(name, transport string) contender {
		return contender{name, func(ctx context.Context) (bench.Target, func() error, error) {
			target, stop, err := startAptlyd(ctx, aptlyd, 1, client.Rule{Durability: "quorum"})
			target.Transport = transport
			return target, stop, err
		}}
	}
	transports := []contender{over("WebSocket", "ws"), over("Server-Sent Events", "sse"), over("long polls", "poll")}

	fanout := func(channels, subscribers, window int, rate float64) bench.Fanout {
		return bench.Fanout{
			Channels: channels, Subscribers: subscribers, Publishers: 1, Window: window, Rate: rate,
			Size: 128, Duration: duration, InFlight: 200, Settle: settle,
		}
	}
	churn := bench.Churn{
		Members: 1000, Rate: 100, Stay: 5 * time.Second, Data: 2, Duration: 2 * duration, InFlight: 200, Settle: settle,
	}
	// aptlyd leaves up to 2,048 publications of a connection unanswered, which what
	// is in flight on each stays below; the peers get as many.
	publish := fanout(12, 0, 250, 0)
	publish.Publishers = 4
	back := bench.Replay{Clients: 1000, Channels: 100, Messages: 100, Size: 128, InFlight: 1000, Settle: settle}
	quiet := idle(bench.Idle{
		Clients: 15000, Channels: 100, InFlight: 200,
		Rest: max(2*duration, time.Second), Leave: duration, Rounds: 1,
	})
	return []row{
		{
			"acked", "acknowledged messages/s, three nodes, four publishers on each with 250 in flight",
			slices.Concat([]contender{durable}, unsynced, always), acknowledged(publish), "",
		},
		{
			"latency-2000", "2,000 messages/s on node 1 of three, delivered on 2 and 3",
			slices.Concat([]contender{durable, transient}, unsynced), timed(fanout(1, 2, 2000, 2000)), "",
		},
		{
			"latency-200", "200 messages/s on node 1 of three, delivered on 2 and 3",
			slices.Concat([]contender{durable}, always), timed(fanout(1, 2, 200, 200)), "",
		},
		{"fanout-1k-w32", "1,000 subscribers, 32 messages in flight", single, delivered(fanout(1, 1000, 32, 0)), ""},
		{"fanout-10k-w32", "10,000 subscribers, 32 messages in flight", single, delivered(fanout(1, 10000, 32, 0)), ""},
		{"fanout-10k-w4", "10,000 subscribers, 4 messages in flight", single, delivered(fanout(1, 10000, 4, 0)), ""},
		{"equal-work", "1,000 subscribers, 50 messages/s", single, delivered(fanout(1, 1000, 1000, 50)), ""},
		{
			"latency-1000", "1,000 messages/s over 100 channels of 10 subscribers",
			single, timed(fanout(100, 10, 1000, 1000)), "",
		},
		{
			"storm", "10,000 clients connect, authenticate and subscribe, 1,000 at a time",
			[]contender{single[0], centrifuge, natsWS},
			storm(bench.Storm{Clients: 10000, Channels: 100, InFlight: 1000}), "",
		},
		{
			"replay", "1,000 clients come back that missed 100 messages each",
			[]contender{single[0], centrifugeOf("Centrifuge history", centrifugeConfig{History: 1000})},
			replay(back), "",
		},
		{
			"idle", "15,000 clients that only listen",
			[]contender{single[0], centrifuge, natsWS},
			quiet, "",
		},
		{"idle-http", "15,000 clients that only listen, by transport", transports, quiet, "RSS B/client"},
		{
			"fanout-http", "1,000 subscribers, 32 messages in flight, by transport",
			transports, delivered(fanout(1, 1000, 32, 0)), "deliveries/CPU-s",
		},
		{
			"equal-work-http", "1,000 subscribers, 50 messages/s, by transport",
			transports, delivered(fanout(1, 1000, 1000, 50)), "deliveries/CPU-s",
		},
		{
			"replay-http", "1,000 clients come back that missed 100 messages each, by transport",
			transports, replay(back), "server CPU s",
		},
		{
			"presence", "1,000 members are told of 100 others that enter, and 100 that leave, each second",
			[]contender{
				follow(1, "aptlyd", churn.Rule()), follow(3, "aptlyd three nodes", churn.Rule()),
				centrifugeOf("Centrifuge", centrifugeConfig{Members: true}),
			},
			presence(churn), "µs CPU/event",
		},
	}
}

// startAptlyd starts a cluster with a project whose channels all follow one rule.
func startAptlyd(ctx context.Context, binary string, nodes int, rule client.Rule) (bench.Target, func() error, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	cluster, err := bench.Spawn(ctx, bench.SpawnOptions{Nodes: nodes, Binary: binary})
	if err != nil {
		return bench.Target{}, nil, err
	}
	target, _, err := bench.MakeProject(ctx, cluster.Target(), rule)
	if err != nil {
		return bench.Target{}, nil, errors.Join(err, cluster.Close())
	}
	return target, cluster.Close, nil
}

func acknowledged(f bench.Fanout) load {
	return fanoutLoad(f, func(r bench.FanoutReport) []metric {
		return []metric{
			{"acked/s", float64(r.Acknowledged) / r.Seconds},
			{"acked/CPU-s", float64(r.Acknowledged) / r.ServerCPU},
			{"ack p50 ms", r.PublishToAcknowledge.P50},
			{"ack p99 ms", r.PublishToAcknowledge.P99},
		}
	})
}

func timed(f bench.Fanout) load {
	return fanoutLoad(f, func(r bench.FanoutReport) []metric {
		return []metric{
			{"ack p50 ms", r.PublishToAcknowledge.P50},
			{"ack p99 ms", r.PublishToAcknowledge.P99},
			{"deliver p50 ms", r.PublishToDeliver.P50},
			{"deliver p99 ms", r.PublishToDeliver.P99},
			{"deliver p99.9 ms", r.PublishToDeliver.P999},
			{"server CPU s", r.ServerCPU},
		}
	})
}

func delivered(f bench.Fanout) load {
	return fanoutLoad(f, func(r bench.FanoutReport) []metric {
		return []metric{
			{"deliveries/s", float64(r.Delivered) / r.Seconds},
			{"deliveries/CPU-s", r.DeliveriesPerCPUSecond},
			{"µs CPU/delivery", r.CPUPerDelivery},
			{"deliver p50 ms", r.PublishToDeliver.P50},
			{"deliver p99 ms", r.PublishToDeliver.P99},
			{"client CPU s", r.ClientCPU},
		}
	})
}

func fanoutLoad(f bench.Fanout, measure func(bench.FanoutReport) []metric) load {
	return func(ctx context.Context, target bench.Target) ([]metric, []string, error) {
		r, err := f.Run(ctx, target)
		if err != nil {
			return nil, nil, err
		}
		problems := r.Problems
		if r.Broken() {
			problems = append(problems, fmt.Sprintf("refused %d, disconnected %d, %+v", r.Refused, r.Disconnected, r.Verdict))
		}
		return measure(r), problems, nil
	}
}

func storm(s bench.Storm) load {
	return func(ctx context.Context, target bench.Target) ([]metric, []string, error) {
		r, err := s.Run(ctx, target)
		return []metric{
			{"clients/s", r.PerSecond},
			{"µs CPU/client", r.CPUPerClient},
			{"ready p50 ms", r.Ready.P50},
			{"ready p99 ms", r.Ready.P99},
			{"RSS MB", float64(r.ServerRSS) / 1e6},
		}, nil, err
	}
}

func replay(l bench.Replay) load {
	return func(ctx context.Context, target bench.Target) ([]metric, []string, error) {
		r, err := l.Run(ctx, target)
		problems := r.Problems
		if err == nil && r.Broken() {
			problems = append(problems, fmt.Sprintf("%+v", r.Verdict))
		}
		rss := float64(r.ServerRSS) / 1e6
		return []metric{{"seconds", r.Seconds}, {"server CPU s", r.ServerCPU}, {"RSS MB", rss}}, problems, err
	}
}

func presence(c bench.Churn) load {
	return func(ctx context.Context, target bench.Target) ([]metric, []string, error) {
		r, err := c.Run(ctx, target)
		problems := r.Problems
		if err == nil && r.Missing != 0 {
			problems = append(problems, fmt.Sprintf("%d enters and leaves were not told, of %d turns", r.Missing, r.Turns))
		}
		return []metric{
			{"events/s", float64(r.Events) / r.Seconds},
			{"µs CPU/event", r.CPUPerEvent},
			{"server CPU s/s", r.ServerCPU / r.Seconds},
			{"B/s a member", r.BytesPerMember / r.Seconds},
			{"told p50 ms", r.Told.P50},
			{"told p99 ms", r.Told.P99},
			{"client CPU s/s", r.ClientCPU / r.Seconds},
		}, problems, err
	}
}

func idle(i bench.Idle) load {
	return func(ctx context.Context, target bench.Target) ([]metric, []string, error) {
		r, err := i.Run(ctx, target)
		if err != nil {
			return nil, nil, err
		}
		o := r.Rounds[0]
		return []metric{
			{"RSS B/client", o.PerClient},
			{"RSS MB before", float64(o.Before) / 1e6},
			{"RSS MB", float64(o.During) / 1e6},
			{"RSS MB after", float64(o.After) / 1e6},
			{"idle CPU %", o.IdleCPU},
			{"connect s", o.Connect},
		}, r.Problems, nil
	}
}
