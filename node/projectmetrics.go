package node

import (
	"maps"
	"slices"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/aptlyd/aptlyd/gateway/traffic"
)

// otherProjects is the label of the projects without metrics of their own. No id of a project is
// like it.
const otherProjects = "other"

// projectMetrics are the metrics with a project as their label. The first projects that were
// active get labels of their own, since nothing else bounds how many there are.
type projectMetrics struct {
	node *Node
	most int

	mu sync.Mutex
	// own says of each project that was seen whether it has a label of its own, for good: a
	// counter must not go back.
	own map[string]bool

	info, connections, opened, publishes, deliveries, refusals, channels, retained *prometheus.Desc
}

func newProjectMetrics(n *Node, most int) *projectMetrics {
	describe := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("aptlyd_project_"+name, help, append([]string{"project"}, labels...), nil)
	}
	return &projectMetrics{
		node: n, most: most, own: make(map[string]bool),
		info:        describe("info", "Always 1; tells the name of a project.", "name"),
		connections: describe("connections", "Connections of a project open now on this node, over every transport."),
		opened:      describe("opened_total", "Connections of a project that were let in, over every transport."),
		publishes:   describe("publishes_total", "Publishes of a project passed on."),
		deliveries:  describe("delivered_frames_total", "Message and gap frames written to clients of a project."),
		refusals:    describe("refusals_total", "Refusals of a project's clients."),
		channels:    describe("channels", "Channels of a project, when they were last counted."),
		retained:    describe("retained_bytes", "Payload that a project's channels retain, when it was last counted."),
	}
}

// Describe implements prometheus.Collector.
func (m *projectMetrics) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		m.info, m.connections, m.opened, m.publishes, m.deliveries, m.refusals, m.channels, m.retained,
	} {
		to <- d
	}
}

// projectFigures are what one label tells.
type projectFigures struct {
	open   int
	counts traffic.Counts
	kept   retention
}

// Collect implements prometheus.Collector.
func (m *projectMetrics) Collect(to chan<- prometheus.Metric) {
	open, counts := m.node.gateway.Traffic()
	kept := m.node.survey.last()
	all := make(map[string]projectFigures)
	for id, c := range counts {
		all[id] = projectFigures{counts: c}
	}
	for id, count := range open {
		f := all[id]
		f.open = count
		all[id] = f
	}
	for id, r := range kept {
		f := all[id]
		f.kept = r
		all[id] = f
	}
	others, hasOthers := projectFigures{}, false
	for _, id := range slices.Sorted(maps.Keys(all)) {
		p, exists := m.node.state.Project(id)
		switch own := m.hasOwn(id); {
		case own && exists:
			to <- prometheus.MustNewConstMetric(m.info, prometheus.GaugeValue, 1, id, p.Name)
			m.send(to, id, all[id])
		case !own:
			f := all[id]
			others.open += f.open
			others.counts = others.counts.Plus(f.counts)
			others.kept, hasOthers = others.kept.plus(f.kept), true
		}
	}
	if hasOthers {
		m.send(to, otherProjects, others)
	}
}

// hasOwn reports whether a project has a label of its own.
func (m *projectMetrics) hasOwn(id string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if own, seen := m.own[id]; seen {
		return own
	}
	live := 0
	for other, own := range m.own {
		if _, exists := m.node.state.Project(other); own && exists {
			live++
		}
	}
	m.own[id] = live < m.most
	return m.own[id]
}

func (m *projectMetrics) send(to chan<- prometheus.Metric, label string, f projectFigures) {
	gauge := func(d *prometheus.Desc, value float64) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, label)
	}
	counter := func(d *prometheus.Desc, value uint64) {
		to <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(value), label)
	}
	gauge(m.connections, float64(f.open))
	counter(m.opened, f.counts.Opened)
	counter(m.publishes, f.counts.Publishes)
	counter(m.deliveries, f.counts.Deliveries)
	counter(m.refusals, f.counts.Refusals)
	gauge(m.channels, float64(f.kept.channels))
	gauge(m.retained, float64(f.kept.bytes))
}
