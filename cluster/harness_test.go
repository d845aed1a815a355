package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// patience is how long a test waits for something that should happen soon.
const patience = 20 * time.Second

// eventually waits for a condition; the error it returned last says what was
// missing.
func eventually(t testing.TB, condition func() error) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := condition()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("gave up after %s: %v", patience, err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func within(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// testNode is one node in this process.
type testNode struct {
	*Cluster
	cfg     Config
	machine *testMachine
	fatal   atomic.Pointer[error]
	stopped bool

	received sync.Mutex
	messages []string // sender and text
}

// testCluster is several nodes in this process, over loopback.
type testCluster struct {
	t     testing.TB
	root  string
	nodes []*testNode
	tune  func(*Config)
}

func testLogger() *slog.Logger {
	if os.Getenv("APTLYD_TEST_LOG") != "" {
		return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	return slog.New(slog.DiscardHandler)
}

// newTestCluster starts n nodes and waits until all are ready.
func newTestCluster(t testing.TB, n int, tune func(*Config)) *testCluster {
	t.Helper()
	tc := &testCluster{t: t, root: t.TempDir(), tune: tune}
	t.Cleanup(func() {
		for _, node := range tc.nodes {
			node.stop(t)
		}
	})
	for i := range n {
		tc.start(fmt.Sprintf("node%d", i+1), n, fmt.Sprintf("node%d", i+1))
	}
	tc.ready()
	return tc
}

// start starts a node whose data lies in a folder below the cluster's.
func (tc *testCluster) start(name string, expect int, folder string) *testNode {
	tc.t.Helper()
	node, err := tc.tryStart(name, expect, folder)
	if err != nil {
		tc.t.Fatal(err)
	}
	return node
}

func (tc *testCluster) tryStart(name string, expect int, folder string) (*testNode, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	node := &testNode{}
	node.cfg = Config{
		Dir:             filepath.Join(tc.root, folder),
		NodeName:        name,
		PeerListener:    listener,
		GossipAddr:      "127.0.0.1:0",
		Advertise:       "127.0.0.1",
		BootstrapExpect: expect,
		Secrets:         []string{"a secret of the tests"},
		Version:         "test",
		Nothing:         []byte("nothing"),
		Fatal: func(err error) {
			node.fatal.Store(&err)
			runtime.Goexit()
		},
		Handle: func(_ context.Context, from string, request []byte) ([]byte, error) {
			return []byte(name + " heard " + string(request)), nil
		},
		Receive: func(from string, message []byte) ([]byte, error) {
			node.received.Lock()
			defer node.received.Unlock()
			node.messages = append(node.messages, from+" "+string(message))
			return nil, nil
		},
		Extra:           func() []byte { return []byte("extra of " + name) },
		Logger:          testLogger().With("node", name),
		LogSegmentBytes: 1 << 20,
		ElectionTimeout: 300 * time.Millisecond,
	}
	for _, other := range tc.nodes {
		if !other.stopped {
			node.cfg.Join = append(node.cfg.Join, other.GossipAddr())
		}
	}
	if tc.tune != nil {
		tc.tune(&node.cfg)
	}
	if err := os.MkdirAll(node.cfg.Dir, 0o700); err != nil {
		return nil, err
	}
	node.machine = openTestMachine(tc.t, node.cfg.Dir)
	if node.Cluster, err = Open(node.cfg, node.machine); err != nil {
		return nil, errors.Join(err, ignoreClosed(listener.Close()))
	}
	tc.nodes = append(tc.nodes, node)
	return node, nil
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// ready waits until every running node is.
func (tc *testCluster) ready() {
	tc.t.Helper()
	for _, node := range tc.running() {
		if err := node.Ready(within(tc.t)); err != nil {
			tc.t.Fatalf("%s: %v", node.cfg.NodeName, err)
		}
	}
}

func (tc *testCluster) running() []*testNode {
	return slices.DeleteFunc(slices.Clone(tc.nodes), func(n *testNode) bool { return n.stopped })
}

// leader waits until a running node leads and every other one knows it.
func (tc *testCluster) leader() *testNode {
	tc.t.Helper()
	var leader *testNode
	eventually(tc.t, func() error {
		leader = nil
		for _, node := range tc.running() {
			if node.leaderReady.Load() {
				leader = node
			}
		}
		if leader == nil {
			return errors.New("nobody leads")
		}
		for _, node := range tc.running() {
			if m, ok := node.Leader(); !ok || m.ID != leader.id {
				return fmt.Errorf("%s does not know the leader", node.cfg.NodeName)
			}
		}
		return nil
	})
	return leader
}

func (tc *testCluster) follower() *testNode {
	tc.t.Helper()
	leader := tc.leader()
	for _, node := range tc.running() {
		if node != leader {
			return node
		}
	}
	tc.t.Fatal("there is no follower")
	return nil
}

// stop closes a node cleanly.
func (n *testNode) stop(t testing.TB) {
	t.Helper()
	if n.stopped {
		return
	}
	n.stopped = true
	if err := n.Close(); err != nil {
		t.Errorf("close %s: %v", n.cfg.NodeName, err)
	}
	if err := n.fatal.Load(); err != nil {
		t.Errorf("%s called Fatal: %v", n.cfg.NodeName, *err)
	}
}

// kill closes a node without a word to the others: its connections are cut
// before anything else.
func (n *testNode) kill(t testing.TB) {
	t.Helper()
	n.leave = false
	n.port.Cut()
	n.stop(t)
}

// agree waits until all running nodes have applied the same commands, and at
// least n of them, and returns those.
func (tc *testCluster) agree(n int) []string {
	tc.t.Helper()
	var first []string
	eventually(tc.t, func() error {
		nodes := tc.running()
		first = nodes[0].machine.commands()
		if len(first) < n {
			return fmt.Errorf("%s has %d of %d commands", nodes[0].cfg.NodeName, len(first), n)
		}
		for _, node := range nodes[1:] {
			if other := node.machine.commands(); !slices.Equal(first, other) {
				return fmt.Errorf("%s has %d commands, %s %d, or others",
					nodes[0].cfg.NodeName, len(first), node.cfg.NodeName, len(other))
			}
		}
		return nil
	})
	return first
}

// submitAll submits numbered commands on a node and returns their results.
func (n *testNode) submitAll(count int, format string) []Result {
	results := make([]Result, count)
	var waiting sync.WaitGroup
	waiting.Add(count)
	for i := range count {
		n.Submit([][]byte{fmt.Appendf(nil, format, i)}, func(_ int, r Result) {
			results[i] = r
			waiting.Done()
		})
	}
	waiting.Wait()
	return results
}

// lockedBuffer is a log that a test reads while it is written.
type lockedBuffer struct {
	mu   sync.Mutex
	text []byte
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.text = append(b.text, p...)
	return len(p), nil
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return string(b.text)
}

// await waits for a line with all of these words.
func (b *lockedBuffer) await(t testing.TB, words ...string) {
	t.Helper()
	eventually(t, func() error {
		for line := range strings.SplitSeq(b.String(), "\n") {
			if !slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(line, word) }) {
				return nil
			}
		}
		return fmt.Errorf("no line with %q in the log:\n%s", words, b)
	})
}

// noFatal fails the test when a store gives up.
func noFatal(t testing.TB) func(error) {
	return func(err error) { t.Errorf("the store gave up: %v", err) }
}

func logAt(index, term uint64, data string) *raft.Log {
	return &raft.Log{Index: index, Term: term, Type: raft.LogCommand, Data: []byte(data)}
}

func damage(t *testing.T, path string, at int, change func(byte) byte) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[at] = change(b[at])
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}
