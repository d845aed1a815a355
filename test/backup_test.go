package test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aptlyd/aptlyd/bench"
	"github.com/aptlyd/aptlyd/client"
)

// stride is by how much offsets grow when a cluster begins anew.
const stride = 1_000_000_000

// successor starts a cluster of n nodes with the keys of another one. The first
// node's data folder is in dir already.
func successor(t *testing.T, of spawned, dir string, n int) spawned {
	t.Helper()
	// What is sealed in the state opens with the secret of the first cluster only.
	env := []string{"APTLYD_ADMIN_TOKEN=" + of.AdminToken, "APTLYD_CLUSTER_SECRET=" + of.ClusterSecret}
	c := spawn(t, bench.SpawnOptions{Nodes: n, Binary: binary, Dir: dir, Env: env})
	c.AdminToken, c.PublicKey, c.ServerKey = of.AdminToken, of.PublicKey, of.ServerKey
	return c
}

// checkRenumbered holds the channels of a cluster that began anew against what a
// load was told by the old one: they begin with the old messages, stride further
// on, at least those that were acknowledged as of must.
func (l *load) checkRenumbered(c site, must map[string]acked) {
	l.t.Helper()
	where := make(map[string]acked)
	for i := range c.Len() {
		for _, channel := range l.channels {
			messages, err := history(within(l.t, deadline), c, i, channel)
			if err != nil {
				l.t.Fatal(err)
			}
			for n, m := range messages {
				var e entry
				if err := json.Unmarshal(m.Data, &e); err != nil {
					l.t.Fatal(err)
				}
				if m.Offset != uint64(stride+n+1) {
					l.t.Fatalf("%s on %s: offset %d where %d belongs", channel, c.Name(i), m.Offset, stride+n+1)
				}
				if was, ok := l.acked[e.ID]; ok && (was.channel != channel || was.offset != uint64(n+1)) {
					l.t.Fatalf("%s on %s: %s was at %v and is at %d", channel, c.Name(i), e.ID, was, m.Offset)
				}
				where[e.ID] = acked{channel, m.Offset}
			}
		}
		for id, was := range must {
			if is := where[id]; is.channel != was.channel || is.offset != was.offset+stride {
				l.t.Errorf("%s on %s: was acknowledged at %v and is at %v", id, c.Name(i), was, is)
			}
		}
		clear(where)
	}
}

// ledger returns what was acknowledged so far.
func (l *load) ledger() map[string]acked {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.acked)
}

