package lab

import (
	"fmt"
	"os/exec"
	"syscall"
	"testing"
)

// Guard runs shell commands when the test ends, however it ends. What a test makes
// outside its folder is undone by guards only. Guards act in reverse order. args are
// $1 and so on.
func Guard(t testing.TB, commands string, args ...string) {
	t.Helper()
	undo, err := Afterwards(commands, args...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := undo(); err != nil {
			t.Error(err)
		}
	})
}

// Afterwards has shell commands run when undo is called, or when this process ends: they
// wait in a process of their own for this one to close a pipe, which a panic or a kill
// does too.
func Afterwards(commands string, args ...string) (undo func() error, err error) {
	cmd := exec.Command("sh", append([]string{"-c", "cat >/dev/null; " + commands, "guard"}, args...)...)
	// A Ctrl-C is meant for the tests, whose end the guard waits for.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	pipe, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("guard: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("guard: %w", err)
	}
	return func() error {
		pipe.Close()
		if err := cmd.Wait(); err != nil {
			return fmt.Errorf("undo with %q: %w", commands, err)
		}
		return nil
	}, nil
}

// Run runs a program that must succeed.
func Run(t testing.TB, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
}
