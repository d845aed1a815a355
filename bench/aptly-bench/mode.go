package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/aptlyd/aptlyd/bench"
)

// mode is one kind of load, with its report.
type mode[R report] interface {
	Validate() error
	Run(context.Context, bench.Target) (R, error)
}

type report interface{ WriteTable(io.Writer) error }

// newMode returns the command of a mode; the caller adds its flags.
func newMode(use, short string, run func(*cobra.Command) error) *cobra.Command {
	return &cobra.Command{
		Use:   use,
		Short: short,
		Args:  noArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return run(cmd) },
	}
}

func noArgs(cmd *cobra.Command, args []string) error {
	if err := cobra.NoArgs(cmd, args); err != nil {
		return misuse{err}
	}
	return nil
}

// runMode puts one kind of load on the target and writes its report. A rule makes a project
// of its own for the run.
func runMode[R report](cmd *cobra.Command, t *target, m mode[R], rule *bench.Rule) (err error) {
	if err := t.validate(); err != nil {
		return misuse{err}
	}
	if err := m.Validate(); err != nil {
		return misuse{fmt.Errorf("--%w", err)}
	}
	if rule != nil && t.spawn == 0 && t.adminToken == "" {
		return misuse{errors.New("a project for the run needs --admin-token or --spawn")}
	}
	ctx := cmd.Context()
	target, closeTarget, err := t.open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeTarget()) }()
	if rule != nil {
		made, remove, err := bench.MakeProject(ctx, target, *rule)
		if err != nil {
			return err
		}
		target = made
		if t.spawn == 0 {
			defer func() { err = errors.Join(err, remove(context.WithoutCancel(ctx))) }()
		}
	}
	result, err := m.Run(ctx, target)
	if err != nil {
		return err
	}
	if t.json {
		encoder := json.NewEncoder(cmd.OutOrStdout())
		encoder.SetIndent("", "  ")
		err = encoder.Encode(result)
	} else {
		err = result.WriteTable(cmd.OutOrStdout())
	}
	if err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	if judged, ok := any(result).(interface{ Broken() bool }); ok && judged.Broken() {
		return errBroken
	}
	return nil
}