// checkResume subscribes with an offset of the old numbering, as a client that
// knows nothing of epochs does: it hears exactly what is gone, and gets the rest
// and what is new.
func checkResume(t *testing.T, c site, node int, channel string, after uint64) {
	t.Helper()
	page, err := rest(c, node).History(within(t, deadline), channel, 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	type event struct {
		gap    client.Gap
		offset uint64 // of a message
	}
	events := make(chan event, 10_000)
	sub, err := connect(t, c, c.keys().public, node).Subscribe(within(t, deadline), channel, client.SubscribeOptions{
		From:      client.After(after),
		OnGap:     func(g client.Gap) { events <- event{gap: g} },
		OnMessage: func(m client.Message) { events <- event{offset: m.Offset} },
	})
	if err != nil {
		t.Fatal(err)
	}
	receipt, err := rest(c, node).Publish(within(t, deadline), client.Publication{Channel: channel, Data: entry{"new"}})
	if err != nil || receipt.Offset != page.Offset+1 {
		t.Fatalf("published at %d behind %d, %v", receipt.Offset, page.Offset, err)
	}
	next := func() event {
		select {
		case e := <-events:
			return e
		case <-time.After(deadline):
			t.Fatalf("nothing came to a client that resumes after %d: %v", after, sub.Err())
			return event{}
		}
	}
	if got := next(); got.gap != (client.Gap{Channel: channel, From: after + 1, To: page.Earliest - 1}) {
		t.Fatalf("resumed after %d, earliest is %d, told of %+v", after, page.Earliest, got)
	}
	for want := page.Earliest; want <= receipt.Offset; want++ {
		if got := next(); got.offset != want {
			t.Fatalf("got %+v where %d belongs", got, want)
		}
	}
}

func TestBackupBecomesANewCluster(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3)
	l := startLoad(t, c, 5, 300)
	l.await(300)
	key := aptlydJSON[client.Key](t, c, 0, "key", "create", "default", "--kind", "server", "--name", "backend")
	dir := t.TempDir()
	var file string
	var must map[string]acked
	for node := range c.Len() {
		must = l.ledger()
		file = filepath.Join(dir, fmt.Sprintf("backup-%d", node))
		holds := aptlydJSON[map[string]any](t, c, node, "backup", file)
		if messages, _ := holds["messages"].(float64); int(messages) < len(must) {
			t.Errorf("%s saves %v messages, %d were acknowledged", c.Name(node), messages, len(must))
		}
		if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v, %v", file, info.Mode(), err)
		}
		l.await(30)
	}
	if left, err := filepath.Glob(filepath.Join(dir, "*partial*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	before := aptlydJSON[client.Status](t, c, 0, "cluster", "status")
	l.end()
	l.check()

	// A copy that is not whole, or not the same, is refused and leaves nothing.
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	flipped := bytes.Clone(whole)
	flipped[len(flipped)/2] ^= 1
	for name, content := range map[string][]byte{"truncated": whole[:len(whole)-1000], "flipped": flipped} {
		bad := filepath.Join(dir, name)
		if err := os.WriteFile(bad, content, 0o600); err != nil {
			t.Fatal(err)
		}
		for _, args := range [][]string{
			{"backup", "--verify", bad},
			{"restore", bad, "--data-dir", filepath.Join(dir, "none")},
		} {
			if out, code := aptlyd(t, c, 0, args...); code != 1 || !strings.Contains(out, "not an intact backup") {
				t.Errorf("%s: aptlyd %v: exit code %d: %s", name, args, code, out)
			}
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a refused restore leaves a folder: %v", err)
	}
	if out, code := aptlyd(t, c, 0, "backup", "--verify", file); code != 0 {
		t.Errorf("an intact backup: exit code %d: %s", code, out)
	}
	if out, code := aptlyd(t, c, 0, "restore", file, "--data-dir", c.Dir(0)); code == 0 ||
		!strings.Contains(out, "another process") {
		t.Errorf("restore over a node that runs: exit code %d: %s", code, out)
	}

	anew := filepath.Join(dir, "anew")
	if err := os.Mkdir(anew, 0o700); err != nil {
		t.Fatal(err)
	}
	if out, code := aptlyd(t, c, 0, "restore", file, "--data-dir", filepath.Join(anew, "n1")); code != 0 {
		t.Fatalf("exit code %d: %s", code, out)
	}
	// Until a node starts on it, the same call again reports the same: the first one may
	// have been interrupted at its last step. Another backup needs another folder.
	again, code := aptlyd(t, c, 0, "restore", file, "--data-dir", filepath.Join(anew, "n1"))
	if code != 0 || !strings.Contains(again, "nothing else was done") {
		t.Errorf("restore twice: exit code %d: %s", code, again)
	}
	other := filepath.Join(dir, "backup-0")
	out, code := aptlyd(t, c, 0, "restore", other, "--data-dir", filepath.Join(anew, "n1"))
	if code != 2 || !strings.Contains(out, "not empty") {
		t.Errorf("restore another backup: exit code %d: %s", code, out)
	}
	r := successor(t, c, anew, 3)
	awaitVoters(t, r, 3, 3)
	after := aptlydJSON[client.Status](t, r, 0, "cluster", "status")
	if after.Cluster == before.Cluster || after.Epoch == before.Epoch || after.Epoch == "" {
		t.Errorf("was %+v, is %+v", before, after)
	}
	l.checkRenumbered(r, must)
	checkResume(t, r, 1, l.channels[0], uint64(len(l.acked)))
	if _, err := (&client.REST{BaseURL: url(r, 2), APIKey: key.Text}).Publish(within(t, deadline),
		client.Publication{Channel: "c", Data: 1}); err != nil {
		t.Errorf("a key of the backup: %v", err)
	}
}

// offline runs a command on the data folder of node i, which does not run.
func offline(t *testing.T, c spawned, i int, input string, args ...string) (string, int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), binary, append(args, "--data-dir", c.Dir(i))...)
	cmd.Stdin = strings.NewReader(input)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

func TestRecoverFromALostQuorum(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3)
	l := startLoad(t, c, 5, 300)
	l.await(300)
	survivor := leader(t, c) // it has everything that was acknowledged
	before := aptlydJSON[client.Status](t, c, survivor, "cluster", "status")
	l.end()
	if out, code := offline(t, c, survivor, "", "recover"); code != 2 || !strings.Contains(out, "another process") {
		t.Errorf("recover a node that runs: exit code %d: %s", code, out)
	}
	for i := range c.Len() {
		if err := c.Kill(i); err != nil {
			t.Fatal(err)
		}
		if i != survivor {
			if err := os.RemoveAll(c.Dir(i)); err != nil {
				t.Fatal(err)
			}
		}
	}
	name := c.Name(survivor)
	for _, refused := range []struct {
		input string
		args  []string
	}{
		{"", nil},
		{"no\n", nil},
		{"yes\n", nil},
		{"yes\nsomebody\n", nil},
		{"", []string{"--quorum-is-lost"}},
		{"", []string{"--confirm", name}},
		{"", []string{"--quorum-is-lost", "--confirm", "somebody"}},
	} {
		if out, code := offline(t, c, survivor, refused.input, append([]string{"recover"}, refused.args...)...); code != 1 ||
			!strings.Contains(out, "nothing was done") {
			t.Errorf("recover %v, answered %q: exit code %d: %s", refused.args, refused.input, code, out)
		}
	}
	out, code := offline(t, c, survivor, "yes\n"+name+"\n", "recover")
	if code != 0 || !strings.Contains(out, "n1, n2, n3") {
		t.Fatalf("exit code %d: %s", code, out)
	}
	if err := c.Restart(within(t, deadline), survivor); err != nil {
		t.Fatal(err)
	}
	mustPublish(t, c, survivor, "alone", 1)
	for i := range c.Len() {
		if i != survivor {
			if err := c.Restart(within(t, deadline), i); err != nil {
				t.Fatal(err)
			}
		}
	}
	awaitVoters(t, c, 3, 3)
	after := aptlydJSON[client.Status](t, c, survivor, "cluster", "status")
	if after.Cluster == before.Cluster || after.Epoch == before.Epoch {
		t.Errorf("was %+v, is %+v", before, after)
	}
	l.checkRenumbered(c, l.ledger())
	checkResume(t, c, survivor, l.channels[0], uint64(len(l.acked)))
}

