// Package cluster gets bytes agreed: who is in, who leads, replicate, forward to
// the leader. It never sees what a command means, and it knows nothing of
// channels, keys or clients.
package cluster
