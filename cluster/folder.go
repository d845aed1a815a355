package cluster

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"

	"github.com/google/uuid"
	"github.com/hashicorp/raft"
	"golang.org/x/sys/unix"

	"github.com/aptlyd/aptlyd/cluster/raftlog"
)

// Folder is the data folder of a node that does not run. No node can run on it
// until it is closed.
type Folder struct {
	dir  string
	lock *os.File
}

// IdentityFile is the file that makes a data folder a node's.
const IdentityFile = "node.json"

// ErrNoIdentity says that a data folder belongs to no node.
var ErrNoIdentity = errors.New("the folder holds no node")

// OpenFolder takes a data folder, which must exist. The error is ErrInUse where a
// node runs on it.
func OpenFolder(dir string) (*Folder, error) {
	lock, err := lockDir(dir)
	if err != nil {
		return nil, err
	}
	return &Folder{dir, lock}, nil
}

// Close gives the folder back.
func (f *Folder) Close() error { return f.lock.Close() }

// Owner names the node of a data folder.
type Owner struct {
	NodeID    string
	ClusterID string   // "" before it was in one
	Name      string   // as the node last knew it, else its id
	Members   []string // names of the members it last knew, itself included
}

// Owner reads the node of the folder. The error is ErrNoIdentity where there is none.
func (f *Folder) Owner() (Owner, error) {
	if _, err := os.Stat(filepath.Join(f.dir, IdentityFile)); errors.Is(err, fs.ErrNotExist) {
		return Owner{}, fmt.Errorf("%s: %w", f.dir, ErrNoIdentity)
	}
	id, err := openIdentity(f.dir)
	if err != nil {
		return Owner{}, err
	}
	who := id.read()
	o := Owner{NodeID: who.NodeID, ClusterID: who.ClusterID, Name: cmp.Or(who.Peers[who.NodeID].Name, who.NodeID)}
	for _, p := range who.Peers {
		o.Members = append(o.Members, p.Name)
	}
	slices.Sort(o.Members)
	return o, nil
}

// Replay brings a machine, opened on a copy of the folder's state, to the end of
// the folder's log. Entries that were not known to be committed are applied too:
// they may have been. The folder changes only as at a
// start.
func (f *Folder) Replay(machine Machine, logger *slog.Logger) (err error) {
	var fatal atomic.Pointer[error]
	cfg := Config{Logger: logger, Fatal: func(err error) { fatal.CompareAndSwap(nil, &err) }}.withDefaults()
	defer func() {
		if cause := fatal.Load(); cause != nil {
			err = *cause
		}
	}()
	configs := &configHistory{}
	snapshots, err := openSnapshotStore(filepath.Join(f.dir, "snapshots"), machine, configs, cfg.Fatal)
	if err != nil {
		return err
	}
	if record, ok := snapshots.newest(); ok && record.Received {
		return receiveAgain(snapshots, machine)
	}
	logs, err := raftlog.Open(cfg.logOptions(filepath.Join(f.dir, "raft"), false))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, logs.Close()) }()
	log := &untouchedLog{recoveryLog: logs}
	if err := recoverStart(log, snapshots, machine, true); err != nil {
		return err
	}
	_, last, err := bounds(log)
	if err != nil {
		return err
	}
	a := newApplier(logs, machine, snapshots, configs, cfg.Fatal)
	for index, _ := a.progress(); index < last && fatal.Load() == nil; {
		index++
		var entry raft.Log
		if err := logs.GetLog(index, &entry); err != nil {
			return fmt.Errorf("replay log entry %d: %w", index, err)
		}
		a.ApplyBatch([]*raft.Log{&entry})
	}
	return nil
}

// receiveAgain restores a received snapshot and leaves it where it is.
func receiveAgain(snapshots *snapshotStore, machine Machine) (err error) {
	meta, r, err := snapshots.Open("")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	if err := machine.Restore(r); err != nil {
		return fmt.Errorf("restore snapshot %s: %w", meta.ID, err)
	}
	return nil
}

// untouchedLog only seems to be emptied.
type untouchedLog struct {
	recoveryLog
	emptied bool
}

func (l *untouchedLog) FirstIndex() (uint64, error) {
	if l.emptied {
		return 0, nil
	}
	return l.recoveryLog.FirstIndex()
}

func (l *untouchedLog) LastIndex() (uint64, error) {
	if l.emptied {
		return 0, nil
	}
	return l.recoveryLog.LastIndex()
}

func (l *untouchedLog) DeleteRange(uint64, uint64) error {
	l.emptied = true
	return nil
}

// bootstrapIndex is the entry, of term bootstrapIndex too, with which a cluster
// begins: its first configuration.
const bootstrapIndex = 1

// BootstrapFolder makes in dir, which must hold no node, the only member of a new cluster.
// Its machine's state must be as of entry 1 of term 1: it stands in for the log up
// to there.
func BootstrapFolder(dir, clusterID string) error {
	if _, err := uuid.Parse(clusterID); err != nil {
		return fmt.Errorf("found cluster %q: %w", clusterID, err)
	}
	id, err := openIdentity(dir)
	if err != nil {
		return err
	}
	node := id.read().NodeID
	snapshots := &snapshotStore{dir: filepath.Join(dir, "snapshots"), fatal: func(error) {}}
	if err := os.MkdirAll(snapshots.dir, 0o700); err != nil {
		return fmt.Errorf("make snapshot folder: %w", err)
	}
	err = snapshots.put(snapshotRecord{
		Meta: raft.SnapshotMeta{
			Version:            raft.SnapshotVersionMax,
			ID:                 fmt.Sprintf("%d-%d", bootstrapIndex, bootstrapIndex),
			Index:              bootstrapIndex,
			Term:               bootstrapIndex,
			ConfigurationIndex: bootstrapIndex,
			Configuration: raft.Configuration{Servers: []raft.Server{{
				Suffrage: raft.Voter, ID: raft.ServerID(node), Address: raft.ServerAddress(node),
			}}},
		},
		State:     bootstrapIndex,
		Installed: true,
	})
	if err != nil {
		return err
	}
	return id.update(func(f *identityFile) { f.ClusterID, f.Member = clusterID, true })
}

// ErrInUse says that a node runs on a data folder.
var ErrInUse = errors.New("another process uses this data folder")

// lockDir takes the data folder for this process. It comes before anything in
// the folder is opened: two writers would hang or destroy the log.
func lockDir(dir string) (*os.File, error) {
	path := filepath.Join(dir, "lock")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = ErrInUse
		}
		return nil, fmt.Errorf("lock %s: %w", dir, errors.Join(err, f.Close()))
	}
	return f, nil
}
