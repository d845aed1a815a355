// Package fsm is the replicated state machine: projects, keys, origins, channel rules,
// channel heads and messages. Only committed commands change it, and a bbolt file stores
// it. It knows nothing of Raft, peers or clients.
package fsm
