package torture

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/aptlyd/aptlyd/test/lab"
)

// able reports whether a kind of fault can be made here.
func (s *site) able(kind FaultKind) bool { return !slices.Contains(s.unable, kind) }

// suffer carries a plan out. What is still broken at the end is healed.
func (s *site) suffer(began time.Time, plan Plan, length time.Duration) {
	s.t.Helper()
	type undo struct {
		at   time.Duration
		what Step
		run  func()
	}
	var undos []undo
	heal := func(until time.Duration) {
		slices.SortStableFunc(undos, func(a, b undo) int { return int(a.at - b.at) })
		for len(undos) > 0 && undos[0].at <= until {
			u := undos[0]
			undos = undos[1:]
			s.note("%s of %s is over", u.what.Fault, s.cluster.Name(u.what.Node))
			u.run()
			s.recorder.Add(Event{Kind: Mended, Node: s.victim(u.what), Note: string(u.what.Fault)})
			s.nodes[u.what.Node].busy--
		}
	}
	for next := 0; ; {
		now := time.Since(began)
		heal(now)
		s.tend()
		switch {
		case next < len(plan) && plan[next].At <= now:
			step := plan[next]
			next++
			if step.Node == leaderNode {
				step.Node = s.leader()
				if step.Other == step.Node {
					step.Other = (step.Node + 1) % (len(s.nodes) - 1)
				}
			}
			if !s.fit(step) {
				s.note("%s of %s is left out: it has ended, or is under another fault", step.Fault, s.cluster.Name(step.Node))
				continue
			}
			s.note("%s of %s for %v", step.Fault, s.cluster.Name(step.Node), step.For)
			s.made[step.Fault]++
			s.recorder.Add(Event{Kind: Broken, Node: s.victim(step), Note: string(step.Fault)})
			run := s.begin(step)
			if run == nil {
				s.recorder.Add(Event{Kind: Mended, Node: s.victim(step), Note: string(step.Fault)})
				continue
			}
			s.nodes[step.Node].busy++
			undos = append(undos, undo{time.Since(began) + step.For, step, run})
		case now >= length:
			heal(1 << 62)
			return
		default:
			time.Sleep(50 * time.Millisecond)
		}
	}
}

// victim names the node that a fault is of, and nobody when it is of all.
func (s *site) victim(step Step) string {
	switch step.Fault {
	case Massacre, Blackout, TornAll, Clocks, Roll, Join, Leave:
		return ""
	}
	return s.cluster.Name(step.Node)
}

// fit reports whether a fault makes sense now: two at once are for different
// parts.
func (s *site) fit(step Step) bool {
	busy := func(n *node) bool { return n.busy > 0 }
	switch step.Fault {
	case Cut, Mute, Refuse, Deaf, Dumb, Isolate, Flap, Clock, Clocks, Join, Leave, Roll, Massacre:
		return true
	case Blackout, TornAll:
		return !slices.ContainsFunc(s.nodes, busy)
	}
	return !s.ended(step.Node) && !busy(s.nodes[step.Node])
}

