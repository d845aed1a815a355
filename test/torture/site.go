package torture

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aptlyd/aptlyd/bench"
	"github.com/aptlyd/aptlyd/client"
	"github.com/aptlyd/aptlyd/test/lab"
)

const (
	// diskBytes is the size of a node's disk, diskReserve what it wants to have free.
	diskBytes   = 512 << 20
	diskReserve = 64 << 20
)

// site is the cluster and what it stands on. Its methods are for the goroutine of
// the test, but for doors.
type site struct {
	t        testing.TB
	recorder *Recorder
	binary   string
	dir      string
	cluster  *bench.Cluster
	network  *lab.Network // nil where none can be made
	disks    []*lab.Disk  // likewise
	unable   []FaultKind  // what cannot be made here
	made     map[FaultKind]int
	nodes    []*node

	mu     sync.Mutex
	open   []door
	joined bool // the last node
}

// node is what the test has done to a node.
type node struct {
	running bool      // or should be
	held    int       // how many faults keep it from being started
	busy    int       // how many faults its process or its disk is under
	killed  bool      // its end is no surprise
	excuse  excuse    // for an end
	damaged bool      // its data was tampered with: when it says so, it loses all
	retryAt time.Time // a node that ended is not started again at once
}

// excuse is what is done to a node that may end it, once.
type excuse struct {
	words *regexp.Regexp // that its last line then matches
	until time.Time      // the fault is undone, and a while has passed
}

// newSite starts a cluster of so many nodes, each with a network and a disk of its
// own where they can be made, and has one more place ready.
func newSite(t testing.TB, recorder *Recorder, binary, dir string, nodes int) *site {
	t.Helper()
	s := &site{t: t, made: make(map[FaultKind]int), recorder: recorder, binary: binary, dir: dir}
	options := bench.SpawnOptions{
		Nodes: nodes, Binary: binary, Dir: dir,
		// What is given up soon is repeated while its id is remembered.
		Args: []string{"--disk-reserve", strconv.Itoa(diskReserve), "--publish-timeout", "3s"},
		Env:  []string{"APTLYD_CLUSTER_SECRET=a secret between tortured nodes"},
	}
	if s.can(lab.NoNetworks(), Cut, Mute, Refuse, Deaf, Dumb, Isolate, Flap, TornPair) {
		s.network = lab.NewNetwork(t, nodes+1)
	}
	disks := s.can(lab.NoDisks(), Fill, Freeze, PowerCut, Blackout, Torn, TornAll, TornPair)
	s.can(lab.NoTracing(), Slow, EIO, SlowLeader, StateHang, TornPair)
	for i := range nodes + 1 {
		host := bench.Host{IP: "127.0.0.1", Env: []string{"APTLYD_TORTURE_CLOCK=" + s.clock(i)}}
		if s.network != nil {
			host.IP, host.Enter = s.network.Hosts[i].IP, s.network.Hosts[i].Enter
		}
		if disks {
			s.disks = append(s.disks, lab.NewDisk(t, filepath.Join(dir, fmt.Sprintf("n%d", i+1)), diskBytes))
		}
		options.Hosts = append(options.Hosts, host)
		s.nodes = append(s.nodes, &node{})
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var err error
	if s.cluster, err = bench.Spawn(ctx, options); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.cluster.Close(); err != nil {
			t.Errorf("end the cluster: %v", err)
		}
	})
	if _, err := s.cluster.Add(options.Hosts[nodes]); err != nil {
		t.Fatal(err)
	}
	for i := range nodes {
		s.nodes[i].running = true
		s.open = append(s.open, s.door(i))
	}
	return s
}

// can leaves faults out, and says so, if there is something missing for them.
func (s *site) can(missing string, faults ...FaultKind) bool {
	s.t.Helper()
	if missing != "" {
		s.unable = append(s.unable, faults...)
		s.t.Logf("NOT TESTED: %v: %s", faults, missing)
	}
	return missing == ""
}

// clock is the file that says how far the clock of node i is off.
func (s *site) clock(i int) string { return filepath.Join(s.dir, fmt.Sprintf("clock-%d", i+1)) }

func (s *site) door(i int) door { return door{s.cluster.Name(i), s.cluster.Addr(i)} }

// doors are the nodes that clients know.
func (s *site) doors() []door {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.open
}

// roomDoors are the nodes that members know: also one that has joined, which they lose with
// its removal.
func (s *site) roomDoors() []door {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.joined {
		return append(slices.Clone(s.open), s.door(len(s.nodes)-1))
	}
	return s.open
}

func (s *site) setJoined(joined bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.joined = joined
}

// allDoors are all nodes, also one that may join.
func (s *site) allDoors() (doors []door) {
	for i := range s.nodes {
		doors = append(doors, s.door(i))
	}
	return doors
}

// members are the nodes that belong to the cluster, running or not.
func (s *site) members() (members []int) {
	for i := range s.nodes {
		if s.nodes[i].running {
			members = append(members, i)
		}
	}
	return members
}

func (s *site) url(i int) string { return "http://" + s.cluster.Addr(i) }

func (s *site) admin(i int) *client.Admin {
	return &client.Admin{BaseURL: s.url(i), Token: s.cluster.AdminToken, HTTP: &http.Client{Timeout: 2 * time.Second}}
}

// leader returns which node leads, or some member when nobody knows.
func (s *site) leader() int {
	members := s.members()
	for _, i := range members {
		status, err := s.admin(i).Status(s.t.Context())
		if err != nil {
			continue
		}
		for _, j := range members {
			if s.cluster.Name(j) == status.Leader {
				return j
			}
		}
	}
	return members[0]
}

