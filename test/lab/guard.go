package lab

import (
	"os/exec"
	"syscall"
	"testing"
)

// Guard runs shell commands when the test ends, however it ends: they wait in a
// process of their own for this one to close a pipe, which a panic or a kill does
// too. What a test makes outside its folder is undone by guards only. Guards act
// in reverse order. args are $1 and so on.
func Guard(t testing.TB, commands string, args ...string) {
	t.Helper()
	cmd := exec.Command("sh", append([]string{"-c", "cat >/dev/null; " + commands, "guard"}, args...)...)
	// A Ctrl-C is meant for the tests, whose end the guard waits for.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	pipe, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		pipe.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("undo with %q: %v", commands, err)
		}
	})
}

// Run runs a program that must succeed.
func Run(t testing.TB, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
}
