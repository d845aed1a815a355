package gateway

import (
	"errors"
	"slices"
	"strconv"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/aptlyd/aptlyd/gateway/auth"
	"github.com/aptlyd/aptlyd/gateway/refusal"
	"github.com/aptlyd/aptlyd/gateway/traffic"
)

// metrics are the counters of a gateway. Channel names and keys are never labels, as
// nothing bounds how many there are.
type metrics struct {
	delivered, sent, published, allRefused atomic.Uint64

	connections       prometheus.Gauge
	streams           *prometheus.GaugeVec
	publishFailures   *prometheus.CounterVec
	gaps              prometheus.Counter
	commitsDropped    prometheus.Counter
	refusals          *prometheus.CounterVec
	closes            *prometheus.CounterVec
	acceptPauses      *prometheus.CounterVec
	handshakesExpired prometheus.Counter
	handshakesRefused *prometheus.CounterVec
}

func newMetrics(r *prometheus.Registry, version string) (*metrics, error) {
	m := &metrics{
		connections: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "aptlyd_connections", Help: "Connections of clients open now, over every transport.",
		}),
		streams: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "aptlyd_streams",
			Help: "Those of the connections that are Server-Sent Events (sse) or long polls (poll).",
		}, []string{"transport"}),
		publishFailures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "aptlyd_publish_failures_total",
			Help: "Publishes of clients that were refused or failed, over WebSocket and HTTP, by code.",
		}, []string{"code"}),
		gaps: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "aptlyd_gaps_total", Help: "Holes told to subscribers that retention had overtaken.",
		}),
		commitsDropped: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "aptlyd_loop_commits_dropped_total",
			Help: "Commits that an event loop was too far behind to be handed; its subscribers read them from the log.",
		}),
		refusals: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "aptlyd_refusals_total",
			Help: "Refusals by code: over ws, sse, poll, rest or admin, or at the handshake.",
		}, []string{"code", "via"}),
		closes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "aptlyd_closes_total", Help: "Connections closed, by WebSocket close code.",
		}, []string{"code"}),
		acceptPauses: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "aptlyd_accept_pauses_total",
			Help: "Times that accepting clients paused, by what there was too much or too little of.",
		}, []string{"reason"}),
		handshakesRefused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "aptlyd_handshakes_refused_total",
			Help: "First requests and upgrades refused because they make no sense, by HTTP status.",
		}, []string{"status"}),
		handshakesExpired: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "aptlyd_handshakes_expired_total", Help: "Clients closed because their first request did not come in time.",
		}),
	}
	// Series that are there before they count, or an alarm would miss the first time.
	for _, code := range alarmingFailures {
		m.publishFailures.WithLabelValues(string(code))
	}
	for _, reason := range []string{"connections", "descriptors", "error", "handshakes"} {
		m.acceptPauses.WithLabelValues(reason)
	}
	for _, code := range closeCodes {
		m.closes.WithLabelValues(strconv.Itoa(int(code)))
	}
	for _, transport := range []string{"sse", "poll"} {
		m.streams.WithLabelValues(transport)
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "aptlyd_build_info", Help: "Always 1; the label says what is running.",
		ConstLabels: prometheus.Labels{"version": version},
	})
	build.Set(1)
	if r == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{
		build, m.connections, m.streams, m.publishFailures, m.gaps,
		counter("aptlyd_delivered_frames_total", "Message and gap frames written to clients.", &m.delivered),
		counter("aptlyd_sent_bytes_total", "Bytes written to connections, over every transport.", &m.sent),
		counter("aptlyd_publishes_total", "Publishes passed on, over WebSocket and HTTP.", &m.published),
		m.commitsDropped, m.refusals, m.closes,
		m.acceptPauses, m.handshakesExpired, m.handshakesRefused,
	} {
		if err := r.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// alarmingFailures are the codes of publishes that fail for reasons of the cluster's own.
var alarmingFailures = []refusal.Code{refusal.Unavailable, refusal.OutcomeUnknown, refusal.Internal}

func (m *metrics) refused(r *refusal.Error, via string) {
	m.allRefused.Add(1)
	m.refusals.WithLabelValues(string(r.Code), via).Inc()
	if r.Action == auth.Publish.String() {
		m.publishFailures.WithLabelValues(string(r.Code)).Inc()
	}
}

// registerGauges registers what is read from the server when it is asked for.
func (s *Server) registerGauges() error {
	if s.cfg.Registry == nil {
		return nil
	}
	ready := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "aptlyd_ready", Help: "1 while the node wants clients (as /readyz says), else 0.",
	}, func() float64 {
		if s.unfit() == nil {
			return 1
		}
		return 0
	})
	subscriptions := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "aptlyd_subscriptions", Help: "Subscriptions of all connections now.",
	}, func() float64 { return float64(s.quotas.Subscriptions()) })
	return errors.Join(s.cfg.Registry.Register(ready), s.cfg.Registry.Register(subscriptions),
		s.cfg.Registry.Register(memberMetrics{s.members}))
}

// closed counts a close. A client may make its code up, and thousands of them would each
// be a series.
func (m *metrics) closed(code closeCode) {
	label := "other"
	if slices.Contains(closeCodes, code) {
		label = strconv.Itoa(int(code))
	}
	m.closes.WithLabelValues(label).Inc()
}

func (m *metrics) handshakeRefused(status int) {
	m.handshakesRefused.WithLabelValues(strconv.Itoa(status)).Inc()
}

// Totals are the counts of a gateway since it was made.
type Totals struct {
	Publishes  uint64 // passed on, over WebSocket and HTTP
	Deliveries uint64 // message and gap frames written to clients
	BytesOut   uint64 // written to connections, over every transport
	Refusals   uint64 // of every code
}

// Totals reads the same counters that /metrics shows.
func (s *Server) Totals() Totals {
	m := s.metrics
	return Totals{
		Publishes:  m.published.Load(),
		Deliveries: m.delivered.Load(),
		BytesOut:   m.sent.Load(),
		Refusals:   m.allRefused.Load(),
	}
}

// Traffic returns the connections that each project has open on this node, and what was
// counted for each since the gateway was made.
func (s *Server) Traffic() (open map[string]int, counts map[string]traffic.Counts) {
	counts = make(map[string]traffic.Counts)
	s.traffic.AddTo(counts)
	for _, l := range s.loops {
		l.traffic.AddTo(counts)
	}
	return s.quotas.Open(), counts
}

// counter shows a count of its own in /metrics.
func counter(name, help string, count *atomic.Uint64) prometheus.Collector {
	return prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help},
		func() float64 { return float64(count.Load()) })
}