func TestDamagedNodeIsRebuiltFromTheOthers(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3)
	l := startLoad(t, c, 3, 50)
	l.await(100)
	damaged := (leader(t, c) + 1) % 3
	if out, code := offline(t, c, damaged, "", "rebuild", "--yes"); code != 2 ||
		!strings.Contains(out, "another process") {
		t.Errorf("rebuild a node that runs: exit code %d: %s", code, out)
	}
	if err := c.Kill(damaged); err != nil {
		t.Fatal(err)
	}
	logs, err := filepath.Glob(filepath.Join(c.Dir(damaged), "raft", "*.wal"))
	if err != nil || len(logs) == 0 {
		t.Fatalf("its log: %v, %v", logs, err)
	}
	if err := os.Remove(logs[0]); err != nil {
		t.Fatal(err)
	}
	if err := c.Restart(within(t, deadline), damaged); exitCode(err) != 1 {
		t.Fatalf("a node without its log starts: %v", err)
	}
	if out, code := offline(t, c, damaged, "no\n", "rebuild"); code != 1 || !strings.Contains(out, "nothing was done") {
		t.Errorf("exit code %d: %s", code, out)
	}
	if out, code := offline(t, c, damaged, "yes\n", "rebuild"); code != 0 || !strings.Contains(out, "replaced-") {
		t.Fatalf("exit code %d: %s", code, out)
	}
	awaitRestart(t, c, damaged)
	awaitVoters(t, c, 3, 3)
	l.end()
	l.check()
}

// awaitRestart starts a node that comes back under a new identity: it waits until its
// name is free, and longer where a new leader begins to listen anew.
func awaitRestart(t *testing.T, c spawned, i int) {
	t.Helper()
	if err := c.Restart(within(t, 3*deadline), i); err != nil {
		t.Fatal(err)
	}
}
