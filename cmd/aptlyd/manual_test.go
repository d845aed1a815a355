package main

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
	"github.com/spf13/pflag"

	"github.com/aptlyd/aptlyd/node"
)

// manualDir is where a release has the man pages and completions written. They are written by
// a test, so that the program does not carry the writer.
var manualDir = flag.String("manual", "", "write man pages and completions into this folder")

// TestManual writes what packages install beside the program, and checks that it has every
// command and flag.
func TestManual(t *testing.T) {
	dir := *manualDir
	if dir == "" {
		dir = t.TempDir()
	}
	if err := writeManual(newRoot(), dir); err != nil {
		t.Fatal(err)
	}
	forEachCommand(newRoot(), func(cmd *cobra.Command) {
		name := strings.ReplaceAll(cmd.CommandPath(), " ", "-")
		page, err := os.ReadFile(filepath.Join(dir, "man", "man1", name+".1"))
		if err != nil {
			t.Error(err)
			return
		}
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			if !f.Hidden && !strings.Contains(string(page), `--`+f.Name) {
				t.Errorf("%s.1 does not have --%s", name, f.Name)
			}
		})
	})
	for _, name := range []string{"bash/aptlyd", "zsh/_aptlyd", "fish/aptlyd.fish"} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || !strings.Contains(string(text), "__complete") {
			t.Errorf("%s (%v) does not ask aptlyd: %.60s", name, err, text)
		}
	}
}

func writeManual(root *cobra.Command, dir string) error {
	man := filepath.Join(dir, "man", "man1")
	completions := map[string]func(string) error{
		"bash/aptlyd":      func(path string) error { return root.GenBashCompletionFileV2(path, true) },
		"zsh/_aptlyd":      root.GenZshCompletionFile,
		"fish/aptlyd.fish": func(path string) error { return root.GenFishCompletionFile(path, true) },
	}
	for _, folder := range []string{
		man, filepath.Join(dir, "bash"), filepath.Join(dir, "zsh"),
		filepath.Join(dir, "fish"),
	} {
		if err := os.MkdirAll(folder, 0o755); err != nil {
			return err
		}
	}
	for name, write := range completions {
		if err := write(filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	forEachCommand(root, func(cmd *cobra.Command) {
		cmd.DisableAutoGenTag = true
		cmd.Flags().VisitAll(func(f *pflag.Flag) { // what is of this machine is not of the page
			switch f.Name {
			case "node-name":
				f.DefValue = "the host name"
			}
		})
	})
	header := &doc.GenManHeader{
		Title: "APTLYD", Section: "1", Source: "aptlyd " + node.Version, Manual: "aptlyd",
	}
	return doc.GenManTree(root, header, man)
}

// forEachCommand calls visit with every command that a user sees.
func forEachCommand(cmd *cobra.Command, visit func(*cobra.Command)) {
	if !cmd.IsAvailableCommand() && cmd.HasParent() {
		return
	}
	visit(cmd)
	for _, sub := range cmd.Commands() {
		forEachCommand(sub, visit)
	}
}
