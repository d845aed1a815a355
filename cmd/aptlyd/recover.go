package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/aptlyd/aptlyd/node"
)

// errNotConfirmed says that the operator did not confirm.
var errNotConfirmed = errors.New("nothing was done: it was not confirmed")

// question asks on standard error until it has one line of an answer.
func question(cmd *cobra.Command, in *bufio.Reader, text string) (string, error) {
	fmt.Fprint(cmd.ErrOrStderr(), text)
	answer, err := in.ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("read answer: %w", err)
	}
	return strings.TrimSpace(answer), nil
}

func newRecover() *cobra.Command {
	var dataDir, confirm string
	var lost, withoutLog, asJSON bool
	cmd := &cobra.Command{
		Use:   "recover",
		Short: "Make one node a cluster again after the majority was lost for good",
		Long: `Make the node of a data folder, which must not run, the only member of a new cluster,
out of everything that the folder holds. It is the last resort, for when the majority
of the nodes is gone for good: what only they had is lost, acknowledged or not. Of the
nodes that are left, take the one whose log reaches furthest.

The cluster gets a new id and a new epoch, and every channel's offsets move up by
1,000,000,000. Nodes of the old cluster cannot join before their data folders are
emptied (aptlyd rebuild). What the folder held is kept beside.

It asks twice. Scripts answer with --quorum-is-lost and --confirm NAME, both.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := fillFlags(cmd.Flags(), ""); err != nil {
				return err
			}
			// The interrupted run was confirmed, and the folder may have no owner now.
			resumed, err := node.ResumeRecovery(dataDir)
			if err != nil {
				return err
			}
			if resumed.Resumed {
				return showFounded(cmd, asJSON, dataDir, resumed)
			}
			owner, err := node.Inspect(dataDir)
			if err != nil {
				return err
			}
			in := bufio.NewReader(cmd.InOrStdin())
			if !lost {
				members := "The folder does not say who the members of the cluster are."
				if len(owner.Members) > 0 {
					members = "The last known members of the cluster are " + strings.Join(owner.Members, ", ") + "."
				}
				fmt.Fprintf(cmd.ErrOrStderr(),
					"%s\nIf a majority of them can be brought back, bring them back instead: "+
						"what only they have is lost otherwise.\n", members)
				answer, err := question(cmd, in, "Is the majority gone for good? Type yes: ")
				if err != nil {
					return err
				}
				if answer != "yes" {
					return errNotConfirmed
				}
			}
			if confirm == "" {
				if confirm, err = question(cmd, in,
					fmt.Sprintf("Type the name of the node that goes on alone (%s): ", owner.Name)); err != nil {
					return err
				}
			}
			if confirm != owner.Name || confirm == "" {
				return fmt.Errorf("%w: %s holds the node %s, not %q", errNotConfirmed, dataDir, owner.Name, confirm)
			}
			logger, err := newLogger(os.Stderr, "warn")
			if err != nil {
				return err
			}
			made, err := node.Recover(dataDir, withoutLog, logger)
			if err != nil {
				return err
			}
			return showFounded(cmd, asJSON, dataDir, made)
		},
	}
	f := cmd.Flags()
	f.StringVar(&dataDir, "data-dir", "./aptly-data", "data folder of the node that goes on; env APTLYD_DATA_DIR")
	f.BoolVar(&lost, "quorum-is-lost", false, "the majority of the nodes is gone for good")
	f.StringVar(&confirm, "confirm", "", "name of the node")
	f.BoolVar(&withoutLog, "without-log", false,
		"use the state alone, when the log is damaged: the last moments are lost, too")
	f.BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func newRebuild() *cobra.Command {
	var dataDir string
	var yes, asJSON bool
	cmd := &cobra.Command{
		Use:   "rebuild",
		Short: "Let a damaged node come back as a new one that gets everything from the others",
		Long: `Empty the data folder of a node, which must not run. At its next start, with the same
command line, it joins as a new node, receives everything from the others and takes its
old place when they have not heard of the old one for 30 s. Do it only while a
majority of the others lives. What the folder held is kept beside.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := fillFlags(cmd.Flags(), ""); err != nil {
				return err
			}
			// A folder too damaged to tell its owner can be rebuilt as well.
			owner, err := node.Inspect(dataDir)
			if errors.Is(err, node.ErrInUse) {
				return err
			}
			if err == nil && len(owner.Members) == 1 {
				return fmt.Errorf("%s is the only node of its cluster: there is nobody to rebuild it from", owner.Name)
			}
			if !yes {
				answer, err := question(cmd, bufio.NewReader(cmd.InOrStdin()),
					fmt.Sprintf("The node in %s forgets everything and gets it from the others. Type yes: ", dataDir))
				if err != nil {
					return err
				}
				if answer != "yes" {
					return errNotConfirmed
				}
			}
			replaced, err := node.Rebuild(dataDir)
			if err != nil {
				return err
			}
			return show(cmd, asJSON, map[string]string{"replaced": replaced}, func(p *printer) {
				p.line("%s is empty; start the node as always", dataDir)
				showReplaced(p, replaced)
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&dataDir, "data-dir", "./aptly-data", "data folder of the node; env APTLYD_DATA_DIR")
	f.BoolVar(&yes, "yes", false, "do not ask")
	f.BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}
