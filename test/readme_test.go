package test

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// readmeBlock returns the code block of the README that holds marker.
func readmeBlock(t *testing.T, language, marker string) string {
	t.Helper()
	text, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, block := range regexp.MustCompile("(?s)```"+language+"\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
		if strings.Contains(block[1], marker) {
			return block[1]
		}
	}
	t.Fatalf("the README has no %s block with %q", language, marker)
	return ""
}

// TestREADMEFirstMinute runs the README's first minute as written, but for the
// port and the key.
func TestREADMEFirstMinute(t *testing.T) {
	needNode(t)
	c := startCluster(t, 1)
	bin := filepath.Dir(binary)

	shell := func(block string) string {
		t.Helper()
		script := strings.ReplaceAll(block, "localhost:8080", c.Addr(0))
		script = strings.ReplaceAll(script, "sk_…", c.ServerKey)
		script = strings.ReplaceAll(script, "bin/aptlyd", filepath.Join(bin, "aptlyd"))
		cmd := exec.CommandContext(t.Context(), "bash", "-euc", script)
		cmd.Env = append(os.Environ(), "SK="+c.ServerKey, "APTLYD_SERVER="+url(c, 0))
		cmd.Stderr = os.Stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s: %v", script, err)
		}
		return string(out)
	}
	update := strings.ReplaceAll(readmeBlock(t, "sh", "project update"), "adm_…", c.AdminToken)
	if out := shell(update); !strings.Contains(out, "https://app.example.com") {
		t.Fatalf("aptlyd project update printed %s", out)
	}
	if out := shell(readmeBlock(t, "sh", "curl -s")); !strings.Contains(out, `"success":true`) ||
		!strings.Contains(out, `"offset":1`) {
		t.Fatalf("curl printed %s", out)
	}

	script := filepath.Join("sdk", "readme-subscribe.mjs")
	if err := os.WriteFile(script, []byte(readmeBlock(t, "js", "@aptly-sdk/brook")), 0o600); err != nil {
		t.Fatal(err)
	}
	defer os.Remove(script)
	cmd := exec.Command("node", filepath.Base(script))
	cmd.Dir = "sdk"
	cmd.Env = append(os.Environ(), "PK="+c.PublicKey, "APTLYD="+c.Servers()[0])
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		cmd.Process.Kill()
		cmd.Wait()
	}()
	lines := make(chan string)
	go func() {
		for s := bufio.NewScanner(out); s.Scan(); {
			lines <- s.Text()
		}
	}()
	expect := func(want string) {
		t.Helper()
		select {
		case got := <-lines:
			if got != want {
				t.Fatalf("the README's subscriber printed %q, want %q", got, want)
			}
		case <-time.After(deadline):
			t.Fatalf("the README's subscriber did not print %q", want)
		}
	}
	expect(`1 true {"text":"hello"}`)

	commands := strings.SplitN(readmeBlock(t, "sh", "aptlyd publish"), "\n", 2)
	if out := shell(commands[0]); !strings.Contains(out, "offset 2") {
		t.Errorf("aptlyd publish printed %q", out)
	}
	expect(`2 false {"text":"hello again"}`)
	if out := shell("timeout --preserve-status -s INT 5 " + strings.TrimSpace(commands[1]) +
		" | head -2"); strings.Count(out, `"channel":"news"`) != 2 {
		t.Errorf("aptlyd subscribe printed %q", out)
	}
}
