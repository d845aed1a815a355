package bench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

const patience = 20 * time.Second

// TestMain lets the test binary stand in for aptlyd: what Spawn does can be
// tested without the real one.
func TestMain(m *testing.M) {
	switch os.Getenv("BENCH_TEST_NODE") {
	case "":
		os.Exit(m.Run())
	case "serve":
		serve()
	case "parent":
		parent()
	case "broken":
		fmt.Fprintln(os.Stderr, "cannot open the data directory")
		os.Exit(1)
	}
}

// serve is ready at once and ends with SIGTERM, unless it was told to be deaf.
func serve() {
	flags := make(map[string]string)
	for i := 2; i+1 < len(os.Args); i += 2 {
		flags[os.Args[i]] = os.Args[i+1]
	}
	if os.Args[1] != "serve" || len(os.Getenv("APTLYD_BOOTSTRAP_SERVER_KEY")) != 43 ||
		strings.Count(flags["--join"], ",") != 2 {
		fmt.Fprintln(os.Stderr, "called with", os.Args)
		os.Exit(2)
	}
	if os.Getenv("BENCH_TEST_DEAF") != "" {
		signal.Ignore(syscall.SIGTERM)
	} else {
		stop := make(chan os.Signal, 1)
		signal.Notify(stop, syscall.SIGTERM)
		go func() {
			<-stop
			os.Exit(0)
		}()
	}
	http.HandleFunc("/readyz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, flags["--node-name"]) })
	fmt.Fprintln(os.Stderr, http.ListenAndServe(flags["--listen"], nil))
	os.Exit(1)
}

// parent starts nodes, says where, and waits to be killed.
func parent() {
	self, err := os.Executable()
	if err != nil {
		panic(err)
	}
	c, err := Spawn(context.Background(), SpawnOptions{
		Nodes: 3, Binary: self, Dir: os.Getenv("BENCH_TEST_DIR"), Env: []string{"BENCH_TEST_NODE=serve"},
	})
	if err != nil {
		panic(err)
	}
	for i := range c.Len() {
		fmt.Println(c.Addr(i))
	}
	time.Sleep(time.Hour) // until the test kills it
}

func spawnSelf(t *testing.T, env ...string) (*Cluster, error) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	return Spawn(ctx, SpawnOptions{Nodes: 3, Binary: self, Env: env})
}

func TestSpawnKillStopRestart(t *testing.T) {
	c, err := spawnSelf(t, "BENCH_TEST_NODE=serve")
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(filepath.Dir(c.Dir(0))); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the temporary folder is still there: %v", err)
		}
		for i := range c.Len() {
			if readiness(context.Background(), c.Addr(i), nil) == nil {
				t.Errorf("%s still runs", c.Name(i))
			}
		}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if len(c.Servers()) != 3 || c.Servers()[2] != "ws://"+c.Addr(2) {
		t.Errorf("servers %v", c.Servers())
	}
	if err := c.Kill(1); err != nil {
		t.Fatal(err)
	}
	if readiness(ctx, c.Addr(1), nil) == nil {
		t.Error("a killed node still answers")
	}
	if err := c.Kill(1); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("killing it again: %v", err)
	}
	old := c.PID(1)
	if err := c.Restart(ctx, 1); err != nil {
		t.Fatal(err)
	}
	if c.PID(1) == old {
		t.Error("the process is the same")
	}
	if err := c.Stop(ctx, 2); err != nil {
		t.Errorf("stop: %v", err)
	}
}

func TestNodesEndWithTheirParent(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs Linux's parent death signal")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), "BENCH_TEST_NODE=parent", "BENCH_TEST_DIR="+t.TempDir())
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var nodes []string
	for lines := bufio.NewScanner(out); len(nodes) < 3 && lines.Scan(); {
		nodes = append(nodes, lines.Text())
	}
	killed := cmd.Process.Kill()
	if err := cmd.Wait(); killed != nil || err == nil || len(nodes) != 3 {
		t.Fatalf("the parent of %v ended with %v, %v", nodes, killed, err)
	}
	deadline := time.Now().Add(patience)
	for _, node := range nodes {
		for readiness(t.Context(), node, nil) == nil {
			if time.Now().After(deadline) {
				t.Fatalf("the node at %s outlives its parent", node)
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
}

func TestStopKillsTheDeaf(t *testing.T) {
	c, err := spawnSelf(t, "BENCH_TEST_NODE=serve", "BENCH_TEST_DEAF=1")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := c.Stop(ctx, 0); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("stop: %v", err)
	}
	select {
	case <-c.Exited(0):
	default:
		t.Error("it still runs")
	}
}

func TestSpawnSaysWhyANodeEnded(t *testing.T) {
	c, err := spawnSelf(t, "BENCH_TEST_NODE=broken")
	if err == nil {
		c.Close()
		t.Fatal("nobody noticed")
	}
	if !strings.Contains(err.Error(), "cannot open the data directory") {
		t.Errorf("got %v", err)
	}
}

func TestSpawnWithoutABinary(t *testing.T) {
	if _, err := Spawn(t.Context(), SpawnOptions{Nodes: 1, Binary: "/nowhere/aptlyd"}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

func TestKeySum(t *testing.T) {
	// CRC-32 of "123456789" is 0xcbf43926 = 3421780262.
	if got := keySum([]byte("123456789")); got != "3jZRME" {
		t.Errorf("got %q", got)
	}
	key := newKey("pk_")
	if len(key) != 43 || keySum([]byte(key[3:37])) != key[37:] || key == newKey("pk_") {
		t.Errorf("key %q", key)
	}
}
