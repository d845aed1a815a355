package gateway

import (
	"slices"
	"strconv"

	dto "github.com/prometheus/client_model/go"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/aptlyd/aptlyd/gateway/refusal"
	"github.com/aptlyd/aptlyd/gateway/traffic"
)

// metrics are the counters of a gateway. Channel names and keys are never labels, as
// nothing bounds how many there are.
type metrics struct {
	connections       prometheus.Gauge
	delivered         prometheus.Counter
	sent              prometheus.Counter
	published         prometheus.Counter
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
			Name: "aptlyd_connections", Help: "WebSocket connections open now.",
		}),
		delivered: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "aptlyd_delivered_frames_total", Help: "Message and gap frames written to clients.",
		}),
		sent: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "aptlyd_sent_bytes_total", Help: "Bytes written to WebSocket clients.",
		}),
		published: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "aptlyd_publishes_total", Help: "Publishes passed on, over WebSocket and HTTP.",
		}),
		gaps: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "aptlyd_gaps_total", Help: "Holes told to subscribers that retention had overtaken.",
		}),
		commitsDropped: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "aptlyd_loop_commits_dropped_total",
			Help: "Commits that an event loop was too far behind to be handed; its subscribers read them from the log.",
		}),
		refusals: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "aptlyd_refusals_total",
			Help: "Refusals by code: over ws, rest or admin, or at the handshake.",
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
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "aptlyd_build_info", Help: "Always 1; the label says what is running.",
		ConstLabels: prometheus.Labels{"version": version},
	})
	build.Set(1)
	if r == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{
		build, m.connections, m.delivered, m.sent, m.published, m.gaps, m.commitsDropped, m.refusals, m.closes,
		m.acceptPauses, m.handshakesExpired, m.handshakesRefused,
	} {
		if err := r.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *metrics) refused(code refusal.Code, via string) {
	m.refusals.WithLabelValues(string(code), via).Inc()
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
	BytesOut   uint64 // written to WebSocket clients
	Refusals   uint64 // of every code
}

// Totals reads the same counters that /metrics shows.
func (s *Server) Totals() Totals {
	m := s.metrics
	return Totals{
		Publishes:  counted(m.published),
		Deliveries: counted(m.delivered),
		BytesOut:   counted(m.sent),
		Refusals:   counted(m.refusals),
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

// counted sums the counters of a collector.
func counted(c prometheus.Collector) uint64 {
	series := make(chan prometheus.Metric)
	go func() {
		defer close(series)
		c.Collect(series)
	}()
	var sum float64
	for s := range series {
		var read dto.Metric
		if err := s.Write(&read); err != nil {
			panic(err) // a counter without exemplars is always written
		}
		sum += read.GetCounter().GetValue()
	}
	return uint64(sum)
}
