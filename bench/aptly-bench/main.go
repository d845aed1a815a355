// Command aptly-bench puts load on an aptlyd cluster and checks that nothing
// acknowledged was lost, repeated or reordered. Its exit code is 0 when all
// promises were kept, 1 when one was broken or the load could not run, and 2
// when it was called wrongly.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// Exit codes.
const (
	exitKept   = 0
	exitBroken = 1
	exitMisuse = 2
)

// misuse is an error in how the command was called.
type misuse struct{ error }

func (m misuse) Unwrap() error { return m.error }

// errBroken ends a run whose report says why.
var errBroken = errors.New("a promise was broken")

func main() {
	syscall.Umask(0o077)
	// The first signal ends the load and still reports; the second ends the
	// program.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:]))
}

// run executes one command line and returns its exit code.
func run(ctx context.Context, args []string) int {
	root := newRoot()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	var wrong misuse
	switch {
	case err == nil:
		return exitKept
	case errors.As(err, &wrong):
		fmt.Fprintln(os.Stderr, "aptly-bench:", err)
		return exitMisuse
	}
	fmt.Fprintln(os.Stderr, "aptly-bench:", err)
	return exitBroken
}

// newRoot returns the command. The ordinary load is what it does by itself;
// other kinds of load are commands below it.
func newRoot() *cobra.Command {
	t := &target{}
	root := newLoad(t)
	root.Use = "aptly-bench"
	root.SilenceErrors = true
	root.SilenceUsage = true
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return misuse{err} })
	t.addFlags(root.PersistentFlags())
	root.AddCommand(newFanout(t), newLatency(t), newIdle(t), newStorm(t), newReplay(t), newSlow(t),
		newPresence(t), newMembers(t), newChurn(t))
	return root
}
