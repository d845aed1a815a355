// Package test breaks real nodes: clusters of aptlyd processes, the published
// JavaScript SDK, and the architecture itself.
package test

import (
	"context"
	"flag"
	"fmt"
	"net/http"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/aptlyd/aptlyd/bench"
	"github.com/aptlyd/aptlyd/client"
	"github.com/aptlyd/aptlyd/test/lab"
)

// deadline bounds every wait of a test; it is generous because CI is slow, and
// no promise of aptlyd is measured with it.
const deadline = 60 * time.Second

// binary is the aptlyd that the tests run, built by TestMain from this tree.
var binary string

func TestMain(m *testing.M) {
	attackIfAsked()
	// Tests that run in parallel mostly wait: for elections, deadlines and other processes.
	// A flag of go test still wins.
	if err := flag.Set("test.parallel", "4"); err != nil {
		panic(err)
	}
	os.Exit(lab.Main(m, &binary, nil, buildFlags()...))
}

// buildFlags are those of the tests themselves.
func buildFlags() []string {
	if raceEnabled {
		return []string{"-race"}
	}
	return nil
}

// site is a cluster as its clients see it, whatever runs it.
type site interface {
	Len() int
	Name(i int) string
	Addr(i int) string // host:port for clients
	Servers() []string // WebSocket URLs
	keys() keys
}

// keys are the secrets that a cluster begins with.
type keys struct{ admin, public, server string }

// spawned is a cluster of processes on loopback.
type spawned struct{ *bench.Cluster }

func (s spawned) keys() keys { return keys{s.AdminToken, s.PublicKey, s.ServerKey} }

// readLog returns what node i has logged so far.
func (s spawned) readLog(t *testing.T, i int) string {
	t.Helper()
	log, err := os.ReadFile(s.Dir(i) + ".log")
	if err != nil {
		t.Fatal(err)
	}
	return string(log)
}

// startCluster starts n nodes and waits until all are ready. They end with the
// test; if it failed, their logs are printed.
func startCluster(t testing.TB, n int, args ...string) spawned {
	t.Helper()
	return startClusterIn(t, t.TempDir(), n, args...)
}

// startClusterIn starts a cluster whose nodes keep their data and logs in dir.
func startClusterIn(t testing.TB, dir string, n int, args ...string) spawned {
	t.Helper()
	return spawn(t, bench.SpawnOptions{Nodes: n, Binary: binary, Dir: dir, Args: args})
}

func spawn(t testing.TB, options bench.SpawnOptions) spawned {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	c, err := bench.Spawn(ctx, options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Errorf("end the cluster: %v", err)
		}
		if t.Failed() {
			for i := range c.Len() {
				log, err := os.ReadFile(c.Dir(i) + ".log")
				t.Logf("log of %s (%v):\n%s", c.Name(i), err, log)
			}
		}
	})
	return spawned{c}
}

// long reports whether tests may take their time.
func long() bool { return os.Getenv("APTLYD_LONG") != "" }

// rounds returns how often a test repeats itself: few, or many where there is
// time.
func rounds(t *testing.T, few, many int) int {
	if long() {
		return many
	}
	t.Logf("%d rounds; APTLYD_LONG=1 makes them %d", few, many)
	return few
}

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// eventually waits until check returns nil and fails with its last reason.
func eventually(t *testing.T, within time.Duration, check func() error) {
	t.Helper()
	end := time.Now().Add(within)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("not within %v: %v", within, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func url(c site, i int) string { return "http://" + c.Addr(i) }

func admin(c site, i int) *client.Admin {
	return &client.Admin{BaseURL: url(c, i), Token: c.keys().admin}
}

func rest(c site, i int) *client.REST {
	return &client.REST{BaseURL: url(c, i), APIKey: c.keys().server}
}

// connect returns a client of the given nodes with a key, connected.
func connect(t *testing.T, c site, key string, nodes ...int) *client.Client {
	t.Helper()
	var endpoints []string
	for _, i := range nodes {
		endpoints = append(endpoints, c.Servers()[i])
	}
	cl, err := client.New(client.Options{Endpoints: endpoints, APIKey: key})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	if err := cl.Connect(within(t, deadline)); err != nil {
		t.Fatalf("connect to %v: %v", endpoints, err)
	}
	return cl
}

// leader returns which node leads, as any ready node sees it.
func leader(t *testing.T, c site) int {
	t.Helper()
	found := -1
	eventually(t, deadline, func() error {
		for i := range c.Len() {
			status, err := admin(c, i).Status(within(t, 2*time.Second))
			if err != nil {
				continue
			}
			for j := range c.Len() {
				if c.Name(j) == status.Leader {
					found = j
					return nil
				}
			}
		}
		return fmt.Errorf("no node knows a leader")
	})
	return found
}

// defaultProject returns the project that a new cluster begins with.
func defaultProject(t *testing.T, c site) client.Project {
	t.Helper()
	for project, err := range admin(c, 0).Projects(within(t, deadline)) {
		if err != nil {
			t.Fatal(err)
		}
		return project
	}
	t.Fatal("the cluster has no project")
	return client.Project{}
}

// history reads everything that node i retains of a channel.
func history(ctx context.Context, c site, i int, channel string) ([]client.Message, error) {
	var all []client.Message
	after := uint64(0)
	for {
		page, err := rest(c, i).History(ctx, channel, after, 1000)
		if err != nil {
			return nil, fmt.Errorf("read %s on %s: %w", channel, c.Name(i), err)
		}
		all = append(all, page.Messages...)
		if len(page.Messages) == 0 || page.Messages[len(page.Messages)-1].Offset >= page.Offset {
			return all, nil
		}
		after = page.Messages[len(page.Messages)-1].Offset
	}
}

// status fetches a path of node i and returns the HTTP status, 0 on no answer.
func status(ctx context.Context, c site, i int, path string) int {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url(c, i)+path, nil)
	if err != nil {
		return 0
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0
	}
	resp.Body.Close()
	return resp.StatusCode
}

// watchConnection connects to one node and returns a channel that is closed when
// that connection is lost.
func watchConnection(t *testing.T, endpoint, key string) <-chan struct{} {
	t.Helper()
	lost := make(chan struct{})
	var once sync.Once
	cl, err := client.New(client.Options{
		Endpoints: []string{endpoint}, APIKey: key,
		OnDisconnect: func(error) { once.Do(func() { close(lost) }) },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	if err := cl.Connect(within(t, deadline)); err != nil {
		t.Fatalf("connect to %s: %v", endpoint, err)
	}
	return lost
}
