package test

import (
	"context"
	"io"
	"net"
	"sync"
	"testing"

	"github.com/aptlyd/aptlyd/bench"
	"github.com/aptlyd/aptlyd/test/lab"
)

// network is a cluster of which every node has a network of its own, joined to a
// bridge by a link that can be cut. The tests sit on the bridge.
type network struct {
	spawned
	hosts []*lab.Host
}

// startNetwork starts three nodes and waits until all are ready. All ends with
// the test.
func startNetwork(t *testing.T) *network {
	t.Helper()
	return startNetworkOf(t, binary)
}

// startNetworkOf is startNetwork with another program.
func startNetworkOf(t *testing.T, program string) *network {
	t.Helper()
	n := &network{hosts: lab.NewNetwork(t, 3).Hosts}
	options := bench.SpawnOptions{
		Nodes: len(n.hosts), Binary: program, Dir: t.TempDir(),
		Env: []string{"APTLYD_CLUSTER_SECRET=a secret between the nodes of a test"},
	}
	for _, h := range n.hosts {
		options.Hosts = append(options.Hosts, bench.Host{IP: h.IP, Enter: h.Enter})
	}
	n.spawned = spawn(t, options)
	return n
}

// door returns an address of this machine that leads to the client port of node i
// from inside, whatever becomes of its link.
func (n *network) door(t *testing.T, i int) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		for {
			outside, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer outside.Close()
				inside, err := n.hosts[i].Dial("tcp", n.Addr(i))
				if err != nil {
					return
				}
				defer inside.Close()
				defer context.AfterFunc(ctx, func() {
					outside.Close()
					inside.Close()
				})()
				running.Go(func() {
					io.Copy(inside, outside) // however it ends, so does the connection
					inside.Close()
				})
				io.Copy(outside, inside)
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		cancel()
		running.Wait()
	})
	return l.Addr().String()
}
