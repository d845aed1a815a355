// Package durable writes and renames files so that they survive a power cut, and tells the
// space for them. It knows nothing of what they hold.
package durable

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Write replaces a file's content. After a crash the file has either the old content
// or all of the new one.
func Write(path string, content []byte) error {
	pending := path + ".tmp"
	f, err := os.OpenFile(pending, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("make %s: %w", path, err)
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return Rename(pending, path)
}

// Install syncs a complete file and then renames it.
func Install(path, final string) error {
	if err := Sync(path); err != nil {
		return err
	}
	return Rename(path, final)
}

// Rename moves a file or folder and syncs the folders of both names.
func Rename(from, to string) error {
	if err := os.Rename(from, to); err != nil {
		return fmt.Errorf("move: %w", err)
	}
	source, target := filepath.Dir(from), filepath.Dir(to)
	if err := Sync(target); err != nil || source == target {
		return err
	}
	return Sync(source)
}

// Sync makes a file's content or a folder's names durable.
func Sync(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("sync %s: %w", path, err)
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("sync %s: %w", path, err)
	}
	return nil
}
