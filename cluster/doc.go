// Package cluster gets bytes agreed: membership, leadership, replication, and forwarding to
// the leader. It never sees what a command means, and it knows nothing of channels, keys
// or clients.
//
// A command travels like this:
//
//	Submit ──► forwarder   numbers batches; while some are on their way the next gathers
//	             │  peer port (or directly, on the leader)
//	             ▼
//	           proposer    the leader's: joins batches of all nodes into one Raft entry
//	             │  raft.Apply
//	             ▼
//	           applier     on every node: hands committed entries to the Machine, in order
//	             │
//	             ▼
//	           notifier    the leader's: tells followers at once that the entry is committed
//
// Trust comes from two places only: Raft's own configuration, and the proof that
// both ends of a peer connection give before any other byte (see peer/hello.go).
// Gossip gives hints: which nodes seem to be alive, and at which addresses.
package cluster
