// Package bench puts load on a whole cluster from outside, as clients would. It measures
// latency and throughput, and checks that no acknowledged message was lost, repeated or
// reordered. It can also start a cluster of real processes.
// Each kind of load is a file of its own; load.go is the first.
package bench
