package test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The kubelet opens a volume to the pod's fsGroup at every mount: the node closes what
// is its own again, and goes on.
func TestNodeClosesItsOwnDataFolder(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 1)
	mustPublish(t, c, 0, "c", 1)
	if err := c.Stop(within(t, deadline), 0); err != nil {
		t.Fatal(err)
	}
	err := filepath.WalkDir(c.Dir(0), func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		mode := fs.FileMode(0o660)
		if d.IsDir() {
			mode = 0o770 | fs.ModeSetgid
		}
		return os.Chmod(path, mode)
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Restart(within(t, deadline), 0); err != nil {
		t.Fatal(err)
	}
	mustPublish(t, c, 0, "c", 2)
	if info, err := os.Stat(c.Dir(0)); err != nil || info.Mode() != fs.ModeDir|0o700 {
		t.Errorf("the folder is %v, %v", info.Mode(), err)
	}
	if log := c.readLog(t, 0); !strings.Contains(log, "is closed again") {
		t.Error("nobody was warned")
	}
	if os.Geteuid() != 0 {
		t.Log("NOT TESTED: a folder of somebody else; that takes root")
		return
	}
	if err := c.Stop(within(t, deadline), 0); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Chown(c.Dir(0), 12345, -1), os.Chmod(c.Dir(0), 0o770)); err != nil {
		t.Fatal(err)
	}
	if err := c.Restart(within(t, deadline), 0); exitCode(err) != 2 {
		t.Errorf("with somebody else's folder: %v", err)
	}
}
