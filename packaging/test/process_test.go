package test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/aptlyd/aptlyd/client"
	"github.com/aptlyd/aptlyd/test/lab"
)

// deadline bounds every wait of these tests.
const deadline = 60 * time.Second

const (
	adminToken    = "the admin token of the packages"
	clusterSecret = "a secret between the nodes of packages"
)

// command is a program in a root file system of its own, on a host.
type command struct {
	host     *lab.Host // nil: this machine
	hostname string
	root     string
	user     *syscall.Credential
	args     []string // args[0] is a path inside the root
	env      []string // all of it
}

// prepare returns the command, to be started by start.
func (c command) prepare(output *os.File) *exec.Cmd {
	cmd := &exec.Cmd{
		Path: c.args[0], Args: c.args, Env: c.env, Dir: "/", Stdout: output, Stderr: output,
		SysProcAttr: &syscall.SysProcAttr{Chroot: c.root, Credential: c.user, Pdeathsig: syscall.SIGKILL},
	}
	return cmd
}

// start starts cmd on the host and under the host's name. The thread stays until the process
// ends, since the kernel would end the process with it.
func (c command) start(cmd *exec.Cmd, ended func(error)) error {
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // what it enters stays entered, so it ends with the goroutine
		err := c.enter()
		if err == nil {
			err = cmd.Start()
		}
		started <- err
		if err == nil {
			ended(cmd.Wait())
		}
	}()
	return <-started
}

func (c command) enter() error {
	if c.hostname != "" {
		if err := unix.Unshare(unix.CLONE_NEWUTS); err != nil {
			return fmt.Errorf("unshare: %w", err)
		}
		if err := unix.Sethostname([]byte(c.hostname)); err != nil {
			return fmt.Errorf("sethostname: %w", err)
		}
	}
	if c.host == nil {
		return nil
	}
	return c.host.Enter()
}

// output runs the command to its end and returns what it said.
func (c command) output(t *testing.T) (string, error) {
	t.Helper()
	file, err := os.CreateTemp(t.TempDir(), "output")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	ended := make(chan error, 1)
	if err := c.start(c.prepare(file), func(err error) { ended <- err }); err != nil {
		t.Fatal(err)
	}
	failed := <-ended
	text, err := os.ReadFile(file.Name())
	if err != nil {
		t.Fatal(err)
	}
	return string(text), failed
}

// process is a node that runs.
type process struct {
	t *testing.T
	command
	log    string // path of a file
	cmd    *exec.Cmd
	exited chan struct{}
	err    error // of its end
}

// run starts a node until the test ends.
func (c command) run(t *testing.T) *process {
	t.Helper()
	p := &process{t: t, command: c, log: filepath.Join(t.TempDir(), "log"), exited: make(chan struct{})}
	log, err := os.Create(p.log)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close() // the process has its own descriptor
	p.cmd = c.prepare(log)
	if err := c.start(p.cmd, func(err error) {
		p.err = err
		close(p.exited)
	}); err != nil {
		t.Fatalf("%v: %v", c.args, err)
	}
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("log of %s:\n%s", c.hostname, p.said())
		}
	})
	return p
}

func (p *process) kill() {
	_ = p.cmd.Process.Kill() // it may have ended
	<-p.exited
}

// terminate stops the node as systemd and the kubelet do, and returns how it ended.
func (p *process) terminate() error {
	p.t.Helper()
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	select {
	case <-p.exited:
		return p.err
	case <-time.After(deadline):
		p.t.Fatal("it does not end")
		return nil
	}
}

func (p *process) said() string {
	text, err := os.ReadFile(p.log)
	if err != nil {
		p.t.Error(err)
	}
	return string(text)
}

// http returns a client that asks from inside the host, and keeps no connection.
func (p *process) http() *http.Client {
	return &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(_ context.Context, network, address string) (net.Conn, error) {
			return p.host.Dial(network, address)
		},
	}}
}

func (p *process) admin() *client.Admin {
	return &client.Admin{BaseURL: "http://127.0.0.1:8080", Token: adminToken, HTTP: p.http()}
}

// status asks a path and returns the status.
func (p *process) status(path string) (int, error) {
	resp, err := p.http().Get("http://127.0.0.1:8080" + path)
	if err != nil {
		return 0, err
	}
	return resp.StatusCode, resp.Body.Close()
}

// awaitCluster waits until the nodes are one cluster of voters that takes clients. It returns
// its server key, which one of them has printed, or "" for a cluster that is not new.
func awaitCluster(t *testing.T, nodes []*process) (key string) {
	t.Helper()
	for _, n := range nodes {
		eventually(t, func() error {
			select {
			case <-n.exited:
				t.Fatalf("%s ends: %v\n%s", n.hostname, n.err, n.said())
			default:
			}
			if code, err := n.status("/readyz"); err != nil || code != http.StatusOK {
				return fmt.Errorf("%s is not ready: %d %w", n.hostname, code, err)
			}
			status, err := n.admin().Status(t.Context())
			if err != nil {
				return err
			}
			voters := 0
			for _, m := range status.Members {
				if m.Voter && m.State == "alive" {
					voters++
				}
			}
			if voters != len(nodes) || len(status.Members) != len(nodes) {
				return fmt.Errorf("%s sees %+v", n.hostname, status.Members)
			}
			return nil
		})
		if found := printedKey.FindStringSubmatch(n.said()); found != nil {
			key = found[1]
		}
	}
	return key
}

var printedKey = regexp.MustCompile(`server key\s+(sk_\w+)`)

// eventually waits until check succeeds.
func eventually(t *testing.T, check func() error) {
	t.Helper()
	for end := time.Now().Add(deadline); ; time.Sleep(50 * time.Millisecond) {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("after %v: %v", deadline, err)
		}
	}
}

// writeResolver has what runs in a root ask the DNS of its host.
func writeResolver(t *testing.T, root string) {
	t.Helper()
	writeFile(t, filepath.Join(root, "etc/resolv.conf"), "nameserver 127.0.0.1\n")
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// lines returns the lines of a text that are not empty.
func lines(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return r == '\n' })
}
