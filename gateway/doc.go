// Package gateway is the client's side of a node: sockets, frames,
// subscriptions, fan-out and HTTP. It sees neither Raft nor peers; everything it
// needs of the cluster it asks of its Broker.
package gateway
