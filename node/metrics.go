package node

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// registerMetrics publishes the node's view of the cluster.
func (n *Node) registerMetrics(registry *prometheus.Registry) {
	gauge := func(name, help string, value func() float64) {
		registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Namespace: "aptlyd", Subsystem: "cluster", Name: name, Help: help,
		}, value))
	}
	gauge("applied_index", "Index of the last log entry applied to the state.", func() float64 {
		index, _ := n.state.Applied()
		return float64(index)
	})
	gauge("term", "Raft term.", func() float64 { return float64(n.cluster.Term()) })
	gauge("leader", "1 on the node that leads, else 0.", func() float64 {
		if leader, ok := n.cluster.Leader(); ok && leader.Name == n.cfg.NodeName {
			return 1
		}
		return 0
	})
	gauge("members", "Nodes of the cluster.", func() float64 { return float64(len(n.cluster.Members())) })
	gauge("staleness_seconds", "Age of the last proof that this node was up to date, or of its start.",
		func() float64 { return min(n.Staleness(), time.Since(n.startedAt)).Seconds() })
	registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
		Namespace: "aptlyd", Subsystem: "cluster", Name: "peer_panics_total",
		Help: "Requests of other nodes on which a panic ended the work.",
	}, func() float64 { return float64(n.cluster.PeerPanics()) }))
	registry.MustRegister(n.latency.seconds)
}

// droppedTransients counts messages of memory channels that did not reach a peer.
func droppedTransients(registry *prometheus.Registry) func(n int) {
	dropped := prometheus.NewCounter(prometheus.CounterOpts{
		Namespace: "aptlyd", Subsystem: "relay", Name: "dropped_total",
		Help: "Messages of memory channels that did not reach another node.",
	})
	registry.MustRegister(dropped)
	return func(n int) { dropped.Add(float64(n)) }
}
