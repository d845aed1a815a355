package cluster

import (
	"fmt"
	"math"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/aptlyd/aptlyd/cluster/logbridge"
	"github.com/aptlyd/aptlyd/cluster/peer"
	"github.com/aptlyd/aptlyd/cluster/raftlog"
	"github.com/aptlyd/aptlyd/cluster/synced"
)

const (
	// transportTimeout bounds one of Raft's calls to a peer.
	transportTimeout = 10 * time.Second
	// transportPool bounds the idle connections to a peer that are kept: replication,
	// heartbeats and nudges each need their own.
	transportPool = 5
	// installStall bounds the wait for the next bytes of a snapshot.
	installStall = 3 * time.Second
	// maxAppendEntries and maxAppendBytes bound one AppendEntries. Raft counts entries only,
	// and reads as many to send one. A follower answers when it has synced them, and only
	// then is sent more: one with a slow disk takes that many entries with each sync.
	maxAppendEntries = 64
	maxAppendBytes   = 4 << 20
)

// newTransport runs Raft's messages over the peer port.
func newTransport(port *peer.Port, logs *raftlog.Store, egress *atomic.Uint64, cfg Config) *replication {
	return newReplication(synced.New(raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream:  &raftStream{port, egress},
		MaxPool: transportPool,
		// With more than one, two failed appends on a follower stop replication
		// to it for good.
		MaxRPCsInFlight: 1,
		Timeout:         transportTimeout,
		Logger:          logbridge.Hclog(cfg.Logger, "raft-net"),
	}), logs), cfg)
}

// raftConfig is Raft's configuration for this node.
func raftConfig(cfg Config, id string, notify chan<- bool) *raft.Config {
	config := raft.DefaultConfig()
	config.LocalID = raft.ServerID(id)
	config.HeartbeatTimeout = cfg.ElectionTimeout
	config.ElectionTimeout = cfg.ElectionTimeout
	config.LeaderLeaseTimeout = cfg.LeaderLease
	config.MaxAppendEntries = maxAppendEntries
	config.BatchApplyCh = true
	config.ShutdownOnRemove = false
	config.NoSnapshotRestoreOnStart = true
	config.NoLegacyTelemetry = true
	// The snapshotter decides when, by bytes.
	config.SnapshotInterval = 24 * time.Hour
	config.SnapshotThreshold = math.MaxUint64
	config.NotifyCh = notify
	config.Logger = logbridge.Hclog(cfg.Logger, "raft")
	return config
}

// startRaft starts Raft; recoverStart comes before it.
func startRaft(cfg Config, id string, logs *raftlog.Store, snapshots *snapshotStore, a *applier,
	transport *replication, notify chan<- bool,
) (*raft.Raft, error) {
	node, err := raft.NewRaft(raftConfig(cfg, id, notify), a, logs, logs, snapshots, transport)
	if err != nil {
		return nil, fmt.Errorf("start raft: %w", err)
	}
	transport.serve(node)
	return node, nil
}
