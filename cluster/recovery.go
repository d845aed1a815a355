package cluster

import (
	"errors"
	"fmt"

	"github.com/hashicorp/raft"

	"github.com/aptlyd/aptlyd/cluster/raftlog"
)

// A node that was killed at the wrong moment, or whose disk lost something, can
// come up with a log, a snapshot and a state that do not fit. Raft checks none
// of it, so this is settled before Raft starts. The rules:
//
//	received snapshot, not restored    restore it now, empty the log
//	log ends before an installed       empty the log (Raft was about to)
//	  snapshot, or disagrees with it
//	log ends before a snapshot taken   refuse: the log lost its end
//	  by this node
//	state older than the snapshot      refuse: the state lost its end
//	state newer than log and snapshot  refuse: the log lost its end
//	log begins behind snapshot + 1     refuse: there is a hole
//	nothing at all, but a member once  refuse: votes may be forgotten
//
// A node that is refused comes back by emptying its data folder, as a new one.

// recoveryLog is the part of the log that the rules use.
type recoveryLog interface {
	FirstIndex() (uint64, error)
	LastIndex() (uint64, error)
	GetLog(index uint64, log *raft.Log) error
	DeleteRange(first, last uint64) error
}

// recoverStart applies the rules.
func recoverStart(log recoveryLog, snapshots *snapshotStore, machine Machine, member bool) error {
	first, last, err := bounds(log)
	if err != nil {
		return err
	}
	snapshot, taken := snapshots.newest()
	if taken && snapshot.Received {
		if err := finishInstall(snapshots, machine); err != nil {
			return err
		}
		snapshot, _ = snapshots.newest()
		if first, last, err = empty(log, first, last); err != nil {
			return err
		}
	}
	applied, _ := machine.Applied()
	if taken && snapshot.Installed && last > 0 {
		agrees, err := contains(log, first, last, snapshot.Meta.Index, snapshot.Meta.Term)
		if err != nil {
			return err
		}
		if !agrees {
			if first, last, err = empty(log, first, last); err != nil {
				return err
			}
		}
	}
	switch covered := snapshot.Meta.Index; {
	case member && !taken && last == 0:
		return fmt.Errorf("start: this node was a member but its log is gone: %w", raftlog.ErrReseed)
	case taken && !snapshot.Installed && last < covered:
		return fmt.Errorf("start: the log ends at entry %d but a snapshot was taken at %d: %w", last, covered,
			raftlog.ErrReseed)
	case taken && applied < snapshot.State:
		return fmt.Errorf("start: the state ends at entry %d but it was durable up to %d: %w", applied, snapshot.State,
			raftlog.ErrReseed)
	case applied > max(last, covered):
		return fmt.Errorf("start: the state has applied entry %d but the log ends at %d: %w", applied, max(last, covered),
			raftlog.ErrReseed)
	case last > 0 && first > covered+1:
		return fmt.Errorf("start: the log begins at entry %d but the snapshot ends at %d: %w", first, covered,
			raftlog.ErrReseed)
	}
	return nil
}

func bounds(log recoveryLog) (first, last uint64, err error) {
	if first, err = log.FirstIndex(); err != nil {
		return 0, 0, fmt.Errorf("start: read first entry of log: %w", err)
	}
	if last, err = log.LastIndex(); err != nil {
		return 0, 0, fmt.Errorf("start: read last entry of log: %w", err)
	}
	return first, last, nil
}

func empty(log recoveryLog, first, last uint64) (uint64, uint64, error) {
	if last == 0 {
		return 0, 0, nil
	}
	if err := log.DeleteRange(first, last); err != nil {
		return 0, 0, fmt.Errorf("start: empty the log behind an installed snapshot: %w", err)
	}
	return bounds(log)
}

// contains reports whether the log continues a snapshot at index and term.
func contains(log recoveryLog, first, last, index, term uint64) (bool, error) {
	switch {
	case last < index:
		return false, nil
	case first == index+1:
		return true, nil
	case first > index:
		return false, nil
	}
	var entry raft.Log
	if err := log.GetLog(index, &entry); err != nil {
		return false, fmt.Errorf("start: read log entry %d: %w", index, err)
	}
	return entry.Term == term, nil
}

// finishInstall restores a snapshot that was received before a crash.
func finishInstall(snapshots *snapshotStore, machine Machine) (err error) {
	meta, r, err := snapshots.Open("")
	if err != nil {
		return fmt.Errorf("start: %w", err)
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	if err := machine.Restore(r); err != nil {
		return fmt.Errorf("start: restore snapshot %s: %w", meta.ID, err)
	}
	return snapshots.settle()
}