// begin makes a fault and returns what undoes it, nil for nothing.
func (s *site) begin(step Step) (undo func()) {
	s.t.Helper()
	i := step.Node
	switch step.Fault {
	case Kill:
		s.hold(i)
		s.kill(i)
		return func() { s.release(i) }
	case Massacre:
		for i := range s.nodes {
			s.hold(i)
			s.kill(i)
		}
		return func() {
			for i := range s.nodes {
				s.release(i)
			}
		}
	case Pause:
		s.signal(i, syscall.SIGSTOP)
		return func() { s.signal(i, syscall.SIGCONT) }
	case Roll:
		s.roll()
	case Stutter:
		return s.stutter(step)
	case Scarce:
		return s.starve(step)
	case Clock:
		return s.skew(step)
	case Clocks:
		return s.skewMost(step)
	case Wipe:
		s.hold(i)
		s.kill(i)
		s.await(i)
		s.wipe(i)
		return func() { s.release(i) }
	case Flip:
		return s.flip(step)
	case Join:
		joiner := len(s.nodes) - 1
		s.nodes[joiner].running = true
		s.setJoined(true)
	case Leave:
		s.leave()
	case Slow:
		// Two slow writes on top of each other may be one that hangs.
		return s.excuse(i, "the disk hangs", lab.Inject(s.t, s.cluster.PID(i), "fsync,fdatasync", "delay_enter=100000"))
	case SlowLeader:
		began := s.recorder.Now()
		mend := s.excuse(i, "the disk hangs", lab.Inject(s.t, s.cluster.PID(i), "fsync,fdatasync", "delay_enter=100000"))
		return func() {
			s.recorder.Add(Event{Kind: Slowed, Began: began, Node: s.cluster.Name(i), Note: s.cluster.Name(s.leader())})
			mend()
		}
	case StateHang:
		state := filepath.Join(s.cluster.Dir(i), "state", "state.db")
		return s.excuse(i, "the disk hangs", lab.Inject(s.t, s.cluster.PID(i), "fdatasync", "delay_enter=60000000", state))
	case EIO:
		call := []string{"fsync", "fdatasync"}[step.Luck%2] // of the log, of the state
		return s.excuse(i, "input/output error", lab.Inject(s.t, s.cluster.PID(i), call, "error=EIO"))
	case Cut:
		s.network.Hosts[i].Cut()
		return s.network.Hosts[i].Mend
	case Mute:
		from, to := s.network.Hosts[i], s.network.Hosts[step.Other]
		from.Mute(to)
		return func() { from.Unmute(to) }
	case Deaf, Dumb, Isolate:
		return s.part(step)
	case Flap:
		return s.flap(step)
	case Refuse:
		from, to := s.network.Hosts[i], s.network.Hosts[step.Other]
		from.Refuse(to)
		return func() { from.Unrefuse(to) }
	case Fill:
		ballast := filepath.Join(s.cluster.Dir(i), "ballast")
		if err := lab.Fill(s.cluster.Dir(i), ballast, diskReserve/2); err != nil {
			s.t.Fatal(err)
		}
		return func() {
			if err := os.Remove(ballast); err != nil && !os.IsNotExist(err) {
				s.t.Fatal(err)
			}
		}
	case Freeze:
		s.disks[i].Freeze()
		return s.excuse(i, "the disk hangs", s.disks[i].Thaw)
	case PowerCut:
		return s.cutPower([]int{i})
	case Blackout:
		return s.cutPower(s.members())
	case Torn:
		return s.tear(step, []int{i})
	case TornAll:
		return s.tear(step, s.members())
	case TornPair:
		return s.cutPair(step)
	}
	return nil
}

// roll restarts one node after the other, in good order.
func (s *site) roll() {
	for _, i := range s.members() {
		if s.ended(i) || s.nodes[i].busy > 0 {
			continue
		}
		ctx, cancel := context.WithTimeout(s.t.Context(), 15*time.Second)
		err := s.cluster.Stop(ctx, i)
		cancel()
		if err != nil {
			s.note("stop: %v", err)
		}
		if err := s.cluster.Start(i); err != nil {
			s.t.Fatal(err)
		}
		for end := time.Now().Add(10 * time.Second); s.ready(i) != nil && time.Now().Before(end); {
			time.Sleep(20 * time.Millisecond)
		}
	}
}

// skew moves the clock of a node.
func (s *site) skew(step Step) func() {
	i := step.Node
	offsets := []time.Duration{
		-time.Hour, -15 * time.Minute, -7 * time.Second, -2 * time.Second, 2 * time.Second,
		7 * time.Second, 15 * time.Minute, time.Hour,
	}
	return s.setClock(i, offsets[step.Luck%uint64(len(offsets))])
}

// skewMost moves the clocks of a majority, which the cluster's time follows. It is by less
// than clients need of the time for which ids are remembered.
func (s *site) skewMost(step Step) func() {
	offsets := []time.Duration{-mostSkew, -mostSkew / 2, mostSkew / 2, mostSkew}
	var undo []func()
	members := s.members()
	for n := range len(members)/2 + 1 {
		i := members[(max(step.Node, 0)+n)%len(members)]
		undo = append(undo, s.setClock(i, offsets[step.Luck%uint64(len(offsets))]))
	}
	return func() { runAll(undo) }
}

// mostSkew is how far the clocks of a majority are off at most.
const mostSkew = 3 * time.Second

func runAll(functions []func()) {
	for _, f := range functions {
		f()
	}
}

func (s *site) setClock(i int, offset time.Duration) (undo func()) {
	s.note("the clock of %s is %v off", s.cluster.Name(i), offset)
	path := s.clock(i)
	if err := os.WriteFile(path, strconv.AppendInt(nil, offset.Milliseconds(), 10), 0o600); err != nil {
		s.t.Fatal(err)
	}
	return func() {
		if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
			s.t.Fatal(err)
		}
	}
}

// leave takes the node that joined out of the cluster.
func (s *site) leave() {
	joiner := len(s.nodes) - 1
	name := s.cluster.Name(joiner)
	s.setJoined(false)
	s.hold(joiner)
	s.kill(joiner)
	s.await(joiner)
	var out string
	var err error
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(300 * time.Millisecond) {
		if out, err = s.aptlyd(s.leader(), "cluster", "remove", name); err == nil {
			break
		}
	}
	s.note("cluster remove %s: %s %v", name, out, err)
	if err != nil {
		s.release(joiner) // it stays
		return
	}
	s.nodes[joiner].running = false
}
