// Package console drives the web console of real nodes, and pages that use the
// published SDK, in a real browser.
package console

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/aptlyd/aptlyd/bench"
	"github.com/aptlyd/aptlyd/client"
	"github.com/aptlyd/aptlyd/test/lab"
)

const (
	deadline = 7 * time.Minute // of the whole journey; no promise of aptlyd is measured with it
	inside   = "APTLYD_TEST_NETWORK"
)

// TestMain runs the tests in a network of their own where it may: a browser gives
// up its requests whenever the machine's network changes, which the tests of
// other packages bring about.
func TestMain(m *testing.M) {
	if os.Getenv(inside) == "" && os.Geteuid() == 0 {
		self := exec.Command("/proc/self/exe", os.Args[1:]...)
		self.Env = append(os.Environ(), inside+"=own")
		self.Stdout, self.Stderr = os.Stdout, os.Stderr
		self.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
		var ended *exec.ExitError
		switch err := self.Run(); {
		case err == nil:
			os.Exit(0)
		case errors.As(err, &ended):
			os.Exit(ended.ExitCode())
		}
		fmt.Fprintln(os.Stderr, "NOTE: no network of its own for the browser")
	}
	if os.Getenv(inside) != "" {
		if err := raiseLoopback(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// raiseLoopback sets the interface of a new network up.
func raiseLoopback() error {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open socket: %w", err)
	}
	defer unix.Close(socket)
	request, err := unix.NewIfreq("lo")
	if err != nil {
		return fmt.Errorf("name loopback: %w", err)
	}
	request.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(socket, unix.SIOCSIFFLAGS, request); err != nil {
		return fmt.Errorf("raise loopback: %w", err)
	}
	return nil
}

// browserPath finds Chromium.
func browserPath(t *testing.T) string {
	t.Helper()
	for _, name := range []string{os.Getenv("CHROMIUM"), "chromium", "chromium-browser", "google-chrome"} {
		if name == "" {
			continue
		}
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	lab.Need(t, "chromium is missing")
	return ""
}

// startCluster starts nodes, which end with the test, and returns them with the path
// of Chromium.
func startCluster(ctx context.Context, t *testing.T, nodes int, args ...string) (c *bench.Cluster, chromium string) {
	t.Helper()
	lab.NeedTool(t, "node")
	if _, err := os.Stat("node_modules"); err != nil {
		lab.Need(t, "what drives the browser (make sdk) is missing")
	}
	if _, err := os.Stat("../../sdk/js/dist/react.js"); err != nil {
		lab.Need(t, "the build of sdk/js (make sdk) is missing")
	}
	chromium = browserPath(t)
	binary := filepath.Join(t.TempDir(), "aptlyd")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary,
		"../../cmd/aptlyd").CombinedOutput(); err != nil {
		t.Fatalf("build aptlyd: %v\n%s", err, out)
	}
	c, err := bench.Spawn(ctx, bench.SpawnOptions{Nodes: nodes, Binary: binary, Dir: t.TempDir(), Args: args})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Errorf("end the cluster: %v", err)
		}
		for i := 0; t.Failed() && i < c.Len(); i++ {
			log, err := os.ReadFile(c.Dir(i) + ".log")
			t.Logf("log of %s (%v):\n%s", c.Name(i), err, log)
		}
	})
	return c, chromium
}

// run runs a script in Node.js that drives the browser.
func run(ctx context.Context, t *testing.T, script string, env ...string) {
	t.Helper()
	journey := exec.CommandContext(ctx, "node", script)
	journey.Env = append(os.Environ(), env...)
	out, err := journey.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Fatalf("%s: %v", script, err)
	}
}

func TestConsole(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	c, chromium := startCluster(ctx, t, 3)
	env := []string{"CHROMIUM=" + chromium, "ADMIN_TOKEN=" + c.AdminToken}
	for i := range c.Len() {
		n := strconv.Itoa(i)
		env = append(env, "NODE"+n+"="+c.Addr(i), "NAME"+n+"="+c.Name(i), "PID"+n+"="+strconv.Itoa(c.PID(i)))
	}
	run(ctx, t, "journey.mjs", env...)
}

func TestConsoleBelowAPath(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	c, chromium := startCluster(ctx, t, 1, "--public-url", "") // so that the console tells its own address
	base := "http://" + lab.StartNginx(t, func(port string) string { return lab.SubPath(port, c.Addr(0)) }) + "/rt"
	project := defaultProject(ctx, t, c)
	for _, channel := range []string{"..", "."} {
		rest := &client.REST{BaseURL: base, APIKey: c.ServerKey}
		if _, err := rest.Publish(ctx, client.Publication{Channel: channel, Data: 1}); err != nil {
			t.Fatal(err)
		}
	}
	run(ctx, t, "subpath.mjs", "CHROMIUM="+chromium, "ADMIN_TOKEN="+c.AdminToken, "BASE="+base, "PROJECT="+project.ID,
		"KEY="+project.Keys[0].ID)
	if now := defaultProject(ctx, t, c); len(now.Keys) != len(project.Keys) {
		t.Errorf("a purge has revoked a key: %+v are left", now.Keys)
	}
}

// defaultProject returns the project that a new cluster begins with.
func defaultProject(ctx context.Context, t *testing.T, c *bench.Cluster) client.Project {
	t.Helper()
	admin := &client.Admin{BaseURL: "http://" + c.Addr(0), Token: c.AdminToken}
	for project, err := range admin.Projects(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		return project
	}
	t.Fatal("the cluster has no project")
	return client.Project{}
}