// hold keeps node i from being started again until release.
func (s *site) hold(i int) { s.nodes[i].held++ }

func (s *site) release(i int) { s.nodes[i].held-- }

// ended reports whether the process of node i has ended.
func (s *site) ended(i int) bool {
	exited := s.cluster.Exited(i)
	if exited == nil {
		return true
	}
	select {
	case <-exited:
		return true
	default:
		return false
	}
}

// kill ends node i as kill -9 does. What hangs in a frozen disk ends later.
func (s *site) kill(i int) {
	s.t.Helper()
	s.nodes[i].killed = true
	s.recorder.Add(Event{Kind: Killed, Node: s.cluster.Name(i)})
	s.signal(i, syscall.SIGKILL)
}

// signal sends a signal to node i, if it lives.
func (s *site) signal(i int, signal os.Signal) {
	s.t.Helper()
	if s.ended(i) {
		return
	}
	if err := s.cluster.Signal(i, signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		s.t.Fatal(err)
	}
}

// await waits until node i has ended.
func (s *site) await(i int) {
	s.t.Helper()
	if s.cluster.Exited(i) == nil {
		return
	}
	select {
	case <-s.cluster.Exited(i):
	case <-time.After(patience):
		s.t.Fatalf("%s was killed and goes on", s.cluster.Name(i))
	}
}

// tend starts every node again that has ended and should run, as a supervisor
// does.
func (s *site) tend() {
	s.t.Helper()
	for i, n := range s.nodes {
		if !n.running || n.held > 0 || !s.ended(i) || time.Now().Before(n.retryAt) {
			continue
		}
		if s.cluster.PID(i) != 0 && !n.killed && n.retryAt.IsZero() {
			s.explain(i)
			n.retryAt = time.Now().Add(time.Second)
			continue
		}
		n.retryAt, n.killed = time.Time{}, false
		if err := s.cluster.Start(i); err != nil {
			s.t.Fatal(err)
		}
	}
}

// excuse has an end of node i be no surprise that its last words explain, by a match of
// the regular expression words, once, until a while after the fault is undone.
func (s *site) excuse(i int, words string, undo func()) func() {
	n := s.nodes[i]
	n.excuse = excuse{regexp.MustCompile(words), time.Now().Add(time.Hour)}
	return func() {
		undo()
		if n.excuse != (excuse{}) {
			n.excuse.until = time.Now().Add(5 * time.Second)
		}
	}
}

// explain decides what to think of the end of node i.
func (s *site) explain(i int) {
	s.t.Helper()
	n := s.nodes[i]
	last := s.lastWords(i)
	s.note("%s has ended: %s", s.cluster.Name(i), last)
	says := func(text string) bool { return strings.Contains(last, text) }
	switch {
	case n.damaged && (says("damaged") || says("corrupt") || says("checksum")):
		s.note("%s has found the damage and loses its data", s.cluster.Name(i))
		n.damaged = false
		s.wipe(i)
	case s.lastWritten(i).Before(n.excuse.until) && n.excuse.words.MatchString(last):
		n.excuse = excuse{}
	default:
		s.recorder.Add(Event{Kind: Died, Node: s.cluster.Name(i), Note: last})
	}
}

// wipe empties the data folder of node i, which has ended.
func (s *site) wipe(i int) {
	s.t.Helper()
	entries, err := os.ReadDir(s.cluster.Dir(i))
	if err != nil {
		s.t.Fatal(err)
	}
	for _, e := range entries {
		if err := os.RemoveAll(filepath.Join(s.cluster.Dir(i), e.Name())); err != nil {
			s.t.Fatal(err)
		}
	}
}

// lastWords returns the last line that node i has logged, or the one that says why it ends:
// others may follow while it does.
func (s *site) lastWords(i int) string {
	log, err := os.ReadFile(s.cluster.Dir(i) + ".log")
	if err != nil {
		return err.Error()
	}
	text := strings.TrimSpace(string(log))
	if at := strings.LastIndex(text, "\npanic: "); at >= 0 && len(text)-at < 20_000 {
		line, _, _ := strings.Cut(text[at+1:], "\n")
		return line
	}
	text = text[max(strings.LastIndex(text, "APTLYD_TORTURE_CLOCK"), 0):] // which is warned of at each start
	if at := strings.LastIndex(text, `"msg":"stopping: `); at >= 0 {
		line, _, _ := strings.Cut(text[strings.LastIndexByte(text[:at], '\n')+1:], "\n")
		return line
	}
	return text[strings.LastIndexByte(text, '\n')+1:]
}

// lastWritten returns when that was.
func (s *site) lastWritten(i int) time.Time {
	log, err := os.Stat(s.cluster.Dir(i) + ".log")
	if err != nil {
		s.t.Fatal(err)
	}
	return log.ModTime()
}

// note writes a remark into the history.
func (s *site) note(format string, args ...any) {
	s.recorder.Add(Event{Kind: Fault, Note: fmt.Sprintf(format, args...)})
}

// aptlyd runs a client command.
func (s *site) aptlyd(node int, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(s.t.Context(), 15*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, s.binary, args...)
	cmd.Env = append(os.Environ(), "APTLYD_SERVER="+s.url(node), "APTLYD_ADMIN_TOKEN="+s.cluster.AdminToken)
	out, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// ready reports why node i does not serve, nil if it does.
func (s *site) ready(i int) error {
	c := http.Client{Timeout: time.Second}
	answer, err := c.Get(s.url(i) + "/readyz")
	if err != nil {
		return err
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("/readyz answers %s", answer.Status)
	}
	return nil
}
