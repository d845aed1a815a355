// Command aptlyd is a self-hosted realtime broker: one binary, three nodes, no
// other system. "aptlyd serve" runs a node; the other commands are its clients.
package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/aptlyd/aptlyd/node"
)

// Exit codes.
const (
	exitDone   = 0
	exitFailed = 1 // refused or failed; the reason is on stderr
	exitMisuse = 2 // a bad flag, file or argument
)

// misuse is an error in how a command was called.
type misuse struct{ err error }

func (m misuse) Error() string { return m.err.Error() }
func (m misuse) Unwrap() error { return m.err }

func main() {
	setUp()
	os.Exit(run(os.Args[1:]))
}

// setUp changes settings of the whole process.
func setUp() {
	// Raft and bbolt make files with the usual modes, but other users must not read them.
	syscall.Umask(0o077)
	if err := endPanicsBySignal(); err != nil {
		fmt.Fprintln(os.Stderr, "aptlyd: core dumps stay enabled:", err)
	}
}

// run executes one command line and returns its exit code.
func run(args []string) int {
	root := newRoot()
	root.SetArgs(args)
	err := root.Execute()
	if err == nil {
		return exitDone
	}
	fmt.Fprintln(os.Stderr, "aptlyd:", err)
	if isMisuse(err) {
		return exitMisuse
	}
	return exitFailed
}

func isMisuse(err error) bool {
	var wrong misuse
	var setting *node.ConfigError
	return errors.As(err, &wrong) || errors.As(err, &setting) ||
		errors.Is(err, node.ErrAdminToken) || errors.Is(err, node.ErrTooOld) ||
		errors.Is(err, node.ErrWrongCluster) || errors.Is(err, node.ErrDuplicateNode) ||
		errors.Is(err, node.ErrOtherVersion) || errors.Is(err, node.ErrKeyring) ||
		errors.Is(err, node.ErrInUse)
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:           "aptlyd",
		Short:         "A self-hosted realtime broker that serves the Aptly SDKs",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := cmd.Help(); err != nil {
				return err
			}
			return misuse{errors.New("name a command")}
		},
	}
	root.Version = versionLine()
	root.SetVersionTemplate("{{.Version}}\n")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		if unknown, ok := errors.AsType[*pflag.NotExistError](err); ok {
			known := flagNames(cmd.Flags())
			for i := range known {
				known[i] = "--" + known[i]
			}
			return misuse{fmt.Errorf("%w%s", err, didYouMean("--"+unknown.GetSpecifiedName(), known))}
		}
		return misuse{sayFlagError(err)}
	})
	root.AddCommand(
		newServe(),
		newProject(),
		newKey(),
		newToken(),
		newChannel(),
		newConnection(),
		newAdmin(),
		newAudit(),
		newRefusals(),
		newCluster(),
		newBackup(),
		newRestore(),
		newRecover(),
		newRebuild(),
		newPublish(),
		newSubscribe(),
		newPresence(),
		newHealthcheck(),
		newDoctor(),
		newVersion(),
		newLicenses(),
	)
	root.InitDefaultCompletionCmd()
	for _, cmd := range root.Commands() {
		if cmd.Name() == "completion" {
			cmd.RunE = needsCommand
		}
	}
	markArgErrors(root)
	return root
}

// markArgErrors makes a wrong number of arguments, and an unknown command of a group, count
// as misuse.
func markArgErrors(cmd *cobra.Command) {
	check := cmd.Args
	if check == nil {
		check = cobra.NoArgs
	}
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		err := check(cmd, args)
		if err != nil && cmd.HasSubCommands() && len(args) > 0 {
			return unknownCommand(cmd, args[0])
		}
		if err != nil && !cmd.HasSubCommands() {
			err = fmt.Errorf("wrong number of arguments; usage: %s", cmd.UseLine())
		}
		if err != nil {
			return misuse{err}
		}
		return nil
	}
	for _, sub := range cmd.Commands() {
		markArgErrors(sub)
	}
}

// group makes a command that only holds other commands.
func group(use, short string, subs ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, RunE: needsCommand}
	cmd.AddCommand(subs...)
	return cmd
}

// needsCommand refuses a group without one of its commands.
func needsCommand(cmd *cobra.Command, _ []string) error {
	subs := cmd.Commands()
	names := make([]string, 0, len(subs))
	for _, s := range subs {
		names = append(names, s.Name())
	}
	return misuse{fmt.Errorf("%s needs one of: %s", cmd.Name(), strings.Join(names, ", "))}
}
