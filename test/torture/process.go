package torture

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// stutter stops a node for nine tenths of the time.
func (s *site) stutter(step Step) func() {
	i := step.Node
	signal := func(what os.Signal) func() {
		return func() {
			if err := s.cluster.Signal(i, what); err != nil && !errors.Is(err, os.ErrProcessDone) {
				s.t.Error(err)
			}
		}
	}
	runs := turn(step.Luck, 5, 60)
	return alternate(signal(syscall.SIGSTOP), signal(syscall.SIGCONT), 9*runs, runs)
}

// starve leaves a node hardly a descriptor more than it has open. Where it then has to
// write a snapshot or begin a segment of its log and cannot, it ends, as at every failure to
// store something.
func (s *site) starve(step Step) func() {
	i := step.Node
	pid := s.cluster.PID(i)
	open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		s.note("no descriptors taken: %v", err)
		return nil
	}
	var before unix.Rlimit
	if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, nil, &before); err != nil {
		s.t.Fatal(err)
	}
	limit := unix.Rlimit{Cur: uint64(len(open)) + step.Luck%8, Max: before.Max}
	s.note("%s may have %d descriptors", s.cluster.Name(i), limit.Cur)
	if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, &limit, nil); err != nil {
		s.t.Fatal(err)
	}
	return s.excuse(i, "(write snapshot|log segment .*): open .*: too many open files", func() {
		if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, &before, nil); err != nil && !errors.Is(err, unix.ESRCH) {
			s.t.Fatal(err)
		}
	})
}
