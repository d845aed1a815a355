// Package peer connects the nodes of a cluster: the proof that both ends know the cluster
// secret, TLS, frames, and calls with typed errors. It knows nothing of Raft, nor of what
// a call means.
package peer
