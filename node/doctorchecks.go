package node

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/aptlyd/aptlyd/gateway/admin"
	"github.com/aptlyd/aptlyd/internal/durable"
)

// Limits of a healthy machine. A slower disk delays every publish, and at 2.5 s the node
// stops.
const (
	fsyncTries     = 20
	slowFsync      = 100 * time.Millisecond // median
	slowestFsync   = time.Second
	fewDescriptors = 4096
)

// doctor gathers findings about one node.
type doctor struct {
	node     string
	findings []admin.Finding
}

func (e *doctor) ok(check, format string, args ...any)  { e.add(check, true, format, args) }
func (e *doctor) bad(check, format string, args ...any) { e.add(check, false, format, args) }

func (e *doctor) add(check string, ok bool, format string, args []any) {
	e.findings = append(e.findings,
		admin.Finding{Node: e.node, Check: check, OK: ok, Text: fmt.Sprintf(format, args...)})
}

// CheckFolder checks a data folder and the limits of this process, for a node that does not
// run.
func CheckFolder(name, dir string, reserve uint64) []admin.Finding {
	e := &doctor{node: name}
	info, err := os.Stat(dir)
	if err != nil {
		e.bad("data folder", "%s cannot be looked at: %v.", dir, err)
		return e.findings
	}
	if !info.IsDir() {
		e.bad("data folder", "%s is not a folder.", dir)
		return e.findings
	}
	switch owner, err := Inspect(dir); {
	case errors.Is(err, ErrInUse):
		e.ok("identity", "A node runs on %s.", dir)
	case exists(dir, stagingDir):
		e.bad("identity", "A restore or recovery of %s was not finished: run it again.", dir)
	case err != nil:
		e.bad("identity", "%s holds no node that could start: %v.", dir, err)
	default:
		e.ok("identity", "%s holds the node %s (%s) of cluster %s.", dir, owner.Name, owner.NodeID, owner.ClusterID)
	}
	e.folder(dir)
	e.space(dir, reserve)
	e.fsync(dir)
	e.descriptors()
	return e.findings
}

// folder checks that no other user can read the data.
func (e *doctor) folder(dir string) {
	var open []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // a running node has removed it
		}
		if err != nil {
			return err
		}
		if info, err := d.Info(); err == nil && info.Mode().Perm()&0o077 != 0 {
			open = append(open, path)
		}
		return nil
	})
	switch {
	case err != nil:
		e.bad("data folder", "%s cannot be read: %v.", dir, err)
	case len(open) > 0:
		e.bad("data folder", "Other users can read %s (%d in all): run chmod -R go= %s.", open[0], len(open), dir)
	default:
		e.ok("data folder", "%s is readable by its owner only.", dir)
	}
}

func (e *doctor) space(dir string, reserve uint64) {
	const mib = 1 << 20
	switch free, err := durable.FreeBytes(dir); {
	case err != nil:
		e.bad("disk space", "The space of %s cannot be told: %v.", dir, err)
	case free < reserve:
		e.bad("disk space", "%d MiB are free, less than the reserve of %d MiB: publishes are refused.", free/mib, reserve/mib)
	default:
		e.ok("disk space", "%d MiB are free, the reserve is %d MiB.", free/mib, reserve/mib)
	}
}

// fsync measures how long a write takes to be durable. Every publish waits for at least
// one.
func (e *doctor) fsync(dir string) {
	median, worst, err := measureFsync(dir)
	switch {
	case err != nil:
		e.bad("fsync", "The disk cannot be written: %v.", err)
	case median > slowFsync || worst > slowestFsync:
		e.bad("fsync", "A write takes %v to be durable (median of %d, at worst %v): every publish waits for it.", median,
			fsyncTries, worst)
	default:
		e.ok("fsync", "A write is durable after %v (median of %d, at worst %v).", median, fsyncTries, worst)
	}
}

func measureFsync(dir string) (median, worst time.Duration, err error) {
	f, err := os.CreateTemp(dir, "fsync-*.tmp")
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(f.Name())) }()
	page := make([]byte, 4096)
	took := make([]time.Duration, fsyncTries)
	for i := range took {
		began := time.Now()
		if _, err := f.Write(page); err != nil {
			return 0, 0, err
		}
		if err := f.Sync(); err != nil {
			return 0, 0, err
		}
		took[i] = time.Since(began).Round(10 * time.Microsecond)
	}
	slices.Sort(took)
	return took[len(took)/2], took[len(took)-1], nil
}

func (e *doctor) descriptors() {
	var limit unix.Rlimit
	switch err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); {
	case err != nil:
		e.bad("descriptors", "The limit of open files cannot be told: %v.", err)
	case limit.Cur < fewDescriptors:
		e.bad("descriptors", "The process may open %d files, one for each client: raise the limit (ulimit -n, LimitNOFILE=).",
			limit.Cur)
	default:
		e.ok("descriptors", "The process may open %d files.", limit.Cur)
	}
}
