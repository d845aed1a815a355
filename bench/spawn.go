package bench

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// SpawnOptions describes the cluster to start.
type SpawnOptions struct {
	Nodes  int
	Binary string      // path of aptlyd; empty looks beside this program, then in PATH
	Dir    string      // for data and logs; empty means a temporary folder that Close removes
	Args   []string    // further arguments of "aptlyd serve", for all nodes
	Env    []string    // further environment, as in exec.Cmd
	TLS    *tls.Config // with which the nodes are asked whether they are ready; nil for plain HTTP
	Hosts  []Host      // of the nodes, in turn; empty means that all are on loopback
}

// Host is the machine of a node. Off loopback the nodes need a cluster secret in their
// environment.
type Host struct {
	IP    string       // at which it is reached
	Env   []string     // further environment of its node
	Enter func() error // moves the calling thread there, for good; nil means it is there
}

func (h Host) enter() error {
	if h.Enter == nil {
		return nil
	}
	return h.Enter()
}

// Cluster is a cluster of real processes. Nodes are numbered from 0. Methods that
// change the same node must not run at the same time.
type Cluster struct {
	AdminToken string
	PublicKey  string
	ServerKey  string
	// ClusterSecret is what the nodes share, unless SpawnOptions bring another.
	ClusterSecret string

	options   SpawnOptions
	temporary bool
	nodes     []*process
	ports     map[int]bool // given to nodes
}

// process is one node, running or not.
type process struct {
	host                 Host
	name                 string
	listen, peer, gossip string // host:port
	dir                  string

	mu     sync.Mutex
	cmd    *exec.Cmd     // nil before the first start
	exited chan struct{} // closed when cmd has ended
	result error         // of cmd, valid then
}

// Spawn starts a cluster and returns once every node is ready.
func Spawn(ctx context.Context, options SpawnOptions) (*Cluster, error) {
	if options.Nodes < 1 {
		return nil, fmt.Errorf("spawn %d nodes: at least one is needed", options.Nodes)
	}
	if n := len(options.Hosts); n > 0 && n < options.Nodes {
		return nil, fmt.Errorf("spawn %d nodes: there are only %d hosts", options.Nodes, n)
	}
	binary, err := findBinary(options.Binary)
	if err != nil {
		return nil, fmt.Errorf("find aptlyd: %w", err)
	}
	options.Binary = binary
	c := &Cluster{
		AdminToken: rand.Text(),
		PublicKey:  newKey("pk_"),
		ServerKey:  newKey("sk_"),
		options:    options,
		ports:      make(map[int]bool),
	}
	if options.Dir == "" {
		if c.options.Dir, err = os.MkdirTemp("", "aptlyd-cluster-"); err != nil {
			return nil, fmt.Errorf("make folder: %w", err)
		}
		c.temporary = true
	}
	if c.ClusterSecret, err = sharedSecret(c.options.Dir); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	if err := c.startAll(ctx); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// sharedSecret returns the cluster secret of the nodes in a folder, whose clusters may be
// started again.
func sharedSecret(dir string) (string, error) {
	path := filepath.Join(dir, "cluster-secret")
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		text = []byte(rand.Text() + rand.Text())
		if err = os.MkdirAll(dir, 0o700); err == nil {
			err = os.WriteFile(path, text, 0o600)
		}
	}
	if err != nil {
		return "", fmt.Errorf("cluster secret: %w", err)
	}
	return string(text), nil
}

func (c *Cluster) startAll(ctx context.Context) error {
	for i := range c.options.Nodes {
		host := Host{IP: "127.0.0.1"}
		if len(c.options.Hosts) > 0 {
			host = c.options.Hosts[i]
		}
		if _, err := c.Add(host); err != nil {
			return err
		}
	}
	for i := range c.nodes {
		if err := c.Start(i); err != nil {
			return err
		}
	}
	for i := range c.nodes {
		if err := c.Ready(ctx, i); err != nil {
			return err
		}
	}
	return nil
}

