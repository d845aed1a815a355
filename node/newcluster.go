package node

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/aptlyd/aptlyd/cluster"
	"github.com/aptlyd/aptlyd/fsm"
	"github.com/aptlyd/aptlyd/internal/durable"
)

// A restore or a recovery replaces the content of a data folder, offline, in four steps:
//
//	build   the new files are made in DIR/founding; on failure that folder is removed
//	commit  DIR/founding/decided is written
//	clear   the old files move to DIR/replaced-TIME; decided becomes cleared
//	finish  the new files move to DIR, the node's identity last; DIR/founding is removed
//
// A node refuses to start in between. After a crash the next call finishes a committed
// run and removes an uncommitted one, before it judges the folder. DIR/founded.json
// describes the result until the node starts, so that a repeated call reports the same.
const (
	stagingDir     = "founding"
	committedFile  = "decided" // holds the name of the folder for the old files
	clearedFile    = "cleared"
	newClusterFile = "founded.json"
	replacedPrefix = "replaced-"
	lockFile       = "lock"
	stateDir       = "state"
)

// errUnfinished keeps a node from starting on half of its files.
var errUnfinished = errors.New("a restore or recovery of this data folder was not finished; run it again")

// NewCluster describes the result of a restore or a recovery.
type NewCluster struct {
	Summary         // of the new cluster
	Replaced string `json:"replaced,omitempty"` // folder of the old files
	Resumed  bool   `json:"resumed,omitempty"`  // an interrupted run was finished; nothing else was done
}

// listFolder returns the names in a data folder that belong to its node, the identity
// first.
func listFolder(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("read data folder: %w", err)
	}
	var names []string
	for _, e := range entries {
		switch name := e.Name(); {
		case name == stagingDir, name == lockFile, name == secretFile, name == "lost+found", strings.HasPrefix(name,
			replacedPrefix):
		case name == cluster.IdentityFile:
			names = append([]string{name}, names...)
		default:
			names = append(names, name)
		}
	}
	return names, nil
}

func exists(path ...string) bool {
	_, err := os.Lstat(filepath.Join(path...))
	return err == nil
}

// newClusterNote is the content of founded.json.
type newClusterNote struct {
	Source string     `json:"source"`
	Made   NewCluster `json:"made"`
}

// resumeNewCluster finishes a committed run, whatever its source. It also recognises a
// complete run from source after which no node has started.
func resumeNewCluster(dir, source string) (f NewCluster, err error) {
	staging := filepath.Join(dir, stagingDir)
	if exists(staging, committedFile) || exists(staging, clearedFile) {
		replaced, err := finish(dir)
		if err != nil {
			return f, err
		}
		note, err := readNewCluster(dir)
		if err != nil {
			return f, err
		}
		f = note.Made
		if f.Replaced == "" {
			f.Replaced = replaced
		}
		f.Resumed = true
		return f, nil
	}
	note, err := readNewCluster(dir)
	if err != nil || note.Source == "" || note.Source != source || !exists(dir, cluster.IdentityFile) {
		return f, err
	}
	if err := removeStaging(dir); err != nil {
		return f, err
	}
	f = note.Made
	f.Resumed = true
	return f, nil
}

// readNewCluster reads founded.json. It returns the zero note if there is none.
func readNewCluster(dir string) (note newClusterNote, err error) {
	text, err := os.ReadFile(filepath.Join(dir, newClusterFile))
	if errors.Is(err, fs.ErrNotExist) {
		return note, nil
	}
	if err != nil {
		return note, fmt.Errorf("read what was founded: %w", err)
	}
	if err := json.Unmarshal(text, &note); err != nil {
		return note, fmt.Errorf("parse %s: it is damaged: %w", filepath.Join(dir, newClusterFile), err)
	}
	return note, nil
}

