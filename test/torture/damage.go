package torture

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/aptlyd/aptlyd/test/lab"
)

// flip inverts one bit of what a node has stored, while it is stopped.
func (s *site) flip(step Step) func() {
	i := step.Node
	n := s.nodes[i]
	s.hold(i)
	// In good order, so that what is at the end of the log is no torn write.
	ctx, cancel := context.WithTimeout(s.t.Context(), 15*time.Second)
	defer cancel()
	if err := s.cluster.Stop(ctx, i); err != nil {
		s.note("stop: %v", err)
	}
	n.killed = true
	pattern := []string{"raft/*.wal", "state/state.db"}[step.Luck%2]
	n.damaged = true
	where, err := flipBit(filepath.Join(s.cluster.Dir(i), pattern), step.Luck)
	if err != nil {
		s.note("no bit flipped: %v", err)
	} else {
		s.note("flipped a bit: %s", where)
	}
	return func() { s.release(i) }
}

// flipBit inverts a bit of a message in the newest file of a pattern. Pages that
// bbolt has freed hold copies: the bit is inverted in them, too, so that the one in
// use is among them.
func flipBit(pattern string, luck uint64) (where string, err error) {
	paths, err := filepath.Glob(pattern)
	if err != nil || len(paths) == 0 {
		return "", fmt.Errorf("no %s: %w", pattern, err)
	}
	path := slices.Max(paths)
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return "", err
	}
	defer f.Close()
	raw, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	var places []int
	mark := []byte(`"text":"`)
	for from := 0; ; {
		at := bytes.Index(raw[from:], mark)
		if at < 0 {
			break
		}
		from += at + len(mark)
		places = append(places, from)
	}
	if len(places) == 0 {
		return "", fmt.Errorf("no message in %s", path)
	}
	// Not among the last ones: a damaged final batch cannot be told from a torn
	// write.
	at := places[luck/2%uint64(len(places)*3/4+1)]
	text := func(at int) []byte { return raw[at:min(at+16, len(raw))] }
	copies := 0
	for _, place := range places {
		if !bytes.Equal(text(place), text(at)) {
			continue
		}
		copies++
		if _, err := f.WriteAt([]byte{raw[at] ^ 1}, int64(place)); err != nil {
			return "", err
		}
	}
	return fmt.Sprintf("%s at %d, %d copies", path, at, copies), f.Sync()
}

// cutPower cuts the power of nodes at one instant.
func (s *site) cutPower(nodes []int) func() {
	for _, i := range nodes {
		s.hold(i)
		s.kill(i)
	}
	for _, i := range nodes {
		if err := s.disks[i].Cut(); err != nil {
			s.note("cut the power of %s: %v", s.cluster.Name(i), err)
		}
	}
	return func() {
		for _, i := range nodes {
			s.await(i)
			s.disks[i].Power()
			s.release(i)
		}
	}
}

// tear cuts the power of nodes at one instant, when they have lately waited long for each
// sync, so that much is written and not synced: of that a random part is there afterwards.
func (s *site) tear(step Step, nodes []int) func() {
	var stop []func()
	if s.able(Slow) {
		for _, i := range nodes {
			if !s.ended(i) {
				stop = append(stop, s.excuse(i, "the disk hangs",
					lab.Inject(s.t, s.cluster.PID(i), "fsync,fdatasync", "delay_enter=300000")))
			}
		}
	}
	random := rand.New(rand.NewPCG(step.Luck, 0))
	return func() {
		for _, i := range nodes {
			s.hold(i)
			s.kill(i)
		}
		runAll(stop)
		for _, i := range nodes {
			s.await(i)
			if err := s.disks[i].Tear(random); err != nil {
				s.note("tear the disk of %s: %v", s.cluster.Name(i), err)
			}
		}
		for _, i := range nodes {
			s.disks[i].Power()
			s.release(i)
		}
	}
}

// cutPair cuts the power of the leader at an instant at which its last writes are hardly
// ever synced, and mostly that of the only follower that has them. The leader comes back
// first, beside nodes that have never heard of them: what was acknowledged must be on its
// own disk.
func (s *site) cutPair(step Step) func() {
	leader := step.Node
	var others []int
	for _, i := range s.members() {
		if i != leader {
			others = append(others, i)
		}
	}
	witness := others[step.Luck%uint64(len(others))]
	var unaware []int
	for _, i := range others {
		// As many know of a write as make a majority with the leader.
		if i != witness && len(unaware) < (len(others)+1)/2 {
			unaware = append(unaware, i)
			s.network.Hosts[i].Cut()
		}
	}
	stop := s.excuse(leader, "the disk hangs",
		lab.Inject(s.t, s.cluster.PID(leader), "fsync,fdatasync", "delay_enter=300000"))
	victims := []int{leader}
	if step.Luck/2%4 > 0 && !s.ended(witness) && s.nodes[witness].busy == 0 {
		victims = append(victims, witness)
	}
	return func() {
		for _, i := range victims {
			s.hold(i)
			s.kill(i)
		}
		for _, i := range victims {
			if err := s.disks[i].Cut(); err != nil {
				s.note("cut the power of %s: %v", s.cluster.Name(i), err)
			}
		}
		stop()
		for _, i := range unaware {
			s.network.Hosts[i].Mend()
		}
		for n, i := range victims {
			s.await(i)
			s.disks[i].Power()
			s.release(i)
			if n+1 < len(victims) { // time to agree without the other
				for end := time.Now().Add(pairApart); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
					s.tend()
				}
			}
		}
	}
}

// pairApart is how long the second of two nodes whose power was cut stays away.
const pairApart = 5 * time.Second
