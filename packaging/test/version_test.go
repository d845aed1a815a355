package test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The version is that of the tag, and what follows a release comes before the next one.
func TestVersionIsThatOfTheTag(t *testing.T) {
	t.Parallel()
	script, err := os.ReadFile(filepath.Join(repository, "hack", "version.sh"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "hack"), 0o755); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "hack", "version.sh")
	if err := os.WriteFile(path, script, 0o755); err != nil {
		t.Fatal(err)
	}
	git := func(args ...string) {
		t.Helper()
		args = append([]string{"-C", dir, "-c", "user.name=n", "-c", "user.email=e"}, args...)
		if out, err := exec.Command("git", args...).CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
	}
	commit := func() { git("commit", "-q", "--allow-empty", "-m", "m") }
	check := func(want string) {
		t.Helper()
		out, err := exec.Command(path).Output()
		if got := strings.TrimSpace(string(out)); err != nil || !regexp.MustCompile(`^`+want+`$`).MatchString(got) {
			t.Errorf("the version is %q (%v), want %s", got, err, want)
		}
	}
	git("init", "-q")
	git("add", ".")
	git("commit", "-q", "-m", "m")
	check(`0\.0\.0-1-g[0-9a-f]{10}`)
	git("tag", "another-tag")
	git("tag", "v1.0.0-rc.1")
	check(`1\.0\.0-rc\.1`)
	commit()
	check(`1\.0\.0-rc\.1-1-g[0-9a-f]+`)
	git("tag", "v1.2.9")
	check(`1\.2\.9`)
	commit()
	commit()
	check(`1\.2\.10-0\.2\.g[0-9a-f]+`)
	if err := os.WriteFile(path, append(script, '\n'), 0o755); err != nil {
		t.Fatal(err)
	}
	check(`1\.2\.10-0\.2\.g[0-9a-f]+-dirty`)
}