// Add adds a node, which is yet to be started, and returns its number. It must not
// run at the same time as other methods.
func (c *Cluster) Add(host Host) (int, error) {
	ports, err := freePorts(3, c.ports)
	if err != nil {
		return 0, fmt.Errorf("find free ports: %w", err)
	}
	address := func(port int) string { return net.JoinHostPort(host.IP, strconv.Itoa(port)) }
	name := fmt.Sprintf("n%d", len(c.nodes)+1)
	c.nodes = append(c.nodes, &process{
		host:   host,
		name:   name,
		listen: address(ports[0]),
		peer:   address(ports[1]),
		gossip: address(ports[2]),
		dir:    filepath.Join(c.options.Dir, name),
	})
	return len(c.nodes) - 1, nil
}

// SetEnv changes SpawnOptions.Env for the starts to come.
func (c *Cluster) SetEnv(env ...string) { c.options.Env = env }

// SetBinary changes SpawnOptions.Binary for the starts to come.
func (c *Cluster) SetBinary(path string) { c.options.Binary = path }

// findBinary returns the path of aptlyd.
func findBinary(given string) (string, error) {
	if given != "" {
		return exec.LookPath(given)
	}
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	if beside, err := exec.LookPath(filepath.Join(filepath.Dir(self), "aptlyd")); err == nil {
		return beside, nil
	}
	return exec.LookPath("aptlyd")
}

// Len returns the number of nodes.
func (c *Cluster) Len() int { return len(c.nodes) }

// Addr returns the host and port at which clients reach node i.
func (c *Cluster) Addr(i int) string { return c.nodes[i].listen }

// Servers returns the WebSocket URLs of all nodes.
func (c *Cluster) Servers() []string {
	var urls []string
	for _, p := range c.nodes {
		urls = append(urls, "ws://"+p.listen)
	}
	return urls
}

// Target returns the cluster as a target, whose processes are those that run now.
func (c *Cluster) Target() Target {
	target := Target{Servers: c.Servers(), Key: c.ServerKey, AdminToken: c.AdminToken}
	for i := range c.nodes {
		target.PIDs = append(target.PIDs, c.PID(i))
	}
	return target
}

// Name returns the name of node i.
func (c *Cluster) Name(i int) string { return c.nodes[i].name }

// Dir returns the data folder of node i.
func (c *Cluster) Dir(i int) string { return c.nodes[i].dir }

// PID returns the process id that node i has or last had; 0 if it never ran.
func (c *Cluster) PID(i int) int {
	p := c.nodes[i]
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return 0
	}
	return p.cmd.Process.Pid
}

// Start starts node i, which must not be running, on the data it has.
func (c *Cluster) Start(i int) error {
	p := c.nodes[i]
	log, err := os.OpenFile(p.log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("open log of %s: %w", p.name, err)
	}
	defer log.Close() // the process has its own descriptor
	scheme := "ws://"
	if c.options.TLS != nil {
		scheme = "wss://"
	}
	args := []string{
		"serve",
		"--node-name", p.name,
		"--data-dir", p.dir,
		"--listen", p.listen,
		"--peer-listen", p.peer,
		"--gossip-listen", p.gossip,
		"--advertise", p.host.IP,
		"--bootstrap-expect", strconv.Itoa(c.options.Nodes),
		"--public-url", scheme + p.listen,
	}
	var seeds []string
	for _, seed := range c.nodes {
		seeds = append(seeds, seed.gossip)
	}
	args = append(args, "--join", strings.Join(seeds, ","))
	cmd := exec.Command(c.options.Binary, append(args, c.options.Args...)...)
	// Every user can see arguments, so secrets go into the environment.
	cmd.Env = append(os.Environ(),
		"APTLYD_CLUSTER_SECRET="+c.ClusterSecret,
		"APTLYD_ADMIN_TOKEN="+c.AdminToken,
		"APTLYD_BOOTSTRAP_PUBLIC_KEY="+c.PublicKey,
		"APTLYD_BOOTSTRAP_SERVER_KEY="+c.ServerKey,
	)
	cmd.Env = append(append(cmd.Env, c.options.Env...), p.host.Env...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = processAttributes()
	started := make(chan error, 1)
	exited := make(chan struct{})
	go func() {
		// The kernel ends the process with the thread that started it, not with this
		// program, so the thread stays.
		// Never unlocked, so it ends with the goroutine, on whatever host it is then.
		runtime.LockOSThread()
		err := p.host.enter()
		if err == nil {
			err = cmd.Start()
		}
		started <- err
		if err != nil {
			return
		}
		err = cmd.Wait()
		p.mu.Lock()
		p.result = err
		p.mu.Unlock()
		close(exited)
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("start %s: %w", p.name, err)
	}
	p.mu.Lock()
	p.cmd, p.exited = cmd, exited
	p.mu.Unlock()
	return nil
}

// Ready waits until node i says that it is ready. The error quotes the end of
// the node's log.
func (c *Cluster) Ready(ctx context.Context, i int) error {
	p := c.nodes[i]
	p.mu.Lock()
	exited := p.exited
	p.mu.Unlock()
	if exited == nil {
		return fmt.Errorf("%s was never started", p.name)
	}
	poll := time.NewTicker(20 * time.Millisecond)
	defer poll.Stop()
	for {
		reason := readiness(ctx, p.listen, c.options.TLS)
		if reason == nil {
			return nil
		}
		select {
		case <-poll.C:
		case <-exited:
			return fmt.Errorf("%s ended before it was ready: %w\n%s", p.name, p.end(), p.tail())
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w: %w\n%s", p.name, ctx.Err(), reason, p.tail())
		}
	}
}

func readiness(ctx context.Context, address string, encryption *tls.Config) error {
	asker, scheme := http.DefaultClient, "http://"
	if encryption != nil {
		transport := &http.Transport{TLSClientConfig: encryption}
		defer transport.CloseIdleConnections()
		asker, scheme = &http.Client{Transport: transport}, "https://"
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+address+"/readyz", nil)
	if err != nil {
		return err
	}
	response, err := asker.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("/readyz answers %s", response.Status)
	}
	return nil
}

