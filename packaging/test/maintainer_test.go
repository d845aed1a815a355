package test

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A package that is upgraded, removed and purged asks nothing. It keeps what is the
// operator's until it is purged.
func TestDebianPackageUpgradesAndGoes(t *testing.T) {
	t.Parallel()
	root := newDebian(t)
	called := recordSystemctl(t, root)
	first := buildPackage(t, "deb", "1.0.0-rc.1")
	// dpkg runs the script that makes the user before it looks at ordinary dependencies.
	before, err := exec.Command("dpkg-deb", "-f", first, "Pre-Depends").Output()
	if err != nil || strings.TrimSpace(string(before)) != "passwd" {
		t.Errorf("what has to be there before the package is unpacked: %q, %v", before, err)
	}
	install(t, root, first)
	called("an installation", "daemon-reload")

	const settings, data = "etc/aptlyd/aptlyd.yaml", "var/lib/aptlyd/node.json"
	edit(t, filepath.Join(root, settings), "#log-level: info", "log-level: debug")
	if err := os.WriteFile(filepath.Join(root, data), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	kept := func(when string) {
		t.Helper()
		text, err := os.ReadFile(filepath.Join(root, settings))
		if err != nil || !strings.Contains(string(text), "\nlog-level: debug\n") {
			t.Errorf("%s: the settings are not the operator's (%v):\n%s", when, err, text)
		}
		if _, err := os.Stat(filepath.Join(root, data)); err != nil {
			t.Errorf("%s: %v", when, err)
		}
		for name, mode := range map[string]os.FileMode{"var/lib/aptlyd": 0o700, "etc/aptlyd/secrets": 0o600} {
			if info, err := os.Stat(filepath.Join(root, name)); err != nil || info.Mode().Perm() != mode {
				t.Errorf("%s: /%s: %v %v, want mode %o", when, name, info, err, mode)
			}
		}
	}
	kept("after an installation")

	// The release comes after its candidates.
	said := install(t, root, buildPackage(t, "deb", "1.0.0"))
	if !strings.Contains(said, "over (1.0.0~rc.1)") || strings.Contains(said, "downgrading") {
		t.Errorf("dpkg takes it for no upgrade: %s", said)
	}
	called("an upgrade", "daemon-reload", "--no-block try-restart aptlyd.service")
	kept("after an upgrade")

	inDebian(t, root, "dpkg", "--remove", "aptlyd")
	called("a removal", "disable --now aptlyd.service", "daemon-reload")
	kept("after a removal")
	if _, err := os.Stat(filepath.Join(root, "usr/bin/aptlyd")); err == nil {
		t.Error("the program is still there")
	}

	inDebian(t, root, "dpkg", "--purge", "aptlyd")
	called("a purge", "daemon-reload")
	for _, name := range []string{"etc/aptlyd", "var/lib/aptlyd", "usr/share/doc/aptlyd"} {
		if _, err := os.Stat(filepath.Join(root, name)); err == nil {
			t.Errorf("purged, and /%s is still there", name)
		}
	}
}

// recordSystemctl gives a root the look of a running systemd. It returns a check of what
// systemctl was called with since the last one.
func recordSystemctl(t *testing.T, root string) func(when string, want ...string) {
	t.Helper()
	log := filepath.Join(root, "systemctl.log")
	for _, err := range []error{
		os.MkdirAll(filepath.Join(root, "run/systemd/system"), 0o755),
		os.WriteFile(filepath.Join(root, "usr/bin/systemctl"), []byte("#!/bin/sh\necho \"$@\" >>/systemctl.log\n"), 0o755),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return func(when string, want ...string) {
		t.Helper()
		text, err := os.ReadFile(log)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", when, err)
		}
		if got := lines(string(text)); !slices.Equal(got, want) {
			t.Errorf("%s calls systemctl %q, want %q", when, got, want)
		}
		if err := os.RemoveAll(log); err != nil {
			t.Error(err)
		}
	}
}

// The scripts of the rpm, called as rpm calls them, do what those of the deb do.
func TestRPM(t *testing.T) {
	t.Parallel()
	if info, err := os.Stat(buildPackage(t, "rpm", version)); err != nil || info.Size() < 1<<20 {
		t.Errorf("%v %v", info, err)
	}
	root := newDebian(t)
	called := recordSystemctl(t, root)
	const reload, first, last = "daemon-reload", "1", "0"
	for _, c := range []struct {
		script, arg string
		want        []string
	}{
		{"preinstall", first, nil},
		{"postinstall", first, []string{reload}},
		{"preinstall", "2", nil}, // an upgrade: the new one's scripts, then those of the old one
		{"postinstall", "2", []string{reload, "--no-block try-restart aptlyd.service"}},
		{"preremove", "1", nil},
		{"postremove", "1", nil},
		{"preremove", last, []string{"disable --now aptlyd.service"}},
		{"postremove", last, []string{reload}},
	} {
		copyTo(t, filepath.Join(repository, "packaging", "scripts", c.script+".sh"), filepath.Join(root, "script.sh"))
		inDebian(t, root, "sh", "/script.sh", c.arg)
		called(c.script+" "+c.arg, c.want...)
	}
	if info, err := os.Stat(filepath.Join(root, "var/lib/aptlyd")); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the data is gone, or open: %v %v", info, err)
	}
}
