// Package fsm is what the cluster knows: projects, keys, origins, channel rules,
// channel heads and messages. It changes only by committed commands and keeps
// itself in a bbolt file. It knows nothing of Raft, of peers or of clients.
package fsm