// Signal sends a signal to node i.
func (c *Cluster) Signal(i int, signal os.Signal) error {
	p := c.nodes[i]
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return fmt.Errorf("signal %s: it was never started", p.name)
	}
	if err := p.cmd.Process.Signal(signal); err != nil {
		return fmt.Errorf("signal %s: %w", p.name, err)
	}
	return nil
}

// Exited is closed when node i, which must have been started, has ended.
func (c *Cluster) Exited(i int) <-chan struct{} {
	p := c.nodes[i]
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.exited
}

// Kill ends node i as kill -9 does and waits until it is gone.
func (c *Cluster) Kill(i int) error {
	if err := c.Signal(i, syscall.SIGKILL); err != nil {
		return err
	}
	<-c.Exited(i)
	return nil
}

// Stop asks node i to drain and waits until it is gone. The error says that it
// had to be killed when ctx ended, or how else it failed.
func (c *Cluster) Stop(ctx context.Context, i int) error {
	if err := c.Signal(i, syscall.SIGTERM); err != nil {
		return err
	}
	p := c.nodes[i]
	select {
	case <-c.Exited(i):
	case <-ctx.Done():
		return errors.Join(fmt.Errorf("stop %s: %w", p.name, ctx.Err()), c.Kill(i))
	}
	if err := p.end(); err != nil {
		return fmt.Errorf("stop %s: %w\n%s", p.name, err, p.tail())
	}
	return nil
}

// Restart starts node i, which must have ended, and waits until it is ready.
func (c *Cluster) Restart(ctx context.Context, i int) error {
	if err := c.Start(i); err != nil {
		return err
	}
	return c.Ready(ctx, i)
}

// Close kills every node that runs and removes the folder if it is temporary.
func (c *Cluster) Close() error {
	var errs []error
	for i, p := range c.nodes {
		if !p.running() {
			continue
		}
		if err := c.Kill(i); err != nil && !errors.Is(err, os.ErrProcessDone) {
			errs = append(errs, err)
		}
	}
	if c.temporary {
		if err := os.RemoveAll(c.options.Dir); err != nil {
			errs = append(errs, fmt.Errorf("remove folder: %w", err))
		}
	}
	return errors.Join(errs...)
}

func (p *process) running() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return false
	}
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

// end returns how the process ended.
func (p *process) end() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.result
}

func (p *process) log() string { return p.dir + ".log" }

// tail returns the end of the log, for error messages.
func (p *process) tail() string {
	const length = 2000
	f, err := os.Open(p.log())
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.Size() > length {
		if _, err := f.Seek(-length, io.SeekEnd); err != nil {
			return err.Error()
		}
	}
	text, err := io.ReadAll(f)
	if err != nil {
		return err.Error()
	}
	return string(text)
}
