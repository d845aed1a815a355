package node

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/aptlyd/aptlyd/cluster"
	"github.com/aptlyd/aptlyd/fsm"
)

// ErrInUse says that a node runs on a data folder.
var ErrInUse = cluster.ErrInUse

// Summary describes the content of a state.
type Summary = fsm.Summary

// CheckBackup verifies a whole backup, its checksum and every record, and describes it.
func CheckBackup(file string) (Summary, error) { return fsm.CheckBackup(file) }

// Restore makes dir the data folder of a node that is a new cluster with the state in a
// backup. dir must be empty or absent. On error nothing is left in dir.
func Restore(file, dir string) (f NewCluster, err error) {
	made := !exists(dir)
	if err := prepareDataDir(dir, slog.Default()); err != nil {
		return f, err
	}
	defer func() {
		if err != nil && made {
			err = errors.Join(err, os.Remove(filepath.Join(dir, lockFile)), os.Remove(dir))
		}
	}()
	source := ""
	if id, err := fsm.BackupID(file); err == nil { // a new run reports the error below
		source = "backup " + id
	}
	err = withFolder(dir, func(*cluster.Folder) error {
		if f, err = resumeNewCluster(dir, source); err != nil || f.Resumed {
			return err
		}
		names, err := listFolder(dir)
		if err != nil {
			return err
		}
		if len(names) > 0 {
			return &ConfigError{
				"data-dir",
				fmt.Sprintf("%s is not empty: it holds %s; a backup is restored to an empty folder", dir, names[0]),
			}
		}
		f, err = makeNewCluster(dir, source, func(state string, identity fsm.NewCluster) (Summary, error) {
			return fsm.RebaseBackup(file, state, identity)
		})
		return err
	})
	return f, err
}

// Inspect returns the owner of a data folder on which no node runs.
func Inspect(dir string) (o cluster.Owner, err error) {
	err = withFolder(dir, func(folder *cluster.Folder) error {
		o, err = folder.Owner()
		return err
	})
	return o, err
}

// recoverySource is the NewCluster source of Recover.
const recoverySource = "data folder"

// ResumeRecovery finishes a committed recovery or restore of a data folder that was
// interrupted. NewCluster.Resumed reports whether there was one.
func ResumeRecovery(dir string) (f NewCluster, err error) {
	err = withFolder(dir, func(*cluster.Folder) error {
		f, err = resumeNewCluster(dir, recoverySource)
		return err
	})
	return f, err
}

// Recover makes the node in dir the only member of a new cluster with everything in the
// folder: its state and, unless withoutLog, the later entries of its log. The old files
// stay in NewCluster.Replaced.
func Recover(dir string, withoutLog bool, log *slog.Logger) (f NewCluster, err error) {
	err = withFolder(dir, func(folder *cluster.Folder) error {
		if f, err = resumeNewCluster(dir, recoverySource); err != nil || f.Resumed {
			return err
		}
		if _, err := folder.Owner(); err != nil {
			return err
		}
		f, err = makeNewCluster(dir, recoverySource, func(state string, identity fsm.NewCluster) (Summary, error) {
			from := filepath.Join(dir, stateDir)
			if !withoutLog {
				// Replay on a copy: these entries may never have been committed, and this
				// run can still fail.
				replayed := filepath.Join(dir, stagingDir, "replayed")
				if err := replay(folder, from, replayed, log); err != nil {
					return Summary{}, err
				}
				from = replayed
			}
			summary, err := fsm.Rebase(from, state, identity)
			if err == nil && !withoutLog {
				err = os.RemoveAll(from)
			}
			return summary, err
		})
		return err
	})
	return f, err
}

// replay copies a state and applies the rest of the folder's log to the copy.
func replay(folder *cluster.Folder, from, to string, log *slog.Logger) error {
	if err := copyDir(from, to); err != nil {
		return fmt.Errorf("copy state: %w", err)
	}
	// A state that fails ends the goroutine that called it.
	result := make(chan error, 2)
	go func() {
		failure := errors.New("the log could not be replayed")
		defer func() { result <- failure }()
		failure = replayInto(folder, to, log, func(err error) {
			result <- err
			runtime.Goexit()
		})
	}()
	return <-result
}

func replayInto(folder *cluster.Folder, dir string, log *slog.Logger, fatal func(error)) error {
	state, err := fsm.Open(fsm.Config{Dir: dir, Logger: log, Fatal: fatal})
	if err != nil {
		return fmt.Errorf("open state: %w", err)
	}
	err = folder.Replay(state, log)
	if err == nil {
		err = state.Flush()
	}
	return errors.Join(err, state.Close())
}

// copyDir copies the files of a folder.
func copyDir(from, to string) error {
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(to, 0o700); err != nil {
		return err
	}
	for _, e := range entries {
		if err := copyFile(filepath.Join(from, e.Name()), filepath.Join(to, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

func copyFile(from, to string) error {
	source, err := os.Open(from)
	if err != nil {
		return err
	}
	defer source.Close()
	target, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(target, source)
	return errors.Join(err, target.Close())
}

// Rebuild empties a data folder, so that the next start is that of a new node that gets
// everything from the others. It returns the folder of the old files, or "" if there were
// none. It refuses a folder with no files of a node.
func Rebuild(dir string) (replaced string, err error) {
	err = withFolder(dir, func(*cluster.Folder) error {
		names, err := listFolder(dir)
		if err != nil {
			return err
		}
		if len(names) > 0 && !slices.ContainsFunc(names, isNodes) {
			return &ConfigError{
				"data-dir",
				fmt.Sprintf("%s is not a node's: it holds %s", dir, strings.Join(names[:min(len(names), 3)], ", ")),
			}
		}
		if err := removeStaging(dir); err != nil {
			return err
		}
		if replaced, err = unfinishedReplaced(dir); err != nil || len(names) == 0 {
			return err
		}
		if replaced == "" {
			replaced = filepath.Join(dir, replacedName(time.Now()))
		}
		return moveAside(dir, replaced)
	})
	return replaced, err
}

// isNodes reports whether a node makes a file or folder of that name in its data folder.
func isNodes(name string) bool {
	return slices.Contains([]string{cluster.IdentityFile, "raft", "snapshots", stateDir}, name)
}

// withFolder runs fn while no node can run on a data folder.
func withFolder(dir string, fn func(*cluster.Folder) error) (err error) {
	if info, err := os.Stat(dir); err != nil {
		return &ConfigError{"data-dir", err.Error()}
	} else if !info.IsDir() {
		return &ConfigError{"data-dir", dir + " is not a directory"}
	}
	folder, err := cluster.OpenFolder(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, folder.Close()) }()
	return fn(folder)
}
