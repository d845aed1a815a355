package node

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/aptlyd/aptlyd/cluster"
	"github.com/aptlyd/aptlyd/fsm"
)

// A data folder gets another content, offline, in four steps:
//
//	build   everything new in DIR/founding; whatever fails, that folder goes
//	decide  DIR/founding/decided is written
//	clear   what was there moves to DIR/replaced-TIME; decided becomes cleared
//	settle  what is new moves to its place, the node's identity last
//
// A node refuses to start before all are done. Whoever is called next after a crash
// removes what was not decided, and finishes what was.
const (
	foundingDir    = "founding"
	decidedFile    = "decided" // holds the name of the folder of what was there
	clearedFile    = "cleared"
	replacedPrefix = "replaced-"
	lockFile       = "lock"
	stateDir       = "state"
)

// errUnfinished keeps a node from starting on half a content.
var errUnfinished = errors.New("a restore or recovery of this data folder was not finished; run it again")

// Founded says what a restore or a recovery made.
type Founded struct {
	Summary         // of the new cluster; empty when Resumed
	Replaced string `json:"replaced,omitempty"` // folder of what was there before
	Resumed  bool   `json:"resumed,omitempty"`  // an interrupted run was finished and nothing else was done
}

// content lists what a data folder holds now, the node's identity first.
func content(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("read data folder: %w", err)
	}
	var names []string
	for _, e := range entries {
		switch name := e.Name(); {
		case name == foundingDir, name == lockFile, name == "lost+found", strings.HasPrefix(name, replacedPrefix):
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

// resume finishes a founding that was interrupted, if there is one.
func resume(dir string) (f Founded, err error) {
	staging := filepath.Join(dir, foundingDir)
	if !exists(staging, decidedFile) && !exists(staging, clearedFile) {
		return f, nil
	}
	f.Resumed = true
	f.Replaced, err = settle(dir)
	return f, err
}

// found gives a locked data folder a new content, with the state that makeState
// makes in the folder it is given.
func found(dir string, makeState func(dir string, f fsm.Founding) (Summary, error)) (f Founded, err error) {
	staging := filepath.Join(dir, foundingDir)
	if err := os.RemoveAll(staging); err != nil {
		return f, fmt.Errorf("remove what an interrupted run left: %w", err)
	}
	if err := os.Mkdir(staging, 0o700); err != nil {
		return f, fmt.Errorf("make folder: %w", err)
	}
	founding := fsm.Founding{ClusterID: uuid.NewString(), Epoch: uuid.NewString()}
	if f.Summary, err = makeState(filepath.Join(staging, stateDir), founding); err == nil {
		err = cluster.Found(staging, founding.ClusterID)
	}
	if err == nil {
		err = decide(dir)
	}
	if err != nil {
		return Founded{}, errors.Join(err, os.RemoveAll(staging))
	}
	f.Replaced, err = settle(dir)
	return f, err
}

// decide is the point of no return.
func decide(dir string) error {
	staging := filepath.Join(dir, foundingDir)
	replaced := ""
	if names, err := content(dir); err != nil {
		return err
	} else if len(names) > 0 {
		replaced = replacedName(time.Now())
	}
	pending := filepath.Join(staging, decidedFile+".tmp")
	f, err := os.OpenFile(pending, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("decide: %w", err)
	}
	_, err = f.WriteString(replaced)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("decide: %w", err)
	}
	return rename(pending, filepath.Join(staging, decidedFile))
}

func replacedName(now time.Time) string {
	return replacedPrefix + now.UTC().Format("20060102T150405.000Z")
}

// settle does what is left to do after the decision.
func settle(dir string) (replaced string, err error) {
	staging := filepath.Join(dir, foundingDir)
	if name, err := os.ReadFile(filepath.Join(staging, decidedFile)); err == nil {
		if len(name) > 0 {
			replaced = filepath.Join(dir, string(name))
			if err := moveAside(dir, replaced); err != nil {
				return "", err
			}
		}
		if err := rename(filepath.Join(staging, decidedFile), filepath.Join(staging, clearedFile)); err != nil {
			return "", err
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("read decision: %w", err)
	}
	names, err := content(staging)
	if err != nil {
		return "", err
	}
	for i := len(names) - 1; i >= 0; i-- { // the identity last
		if names[i] == clearedFile {
			continue
		}
		if err := rename(filepath.Join(staging, names[i]), filepath.Join(dir, names[i])); err != nil {
			return "", err
		}
	}
	if err := os.RemoveAll(staging); err != nil {
		return "", fmt.Errorf("remove founding folder: %w", err)
	}
	return replaced, syncDir(dir)
}

// moveAside moves what a data folder holds into another folder, the identity
// first: without it no node starts on the rest.
func moveAside(dir, to string) error {
	names, err := content(dir)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(to, 0o700); err != nil {
		return fmt.Errorf("make folder for what was there: %w", err)
	}
	for _, name := range names {
		if err := rename(filepath.Join(dir, name), filepath.Join(to, name)); err != nil {
			return err
		}
	}
	return nil
}

// rename moves a file or folder, durably.
func rename(from, to string) error {
	if err := os.Rename(from, to); err != nil {
		return fmt.Errorf("move: %w", err)
	}
	if err := syncDir(filepath.Dir(to)); err != nil {
		return err
	}
	return syncDir(filepath.Dir(from))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	return nil
}
