package test

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/aptlyd/aptlyd/test/lab"
)

// diskCalls are the system calls by which a process changes a disk.
var diskCalls = []string{
	"openat", "mkdirat", "renameat", "unlinkat", "write", "pwrite64",
	"fsync", "fdatasync", "ftruncate", "fallocate", "flock",
}

// TestInterruptedOfflineCommands kills restore, recover and rebuild at their system
// calls, each in turn. Run again, each must succeed with the result of a run that
// nobody interrupted.
func TestInterruptedOfflineCommands(t *testing.T) {
	t.Parallel()
	lab.NeedTool(t, "strace")
	c := startCluster(t, 1)
	mustPublish(t, c, 0, "c", 1)
	backup := filepath.Join(t.TempDir(), "backup")
	if out, code := aptlyd(t, c, 0, "backup", backup); code != 0 {
		t.Fatal(out)
	}
	mustPublish(t, c, 0, "c", 2) // of which only the log knows
	if err := c.Kill(0); err != nil {
		t.Fatal(err)
	}
	before := c.Dir(0)
	owner := c.Name(0)
	for _, command := range []struct {
		name   string
		folder string // content of the data folder before, "" for none
		args   []string
		holds  int // messages in the new cluster; -1: the folder is empty
	}{
		{"restore", "", []string{"restore", backup}, 1},
		{"recover", before, []string{"recover", "--quorum-is-lost", "--confirm", owner}, 2},
		// The only node of a cluster is not rebuilt, so its folder is a damaged one's.
		{"rebuild", damagedCopy(t, before), []string{"rebuild", "--yes"}, -1},
	} {
		t.Run(command.name, func(t *testing.T) {
			for _, call := range diskCalls {
				for n := 1; ; {
					dir := filepath.Join(t.TempDir(), "data")
					if command.folder != "" {
						copyFolder(t, command.folder, dir)
					}
					args := append(command.args, "--data-dir", dir, "--json")
					killed := killAt(t, call, n, args...)
					name := fmt.Sprintf("%s killed at %s %d", command.name, call, n)
					first := offlineJSON(t, args...)
					again := offlineJSON(t, args...)
					delete(first, "resumed")
					delete(again, "resumed")
					if !reflect.DeepEqual(first, again) {
						t.Fatalf("%s: run again it reports %v, and then %v", name, first, again)
					}
					if _, err := os.Stat(filepath.Join(dir, "founding")); !os.IsNotExist(err) {
						t.Fatalf("%s: forming a cluster is not over (%v)", name, err)
					}
					replaced := "" // what the folder held is in one place
					if command.folder != "" {
						replaced = filepath.Join(dir, filepath.Base(fmt.Sprint(first["replaced"])))
					}
					checkReplaced(t, name, command.folder, replaced)
					if command.holds >= 0 && fmt.Sprint(first["messages"]) != fmt.Sprint(command.holds) {
						t.Fatalf("%s: it reports %v", name, first)
					}
					if !killed {
						checkStarts(t, c, dir, command.holds)
						break
					}
					if long() {
						n++
					} else {
						n *= 3
					}
				}
			}
		})
	}
}

// killAt runs aptlyd and kills it at the nth of its calls of a kind. It reports
// whether there were as many.
func killAt(t *testing.T, call string, n int, args ...string) bool {
	t.Helper()
	cmd := exec.CommandContext(within(t, deadline), "strace", append([]string{
		"-f", "-q", "-o", filepath.Join(t.TempDir(), "strace"), "-e", "trace=" + call,
		"-e", fmt.Sprintf("inject=%s:signal=KILL:when=%d", call, n), binary,
	}, args...)...)
	out, err := cmd.CombinedOutput()
	if err != nil && !strings.Contains(err.Error(), "killed") {
		t.Fatalf("%s, killed at %s %d: %v: %s", args[0], call, n, err, out)
	}
	return err != nil
}

// offlineJSON runs a command that must succeed and returns what it prints as JSON.
func offlineJSON(t *testing.T, args ...string) map[string]any {
	t.Helper()
	cmd := exec.CommandContext(within(t, deadline), binary, args...)
	var failure strings.Builder
	cmd.Stderr = &failure
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("aptlyd %s: %v: %s", strings.Join(args, " "), err, failure.String())
	}
	var printed map[string]any
	if err := json.Unmarshal(out, &printed); err != nil {
		t.Fatalf("aptlyd %s printed %s: %v", strings.Join(args, " "), out, err)
	}
	return printed
}

func copyFolder(t *testing.T, from, to string) {
	t.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(to, 0o700); err != nil {
		t.Fatal(err)
	}
}

func damagedCopy(t *testing.T, dir string) string {
	t.Helper()
	damaged := filepath.Join(t.TempDir(), "damaged")
	copyFolder(t, dir, damaged)
	if err := os.Truncate(filepath.Join(damaged, "node.json"), 10); err != nil {
		t.Fatal(err)
	}
	return damaged
}

// checkReplaced holds what a folder had before against what was kept of it.
func checkReplaced(t *testing.T, name, before, replaced string) {
	t.Helper()
	if before == "" {
		return
	}
	err := filepath.WalkDir(before, func(path string, d fs.DirEntry, err error) error {
		relative, err2 := filepath.Rel(before, path)
		if err != nil || err2 != nil || d.IsDir() || relative == "lock" {
			return err
		}
		_, err = os.Stat(filepath.Join(replaced, relative))
		return err
	})
	if err != nil {
		t.Fatalf("%s: what was there is not kept: %v", name, err)
	}
}

// checkStarts starts a node on a folder, which must serve what it holds.
func checkStarts(t *testing.T, of spawned, dir string, holds int) {
	t.Helper()
	if holds < 0 {
		return
	}
	root := t.TempDir()
	if err := os.Rename(dir, filepath.Join(root, of.Name(0))); err != nil {
		t.Fatal(err)
	}
	c := successor(t, of, root, 1)
	if page, err := history(within(t, deadline), c, 0, "c"); err != nil || len(page) != holds {
		t.Fatalf("it serves %d messages (%v), want %d", len(page), err, holds)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
}
