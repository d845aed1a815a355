// Package torture breaks clusters of real nodes while clients use them, writes
// down what the clients saw, and holds that against what aptlyd promises.
//
// A run has three parts: faults, in an order and at times that follow from a seed,
// under a workload; then all is healed and the cluster has half a minute to be
// whole again; then everything is read from every node. Only the history that the
// clients wrote is judged, never a node's insides.
package torture
