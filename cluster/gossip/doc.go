// Package gossip finds the nodes of a cluster and tells them this node's address, version
// and feature level, with memberlist. It knows nothing of Raft, nor of who is a member:
// what it says is a hint.
package gossip
