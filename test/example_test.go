package test

import (
	"context"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/aptlyd/aptlyd/client"
)

// TestGoExample runs examples/go, kills it, and runs it again: it answers each question once.
func TestGoExample(t *testing.T) {
	c := startCluster(t, 1)
	dir := t.TempDir()
	program := filepath.Join(dir, "example")
	if out, err := exec.Command("go", "build", "-o", program, "../examples/go").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	start := func() *exec.Cmd {
		cmd := exec.Command(program, "-server", c.Servers()[0], "-key", c.ServerKey, "-position",
			filepath.Join(dir, "position.json"))
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		})
		return cmd
	}
	cl, err := client.New(client.Options{Endpoints: c.Servers(), APIKey: c.ServerKey})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	answers := make(chan string, 10)
	_, err = cl.Subscribe(ctx, "questions.answers",
		client.SubscribeOptions{From: client.All(), OnMessage: func(m client.Message) {
			text, _ := client.Decode[string](m)
			answers <- text
		}})
	if err != nil {
		t.Fatal(err)
	}
	ask := func(question, want string) {
		t.Helper()
		if _, err := cl.Publish(ctx, client.Publication{Channel: "questions", Data: question}); err != nil {
			t.Fatal(err)
		}
		select {
		case got := <-answers:
			if got != want {
				t.Fatalf("answered %q, want %q", got, want)
			}
		case <-time.After(deadline):
			t.Fatal("no answer")
		}
	}
	first := start()
	ask("why?", "4 letters: why?")
	ask("who?", "4 letters: who?")
	_ = first.Process.Kill()
	_ = first.Wait()
	start()
	ask("where?", "6 letters: where?")
}
