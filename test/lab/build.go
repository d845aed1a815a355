package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// Build builds aptlyd as path, of this tree with patches applied. The tree itself stays as
// it is.
func Build(path string, patches []string, flags ...string) error {
	args := append([]string{"build", "-o", path}, flags...)
	if len(patches) > 0 {
		dir, err := os.MkdirTemp("", "aptlyd-patched-")
		if err != nil {
			return fmt.Errorf("build aptlyd: %w", err)
		}
		defer os.RemoveAll(dir)
		overlay, _, err := Overlay(dir, patches...)
		if err != nil {
			return err
		}
		args = append(args, "-overlay", overlay)
	}
	if out, err := exec.Command("go",
		append(args, "github.com/aptlyd/aptlyd/cmd/aptlyd")...).CombinedOutput(); err != nil {
		return fmt.Errorf("build aptlyd: %w\n%s", err, out)
	}
	return nil
}

// Overlay applies patches, one after the other, to copies in dir of what they change. It
// returns a file for go build -overlay, and which folders of the tree they are about.
func Overlay(dir string, patches ...string) (overlay string, folders []string, err error) {
	root, err := moduleRoot()
	if err != nil {
		return "", nil, err
	}
	replace := make(map[string]string) // what is in the tree by what it is replaced with
	for _, patch := range patches {
		text, err := os.ReadFile(patch)
		if err != nil {
			return "", nil, fmt.Errorf("read patch: %w", err)
		}
		for line := range strings.Lines(string(text)) {
			name, changed := strings.CutPrefix(line, "+++ b/")
			if !changed {
				continue
			}
			name = strings.TrimSpace(name)
			if replace[filepath.Join(root, name)] == "" {
				if err := copyFile(filepath.Join(root, name), filepath.Join(dir, name)); err != nil {
					return "", nil, fmt.Errorf("copy what %s changes: %w", patch, err)
				}
			}
			replace[filepath.Join(root, name)] = filepath.Join(dir, name)
			if folder := filepath.Join(root, filepath.Dir(name)); !slices.Contains(folders, folder) {
				folders = append(folders, folder)
			}
		}
		apply := exec.Command("git", "apply", "--whitespace=nowarn", "-")
		apply.Stdin = strings.NewReader(string(text))
		// Inside a repository git would look for the files there.
		apply.Dir, apply.Env = dir, append(os.Environ(), "GIT_CEILING_DIRECTORIES="+filepath.Dir(dir))
		if out, err := apply.CombinedOutput(); err != nil {
			return "", nil, fmt.Errorf("%s does not apply any more: %w\n%s", patch, err, out)
		}
	}
	text, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", nil, err
	}
	overlay = filepath.Join(dir, "overlay.json")
	return overlay, folders, os.WriteFile(overlay, text, 0o600)
}

// moduleRoot returns the folder of this module.
func moduleRoot() (string, error) {
	out, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("go env GOMOD: %w", err)
	}
	return filepath.Dir(strings.TrimSpace(string(out))), nil
}

// copyFile copies a file, if it exists, into a folder that it makes.
func copyFile(from, to string) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return err
	}
	content, err := os.ReadFile(from)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return os.WriteFile(to, content, 0o600)
}
