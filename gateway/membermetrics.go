package gateway

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/aptlyd/aptlyd/gateway/presence"
)

// memberMetrics shows what the members of channels count.
type memberMetrics struct{ members *presence.Members }

var (
	membersNow = prometheus.NewDesc("aptlyd_members", "Members of all channels, on whatever node.", nil, nil)
	entered    = prometheus.NewDesc("aptlyd_member_entered_total", "Members that this node saw entering.", nil, nil)
	left       = prometheus.NewDesc("aptlyd_member_left_total", "Members that this node saw leaving, by reason.",
		[]string{"reason"}, nil)
)

// Describe implements prometheus.Collector.
func (m memberMetrics) Describe(all chan<- *prometheus.Desc) { prometheus.DescribeByCollect(m, all) }

// Collect implements prometheus.Collector.
func (m memberMetrics) Collect(all chan<- prometheus.Metric) {
	now, stats := m.members.Total()
	all <- prometheus.MustNewConstMetric(membersNow, prometheus.GaugeValue, float64(now))
	all <- prometheus.MustNewConstMetric(entered, prometheus.CounterValue, float64(stats.Entered))
	for reason, n := range stats.Left {
		all <- prometheus.MustNewConstMetric(left, prometheus.CounterValue, float64(n), presence.Reason(reason).String())
	}
}
