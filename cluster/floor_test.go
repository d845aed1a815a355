package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	wal "github.com/hashicorp/raft-wal"
)

// The benchmarks of this file show how far BenchmarkAgree, three nodes of this
// package, is from what lies below it: a sync of the disk, an append to raft-wal,
// and Raft over raft-wal between three replicas in one process. All carry
// messages of floorMessage bytes, so many to an entry, and report messages/s.
const (
	floorMessage = 128
	floorWaiting = 4096 // messages not agreed yet
)

// floorEntries is how many entries of so many messages are on their way at a time.
func floorEntries(batch int) int { return min(max(floorWaiting/batch, 12), 180) }

var floorBatches = []int{1, 16, 256}

// eachBatch runs a benchmark of entries, of which b.N are to be done.
func eachBatch(b *testing.B, run func(b *testing.B, batch int)) {
	for _, batch := range floorBatches {
		b.Run(fmt.Sprintf("%d", batch), func(b *testing.B) {
			run(b, batch)
			b.ReportMetric(float64(b.N*batch)/b.Elapsed().Seconds(), "messages/s")
		})
	}
}

func BenchmarkSync(b *testing.B) {
	eachBatch(b, func(b *testing.B, batch int) {
		f, err := os.Create(filepath.Join(b.TempDir(), "log"))
		if err != nil {
			b.Fatal(err)
		}
		defer f.Close()
		data := make([]byte, batch*floorMessage)
		for b.Loop() {
			if _, err := f.Write(data); err != nil {
				b.Fatal(err)
			}
			if err := f.Sync(); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkWAL(b *testing.B) {
	eachBatch(b, func(b *testing.B, batch int) {
		log := openFloorLog(b)
		data := make([]byte, batch*floorMessage)
		index := uint64(0)
		for b.Loop() {
			index++
			if err := log.StoreLog(&raft.Log{Index: index, Term: 1, Data: data}); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func openFloorLog(b *testing.B) *wal.WAL {
	log, err := wal.Open(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := log.Close(); err != nil {
			b.Error(err)
		}
	})
	return log
}

// emptyFSM is a Raft state machine that does nothing.
type emptyFSM struct{}

func (emptyFSM) Apply(*raft.Log) any               { return nil }
func (emptyFSM) ApplyBatch(logs []*raft.Log) []any { return make([]any, len(logs)) }
func (emptyFSM) Snapshot() (raft.FSMSnapshot, error) {
	return nil, errors.New("there is nothing to keep")
}
func (emptyFSM) Restore(io.ReadCloser) error { return errors.New("there is nothing to restore") }

func BenchmarkRaft(b *testing.B) {
	eachBatch(b, func(b *testing.B, batch int) {
		leader := emptyRaft(b, batch)
		data := make([]byte, batch*floorMessage)
		waiting := make(chan raft.ApplyFuture, floorEntries(batch))
		var answers sync.WaitGroup
		answers.Go(func() {
			for future := range waiting {
				if err := future.Error(); err != nil {
					b.Error(err)
				}
			}
		})
		b.ResetTimer()
		for range b.N {
			waiting <- leader.Apply(data, 0)
		}
		close(waiting)
		answers.Wait()
		b.StopTimer()
	})
}

// emptyRaft starts three replicas over TCP and returns their leader.
func emptyRaft(b *testing.B, batch int) *raft.Raft {
	const replicas = 3
	var servers raft.Configuration
	var transports []*raft.NetworkTransport
	for i := range replicas {
		transport, err := raft.NewTCPTransport("127.0.0.1:0", nil, 5, 10*time.Second, io.Discard)
		if err != nil {
			b.Fatal(err)
		}
		transports = append(transports, transport)
		servers.Servers = append(servers.Servers, raft.Server{
			ID:      raft.ServerID(fmt.Sprint(i)),
			Address: transport.LocalAddr(),
		})
	}
	var nodes []*raft.Raft
	for i, transport := range transports {
		config := raftConfig(Config{Logger: testLogger()}.withDefaults(), fmt.Sprint(i), nil)
		if batch < 256 { // small entries, of which one call may carry many
			config.MaxAppendEntries = 1024
		}
		log := openFloorLog(b)
		snapshots := raft.NewInmemSnapshotStore()
		if err := raft.BootstrapCluster(config, log, log, snapshots, transport, servers); err != nil {
			b.Fatal(err)
		}
		node, err := raft.NewRaft(config, emptyFSM{}, log, log, snapshots, transport)
		if err != nil {
			b.Fatal(err)
		}
		nodes = append(nodes, node)
		b.Cleanup(func() {
			if err := errors.Join(node.Shutdown().Error(), transport.Close()); err != nil {
				b.Error(err)
			}
		})
	}
	var leader *raft.Raft
	eventually(b, func() error {
		for _, node := range nodes {
			if node.State() == raft.Leader {
				leader = node
				return nil
			}
		}
		return errors.New("nobody leads")
	})
	return leader
}

// emptyMachine is a Machine that answers everything with nothing.
type emptyMachine struct {
	mu          sync.Mutex
	index, term uint64
	stamp       int64
}

func (m *emptyMachine) Applied() (index, term uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.index, m.term
}

func (m *emptyMachine) Stamp() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.stamp
}

func (m *emptyMachine) BeginEntry(index, term uint64, stamp int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.index, m.term, m.stamp = index, term, max(stamp, m.stamp)
}

func (m *emptyMachine) ApplyBatch(_ [16]byte, seq, _ uint64, commands [][]byte) ([][]byte, uint64) {
	return make([][]byte, len(commands)), seq + 1
}

func (m *emptyMachine) Check([]byte, bool) (uint32, error) { return 1, nil }

func (m *emptyMachine) Level() uint32   { return 1 }
func (m *emptyMachine) Deadline() int64 { return 0 }
func (m *emptyMachine) Notify()         {}
func (m *emptyMachine) Flush() error    { return nil }

func (m *emptyMachine) Snapshot() (io.ReadCloser, int64, uint64, uint64, error) {
	return nil, 0, 0, 0, errors.New("there is nothing to export")
}
func (m *emptyMachine) Restore(io.Reader) error { return errors.New("there is nothing to restore") }

func BenchmarkAgree(b *testing.B) {
	eachBatch(b, func(b *testing.B, batch int) {
		nodes := emptyCluster(b, func(c *Config) {
			// Each entry has room for one batch.
			c.BatchBytes = batch * floorMessage
			c.ForwardWindow, c.EntryWindow = floorEntries(batch)/3, floorEntries(batch)
		})
		agree(b, nodes, b.N*batch)
	})
	b.Run("own", func(b *testing.B) { // batches as they come
		agree(b, emptyCluster(b, func(*Config) {}), b.N)
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
	})
}

// agree submits messages on all nodes in turn and waits until all are applied.
func agree(b *testing.B, nodes []*Cluster, messages int) {
	command := make([]byte, floorMessage)
	slots := make(chan struct{}, floorWaiting)
	b.ResetTimer()
	for i := range messages {
		slots <- struct{}{}
		nodes[i%len(nodes)].Submit([][]byte{command}, func(_ int, r Result) {
			if r.Err != nil {
				b.Error(r.Err)
			}
			<-slots
		})
	}
	for range floorWaiting {
		slots <- struct{}{}
	}
	b.StopTimer()
}

// emptyCluster starts three nodes whose state is nothing.
func emptyCluster(b *testing.B, tune func(*Config)) []*Cluster {
	var nodes []*Cluster
	for i := range 3 {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		cfg := Config{
			Nothing:         []byte("nothing"),
			Dir:             b.TempDir(),
			NodeName:        fmt.Sprint(i),
			PeerListener:    listener,
			GossipAddr:      "127.0.0.1:0",
			BootstrapExpect: 3,
			Fatal:           func(err error) { panic(err) },
			Handle:          func(context.Context, string, []byte) ([]byte, error) { return nil, nil },
			Receive:         func(string, []byte) ([]byte, error) { return nil, nil },
			Logger:          testLogger(),
			SnapshotBytes:   1 << 40,
			SnapshotEntries: 1 << 40,
		}
		if i > 0 {
			cfg.Join = []string{nodes[0].GossipAddr()}
		}
		tune(&cfg)
		node, err := Open(cfg, &emptyMachine{})
		if err != nil {
			b.Fatal(err)
		}
		nodes = append(nodes, node)
		b.Cleanup(func() {
			if err := node.Close(); err != nil {
				b.Error(err)
			}
		})
	}
	for _, node := range nodes {
		if err := node.Ready(within(b)); err != nil {
			b.Fatal(err)
		}
	}
	return nodes
}
