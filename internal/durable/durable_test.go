package durable_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/aptlyd/aptlyd/internal/durable"
)

func TestWriteReplacesAllOrNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	for _, content := range []string{"the first and longer", "the second"} {
		if err := durable.Write(path, []byte(content)); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != content {
			t.Fatalf("read %q, %v; want %q", got, err, content)
		}
	}
	// A folder is in the way of the temporary file.
	if err := os.Mkdir(path+".tmp", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := durable.Write(path, []byte("the third")); err == nil {
		t.Fatal("a write that could not be made is not reported")
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != "the second" {
		t.Fatalf("after a failed write: %q, %v", got, err)
	}
}

func TestInstallMovesBetweenFolders(t *testing.T) {
	from, to := filepath.Join(t.TempDir(), "new"), filepath.Join(t.TempDir(), "final")
	if err := os.WriteFile(from, []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := durable.Install(from, to); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(to); err != nil || string(got) != "content" {
		t.Fatalf("read %q, %v", got, err)
	}
	if err := durable.Install(from, to); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("installing a file that is gone: %v", err)
	}
}
