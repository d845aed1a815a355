package test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"
)

const (
	maxFileLines = 500 // of a file that is no test; beyond it a second noun hides
	maxColumns   = 120
)

// maxFlatFiles bounds how many files that are no tests lie in one folder.
var maxFlatFiles = map[string]int{"gateway": 50, "cluster": 42}

// TestFilesAndLinesAreShort holds the size of files and folders, and the width of lines.
func TestFilesAndLinesAreShort(t *testing.T) {
	const root = ".."
	flat := map[string]int{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "node_modules") {
				return filepath.SkipDir
			}
			return nil
		}
		if filepath.Ext(name) != ".go" {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		lines := strings.Split(string(text), "\n")
		if !strings.HasSuffix(name, "_test.go") {
			flat[filepath.Dir(name)]++
			if n := len(lines) - 1; n > maxFileLines {
				t.Errorf("%s has %d lines; more than %d probably hide a second noun", name, n, maxFileLines)
			}
		}
		for i, line := range lines {
			if utf8.RuneCountInString(line) > maxColumns {
				t.Errorf("%s:%d is longer than %d columns", name, i+1, maxColumns)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for folder, most := range maxFlatFiles {
		if flat[folder] > most {
			t.Errorf("%s has %d files, more than %d: which of them are a package of their own?", folder, flat[folder], most)
		}
	}
}
