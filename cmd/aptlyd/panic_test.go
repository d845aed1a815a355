package main

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// plantedPanic in the environment makes the test binary a program that panics.
const plantedPanic = "APTLYD_TEST_PANIC"

func TestMain(m *testing.M) {
	switch os.Getenv(plantedPanic) {
	case "panic":
		panicAs(func() { panic("planted") })
	case "fatal":
		panicAs(func() {
			m := map[int]int{}
			for range 8 {
				go func() {
					for i := 0; ; i++ {
						m[i%2] = i // concurrent map writes, which recover does not stop
					}
				}()
			}
		})
	}
	os.Exit(m.Run())
}

// panicAs runs what panics on a goroutine of its own, in a process set up as main
// does it.
func panicAs(planted func()) {
	setUp()
	go planted()
	select {}
}

// TestAPanicIsNoMisuse: a supervisor that takes exit code 2 for a wrong configuration
// must start a node again that panicked.
func TestAPanicIsNoMisuse(t *testing.T) {
	for _, kind := range []string{"panic", "fatal"} {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), plantedPanic+"="+kind)
		cmd.Dir = t.TempDir()
		out, err := cmd.CombinedOutput()
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			t.Fatalf("%s: it ended with %v", kind, err)
		}
		status := exit.Sys().(syscall.WaitStatus) //nolint:forcetypeassert // what os/exec promises on Unix
		if !status.Signaled() || status.Signal() != syscall.SIGABRT || status.CoreDump() {
			t.Errorf("%s: it ended with %v (core: %v)", kind, err, status.CoreDump())
		}
		if !strings.Contains(string(out), "planted") && !strings.Contains(string(out), "concurrent map") {
			t.Errorf("%s: it does not say why: %s", kind, out)
		}
	}
}