// forgetNewCluster removes founded.json. From then on a call is not a repetition.
func forgetNewCluster(dir string) error {
	if err := os.Remove(filepath.Join(dir, newClusterFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forget what was founded: %w", err)
	}
	return nil
}

// removeStaging removes the rest of an interrupted run.
func removeStaging(dir string) error {
	if err := os.RemoveAll(filepath.Join(dir, stagingDir)); err != nil {
		return fmt.Errorf("remove what an interrupted run left: %w", err)
	}
	return durable.Sync(dir)
}

// makeNewCluster replaces the content of a locked data folder. makeState makes the new
// state out of source, in the folder it is given.
func makeNewCluster(dir, source string,
	makeState func(dir string, f fsm.NewCluster) (Summary, error),
) (f NewCluster, err error) {
	staging := filepath.Join(dir, stagingDir)
	if err := removeStaging(dir); err != nil {
		return f, err
	}
	if err := os.Mkdir(staging, 0o700); err != nil {
		return f, fmt.Errorf("make folder: %w", err)
	}
	identity := fsm.NewCluster{ClusterID: uuid.NewString(), Epoch: uuid.NewString()}
	if f.Summary, err = makeState(filepath.Join(staging, stateDir), identity); err == nil {
		err = cluster.BootstrapFolder(staging, identity.ClusterID)
	}
	if err == nil {
		f.Replaced, err = commit(dir, newClusterNote{source, f})
	}
	if err != nil {
		return NewCluster{}, errors.Join(err, os.RemoveAll(staging))
	}
	_, err = finish(dir)
	return f, err
}

// commit is the point of no return. It returns the folder to which the old files will move.
func commit(dir string, note newClusterNote) (replaced string, err error) {
	staging := filepath.Join(dir, stagingDir)
	names, err := listFolder(dir)
	if err != nil {
		return "", err
	}
	name := ""
	if len(names) > 0 {
		name = replacedName(time.Now())
		replaced = filepath.Join(dir, name)
	}
	note.Made.Replaced = replaced
	text, err := json.Marshal(note)
	if err != nil {
		return "", fmt.Errorf("encode what was founded: %w", err)
	}
	if err := durable.Write(filepath.Join(staging, newClusterFile), text); err != nil {
		return "", fmt.Errorf("decide: %w", err)
	}
	return replaced, durable.Write(filepath.Join(staging, committedFile), []byte(name))
}

const replacedTime = "20060102T150405.000Z"

func replacedName(now time.Time) string {
	return replacedPrefix + now.UTC().Format(replacedTime)
}

// isReplaced reports whether name is one that replacedName makes.
func isReplaced(name string) bool {
	text, ok := strings.CutPrefix(name, replacedPrefix)
	_, err := time.Parse(replacedTime, text)
	return ok && err == nil
}

// unfinishedReplaced returns the folder to which an interrupted moveAside has moved the
// identity of a node whose other files are still in dir, or "".
func unfinishedReplaced(dir string) (string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", fmt.Errorf("read data folder: %w", err)
	}
	newest := ""
	for _, e := range entries {
		if isReplaced(e.Name()) {
			newest = e.Name() // they sort by time
		}
	}
	if newest == "" || exists(dir, cluster.IdentityFile) || !exists(dir, newest, cluster.IdentityFile) {
		return "", nil
	}
	names, err := listFolder(dir)
	for _, name := range names {
		if exists(dir, newest, name) {
			return "", nil
		}
	}
	return filepath.Join(dir, newest), err
}

// finish does the steps after the commit.
func finish(dir string) (replaced string, err error) {
	staging := filepath.Join(dir, stagingDir)
	if name, err := os.ReadFile(filepath.Join(staging, committedFile)); err == nil {
		if len(name) > 0 {
			if !isReplaced(string(name)) {
				return "", fmt.Errorf("parse %s: it is damaged", filepath.Join(staging, committedFile))
			}
			replaced = filepath.Join(dir, string(name))
			if err := moveAside(dir, replaced); err != nil {
				return "", err
			}
		}
		if err := durable.Rename(filepath.Join(staging, committedFile), filepath.Join(staging, clearedFile)); err != nil {
			return "", err
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("read decision: %w", err)
	}
	names, err := listFolder(staging)
	if err != nil {
		return "", err
	}
	for _, name := range slices.Backward(names) { // the identity last
		if name == clearedFile {
			continue
		}
		if err := durable.Rename(filepath.Join(staging, name), filepath.Join(dir, name)); err != nil {
			return "", err
		}
	}
	return replaced, removeStaging(dir)
}

// moveAside moves the files of a data folder to another folder, the identity first. Without
// it no node starts on the rest.
func moveAside(dir, to string) error {
	names, err := listFolder(dir)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(to, 0o700); err != nil {
		return fmt.Errorf("make folder for what was there: %w", err)
	}
	for _, name := range names {
		if err := durable.Rename(filepath.Join(dir, name), filepath.Join(to, name)); err != nil {
			return err
		}
	}
	return nil
}
