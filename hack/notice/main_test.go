package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestNoticeIsUpToDate(t *testing.T) {
	want, err := notice("../..")
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("../../NOTICE")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("NOTICE is not that of go.mod and console/assets/lib: run go generate .")
	}
}

func TestUnknownLicencesAreRefused(t *testing.T) {
	const mit = "Permission is hereby granted, free of\ncharge, to any person obtaining a copy of this"
	for _, c := range []struct {
		name  string
		files map[string]string
		want  string // of the error
	}{
		{"known", map[string]string{"LICENSE": mit, "NOTICE": "By us."}, ""},
		{"none", nil, "has no licence"},
		{"a notice only", map[string]string{"NOTICE": "By us."}, "has no licence"},
		{"unknown", map[string]string{"LICENSE.md": "You may not."}, "is no licence that we know"},
		{
			"unknown beside a known one",
			map[string]string{"LICENSE": mit, "COPYING": "You may not."},
			"is no licence that we know",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			module := t.TempDir()
			dir := filepath.Join(module, "sub", "package")
			if err := os.MkdirAll(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			for name, text := range c.files {
				if err := os.WriteFile(filepath.Join(module, "sub", name), []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			files, err := licenceFiles(module, []string{dir})
			if err != nil || len(files) != len(c.files) {
				t.Fatalf("files are %v (%v), want those of %v", files, err, c.files)
			}
			_, err = read("theirs v1", "", files)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("error is %v, want %q", err, c.want)
			}
		})
	}
}
