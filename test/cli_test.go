package test

import (
	"bufio"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/aptlyd/aptlyd/client"
)

// aptlyd runs a client command against a node and returns what it printed and
// its exit code.
func aptlyd(t *testing.T, c site, node int, args ...string) (string, int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), binary, args...)
	cmd.Env = append(os.Environ(), "APTLYD_SERVER="+url(c, node), "APTLYD_ADMIN_TOKEN="+c.keys().admin)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// aptlydJSON runs a client command that must succeed and decodes what it prints.
func aptlydJSON[T any](t *testing.T, c site, node int, args ...string) T {
	t.Helper()
	out, code := aptlyd(t, c, node, append(args, "--json")...)
	if code != 0 {
		t.Fatalf("aptlyd %v: exit code %d: %s", args, code, out)
	}
	var value T
	if err := json.Unmarshal([]byte(out), &value); err != nil {
		t.Fatalf("aptlyd %v printed %q: %v", args, out, err)
	}
	return value
}

func TestCommandLineLifeOfAProject(t *testing.T) {
	c := startCluster(t, 3)
	project := aptlydJSON[client.Project](t, c, 0, "project", "create", "shop", "--origin", "https://shop.example",
		"--native")
	if len(project.Keys) != 2 || !project.AllowNativeClients || len(project.AllowedOrigins) != 1 {
		t.Fatalf("created %+v", project)
	}
	if list := aptlydJSON[[]client.Project](t, c, 1, "project", "list"); len(list) != 2 {
		t.Errorf("another node lists %+v", list)
	}
	for i, check := range [][2]string{ // by exit code
		{"https://shop.example", "is allowed by https://shop.example"},
		{"https://evil.example", "is not the project's allowed origin"},
	} {
		origin, want := check[0], check[1]
		if out, code := aptlyd(t, c, 1, "project", "check-origin", "shop", origin); code != i ||
			!strings.Contains(out, want) {
			t.Errorf("check %s: exit code %d: %s", origin, code, out)
		}
	}
	key := aptlydJSON[client.Key](t, c, 2, "key", "create", "shop", "--kind", "server", "--name", "backend")
	publish := func(text, want string, wantCode int) {
		t.Helper()
		out, code := aptlyd(t, c, 1, "publish", "orders", `{"n":1}`, "--key", text)
		if code != wantCode || !strings.Contains(out, want) {
			t.Errorf("publish: exit code %d, %q; want %d, %q", code, out, wantCode, want)
		}
	}
	publish(key.Text, "offset 1", 0)
	successor := aptlydJSON[client.Key](t, c, 0, "key", "rotate", key.ID, "--overlap", "1h")
	if successor.Replaces == nil || successor.Replaces.ID != key.ID || successor.Replaces.ExpiresAt == 0 {
		t.Errorf("rotated to %+v", successor)
	}
	publish(key.Text, "offset 2", 0)
	publish(successor.Text, "offset 3", 0)
	if out, code := aptlyd(t, c, 1, "key", "revoke", key.ID); code != 0 {
		t.Fatalf("revoke: %s", out)
	}
	publish(key.Text, "not", 1)
	if out, code := aptlyd(t, c, 1, "key", "revoke", key.ID); code != 1 {
		t.Errorf("revoke again: exit code %d: %s", code, out)
	}
	listed, code := aptlyd(t, c, 2, "key", "list", "shop")
	if code != 0 || strings.Contains(listed, successor.Text) || !strings.Contains(listed, successor.Text[:8]) {
		t.Errorf("a server key must be listed by its prefix only: %s", listed)
	}
	if out, code := aptlyd(t, c, 0, "project", "delete", "shop"); code != 0 {
		t.Fatalf("delete: %s", out)
	}
	publish(successor.Text, "", 1)
}

func TestCommandLineSubscribeEndsCleanly(t *testing.T) {
	c := startCluster(t, 1)
	mustPublish(t, c, 0, "news", 1)
	cmd := exec.Command(binary, "subscribe", "news", "--from", "0", "--server", url(c, 0), "--key", c.ServerKey)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || !strings.Contains(line, `"offset":1,`) {
		t.Errorf("printed %q, %v", line, err)
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("after Ctrl-C: %v", err)
	}
}

func TestCommandLineClusterStatus(t *testing.T) {
	c := startCluster(t, 3)
	status := aptlydJSON[client.Status](t, c, 1, "cluster", "status")
	leaders, voters := 0, 0
	for _, m := range status.Members {
		if m.Leader {
			leaders++
		}
		if m.Voter {
			voters++
		}
	}
	if status.Node != c.Name(1) || len(status.Members) != 3 || leaders != 1 || voters != 3 {
		t.Errorf("%+v", status)
	}
	if out, code := aptlyd(t, c, 1, "cluster", "status"); code != 0 || !strings.Contains(out, "leader") {
		t.Errorf("exit code %d: %s", code, out)
	}
	if out, code := aptlyd(t, c, 1, "cluster", "history", "--minutes", "1"); code != 0 ||
		len(strings.Split(strings.TrimSpace(out), "\n")) != 7 {
		t.Errorf("history: exit code %d: %s", code, out)
	}
	if out, code := aptlyd(t, c, 1, "cluster", "status", "--admin-token", "a wrong one entirely"); code != 1 {
		t.Errorf("a wrong token: exit code %d: %s", code, out)
	}
}
