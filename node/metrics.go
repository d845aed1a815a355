package node

import (
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/aptlyd/aptlyd/cluster"
)

// registerMetrics publishes the node's view of the cluster, of its disk and of the projects.
func (n *Node) registerMetrics(registry *prometheus.Registry) {
	gauge := func(name, help string, value func() float64) {
		options := prometheus.GaugeOpts{Namespace: "aptlyd", Name: name, Help: help}
		registry.MustRegister(prometheus.NewGaugeFunc(options, value))
	}
	ofCluster := func(name, help string, value func(s situation) float64) {
		gauge("cluster_"+name, help, func() float64 { return value(n.situation()) })
	}
	gauge("cluster_applied_index", "Index of the last log entry applied to the state.", func() float64 {
		index, _ := n.state.Applied()
		return float64(index)
	})
	gauge("cluster_term", "Raft term.", func() float64 { return float64(n.cluster.Term()) })
	ofCluster("leader", "1 on the node that leads, else 0.", func(s situation) float64 {
		return oneIf(slices.ContainsFunc(s.members, func(m cluster.Member) bool {
			return m.Leader && m.Name == n.cfg.NodeName
		}))
	})
	ofCluster("members", "Nodes of the cluster.", func(s situation) float64 { return float64(len(s.members)) })
	ofCluster("members_alive", "Nodes that were heard lately, this one included.", func(s situation) float64 {
		alive := 0
		for _, m := range s.members {
			if m.Alive {
				alive++
			}
		}
		return float64(alive)
	})
	ofCluster("voters", "Nodes of the cluster that vote.", func(s situation) float64 {
		voters, _, _ := s.count()
		return float64(voters)
	})
	ofCluster("quorum", "1 while a leader that a majority follows was heard lately, else 0.",
		func(s situation) float64 { return oneIf(s.lately) })
	gauge("cluster_staleness_seconds", "Age of the last proof that this node was up to date, or of its start.",
		func() float64 { return min(n.Staleness(), time.Since(n.startedAt)).Seconds() })
	gauge("disk_free_bytes", "Bytes left on the file system of the data folder.",
		func() float64 { return float64(n.disk.left.Load()) })
	gauge("disk_used_bytes", "Bytes that the data folder takes.", func() float64 { return float64(n.disk.used.Load()) })
	gauge("disk_reserve_bytes", "With less free, publishes are refused (--disk-reserve).",
		func() float64 { return float64(n.cfg.DiskReserve) })
	kept := func(name, help string, value func(r retention) float64) {
		gauge(name, help, func() float64 {
			var sum retention
			for _, r := range n.survey.last() {
				sum = sum.plus(r)
			}
			return value(sum)
		})
	}
	kept("channels", "Channels with a place in the state, when they were last counted.",
		func(r retention) float64 { return float64(r.channels) })
	kept("retained_messages", "Messages that channels retain, when they were last counted.",
		func(r retention) float64 { return float64(r.messages) })
	kept("retained_bytes", "Payload that channels retain, when it was last counted.",
		func(r retention) float64 { return float64(r.bytes) })
	counter := func(name, help string, value func() float64) {
		registry.MustRegister(prometheus.NewCounterFunc(
			prometheus.CounterOpts{Namespace: "aptlyd", Name: name, Help: help}, value))
	}
	counter("cluster_peer_panics_total", "Requests of other nodes on which a panic ended the work.",
		func() float64 { return float64(n.cluster.PeerPanics()) })
	counter("leader_egress_bytes_total", "Bytes that this node has sent others to replicate to them.",
		func() float64 { return float64(n.cluster.Egress()) })
	counter("batch_bytes_total", "Bytes of the commands that this node has sent to leaders.",
		func() float64 { given, _ := n.cluster.Compression(); return float64(given) })
	counter("batch_compressed_bytes_total", "What these bytes were once compressed, where that was worth it.",
		func() float64 { _, left := n.cluster.Compression(); return float64(left) })
	gauge("apply_busy_ratio", "Share of the last ten seconds in which entries were applied.",
		func() float64 { return n.cluster.ApplyBusy() })
	registry.MustRegister(n.latency.seconds, n.logs.synced, n.logs.entries, n.logs.commits, n.logs.commands)
	if n.cfg.MetricsProjects > 0 {
		registry.MustRegister(newProjectMetrics(n, n.cfg.MetricsProjects))
	}
}

func oneIf(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
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

// logMetrics measure the writes to the log and what is applied of it.
type logMetrics struct {
	synced, entries, commands prometheus.Histogram
	commits                   prometheus.Counter
}

func newLogMetrics() logMetrics {
	sizes := prometheus.ExponentialBuckets(1, 2, 13)
	return logMetrics{
		synced: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: "aptlyd", Name: "log_sync_seconds", Buckets: latencyBuckets,
			Help: "Time of a write to the log, syncing included.",
		}),
		entries: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: "aptlyd", Name: "log_sync_entries", Buckets: sizes,
			Help: "Entries that one write brought to the log.",
		}),
		commits: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: "aptlyd", Name: "commits_total", Help: "Committed entries that this node has applied.",
		}),
		commands: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: "aptlyd", Name: "commit_commands", Buckets: sizes,
			Help: "Commands of a committed entry. An entry without any brings the time.",
		}),
	}
}

func (m logMetrics) logSynced(took time.Duration, entries int) {
	m.synced.Observe(took.Seconds())
	m.entries.Observe(float64(entries))
}

func (m logMetrics) applied(commands int) {
	m.commits.Inc()
	m.commands.Observe(float64(commands))
}
