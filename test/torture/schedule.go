package torture

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// idWindow is how long a message id is remembered, by harness.patch.
const idWindow = 15 * time.Second

// Plan is what a seed says is broken, and when.
type Plan []Step

// Step is one fault.
type Step struct {
	Fault FaultKind
	At    time.Duration // since the beginning
	For   time.Duration // until it is undone
	Node  int           // the victim; those that take all nodes have none
	Other int           // a second node, for what happens between two
	Luck  uint64        // whatever else has to be decided
}

// leaderNode as a Step's Node is whoever leads at that time.
const leaderNode = -1

func (s Step) String() string {
	victim := fmt.Sprintf("n%d", s.Node+1)
	if s.Node == leaderNode {
		victim = "the leader"
	}
	return fmt.Sprintf("%6.1f s  %-11s %s for %.1f s", s.At.Seconds(), s.Fault, victim, s.For.Seconds())
}

// FaultKind names a way to break something.
type FaultKind string

// The faults, and what they need: nothing, disks and networks of the nodes' own
// (root), or strace.
const (
	Kill     FaultKind = "kill"     // kill -9, start again
	Pause    FaultKind = "pause"    // SIGSTOP, SIGCONT
	Roll     FaultKind = "roll"     // SIGTERM and start, one node after the other
	Clock    FaultKind = "clock"    // a clock that is off
	Wipe     FaultKind = "wipe"     // the data folder is emptied
	Flip     FaultKind = "flip"     // one bit of the log or the state
	Join     FaultKind = "join"     // one more node
	Leave    FaultKind = "leave"    // the joined node is taken out
	Slow     FaultKind = "slow"     // each fsync takes 0.1 s; strace
	EIO      FaultKind = "eio"      // fsync fails; strace
	Cut      FaultKind = "cut"      // the link is down; network
	Mute     FaultKind = "mute"     // what it sends to another is lost; network
	Refuse   FaultKind = "refuse"   // what it sends to another fails at once; network
	Fill     FaultKind = "fill"     // the disk is full; disk
	Freeze   FaultKind = "freeze"   // the disk hangs; disk
	PowerCut FaultKind = "power"    // of one node; disk
	Blackout FaultKind = "blackout" // the power of all nodes is cut; disk
	Massacre FaultKind = "massacre" // kill -9 of all nodes

	Stutter    FaultKind = "stutter"     // stopped nine tenths of the time
	Scarce     FaultKind = "scarce"      // hardly a descriptor is left
	Clocks     FaultKind = "clocks"      // the clocks of a majority are off
	StateHang  FaultKind = "state-hang"  // only the state file hangs; strace
	SlowLeader FaultKind = "slow-leader" // each fsync of the leader takes 0.1 s; strace
	Deaf       FaultKind = "deaf"        // what the others send to it is lost; network
	Dumb       FaultKind = "dumb"        // what it sends to the others is lost; network
	Isolate    FaultKind = "isolate"     // both, for longer than ids are remembered; network
	Flap       FaultKind = "flap"        // the link is down every other moment; network
	Torn       FaultKind = "torn"        // power cut while sectors are being written; disk
	TornAll    FaultKind = "torn-all"    // the same, of all nodes
	TornPair   FaultKind = "torn-pair"   // the leader with slow syncs; or it and another one, the third cut off
)

// weights are how likely a fault is.
var weights = []struct {
	kind   FaultKind
	weight int
}{
	{Kill, 4},
	{Pause, 3},
	{Roll, 3},
	{Clock, 2},
	{Wipe, 1},
	{Flip, 1},
	{Join, 1},
	{Slow, 1},
	{EIO, 1},
	{Cut, 4},
	{Mute, 3},
	{Refuse, 2},
	{Fill, 1},
	{Freeze, 2},
	{PowerCut, 2},
	{Blackout, 1},
	{Massacre, 1},
	{Stutter, 2},
	{Scarce, 2},
	{Clocks, 2},
	{StateHang, 2},
	{SlowLeader, 2},
	{Deaf, 2},
	{Dumb, 2},
	{Isolate, 2},
	{Flap, 2},
	{Torn, 2},
	{TornAll, 2},
	{TornPair, 2},
}

// once are the faults that come at most once in a run: of data that is gone at two
// nodes nothing is promised, and some take long.
var once = []FaultKind{Wipe, Flip, Join, Roll, Isolate}

// NewPlan draws up the faults of a seed: for about length, on so many nodes, of the
// kinds that can be made here.
func NewPlan(seed uint64, length time.Duration, nodes int, able func(FaultKind) bool) Plan {
	random := rand.New(rand.NewPCG(seed, 0))
	var plan Plan
	used := make(map[FaultKind]bool)
	busy := make([]time.Duration, nodes) // until when a node is a victim
	for at := between(random, 1500, 4000); at < length; {
		s := Step{
			Fault: drawFault(random), At: at, For: between(random, 1500, 8000), Node: random.IntN(nodes),
			Luck: random.Uint64(),
		}
		s.Other = (s.Node + 1 + random.IntN(nodes-1)) % nodes
		if random.IntN(3) == 0 || s.Fault == SlowLeader || s.Fault == TornPair {
			s.Node = leaderNode
		}
		if s.Fault == Isolate {
			s.For = idWindow + between(random, 5000, 8000)
		}
		gap := between(random, 500, 5000)
		switch {
		case !able(s.Fault) || used[s.Fault] && slices.Contains(once, s.Fault):
			continue
		case (s.Fault == Wipe || s.Fault == Flip) && (used[Wipe] || used[Flip]):
			continue // one loss of data is all that three nodes stand
		case s.Node != leaderNode && busy[s.Node] > at:
			at += 500 * time.Millisecond
			continue
		}
		used[s.Fault] = true
		if s.Node != leaderNode {
			busy[s.Node] = at + s.For
		}
		plan = append(plan, s)
		if s.Fault == Join && at+length/3 < length {
			plan = append(plan, Step{Fault: Leave, At: at + length/3, Node: s.Node, Other: s.Other})
		}
		// Mostly one after the other; now and then a second fault meets the first.
		if random.IntN(3) > 0 {
			gap += s.For
		}
		at += gap
	}
	slices.SortStableFunc(plan, func(a, b Step) int { return cmp.Compare(a.At, b.At) })
	return plan
}

// between draws a time, in ms.
func between(random *rand.Rand, least, most int) time.Duration {
	return time.Duration(least+random.IntN(most-least)) * time.Millisecond
}

func drawFault(random *rand.Rand) FaultKind {
	total := 0
	for _, w := range weights {
		total += w.weight
	}
	n := random.IntN(total)
	for _, w := range weights {
		if n -= w.weight; n < 0 {
			return w.kind
		}
	}
	panic("unreachable")
}
