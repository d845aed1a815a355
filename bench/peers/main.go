// Command peers puts the very same load on aptlyd and on brokers of its kind, one
// after the other in turns, and shows them side by side. Every server runs in
// processes of its own, so that its CPU time and memory can be told; the peers are
// libraries that this program serves when it is started as its own child.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

// roles are what this program is when it is its own child: a server, configured
// by the JSON in its second argument.
var roles = map[string]func(config []byte) error{
	natsRole:       serveNATS,
	centrifugeRole: serveCentrifuge,
}

func main() {
	syscall.Umask(0o077)
	if len(os.Args) == 3 {
		if serve, ok := roles[os.Args[1]]; ok {
			if err := serve([]byte(os.Args[2])); err != nil {
				fmt.Fprintln(os.Stderr, "peers:", err)
				os.Exit(1)
			}
			return
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	err := compare(ctx, os.Args[1:])
	switch {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, "peers:", err)
		os.Exit(1)
	}
}

func compare(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("peers", flag.ContinueOnError)
	aptlyd := flags.String("aptlyd", "../../bin/aptlyd", "aptlyd binary")
	older := flags.String("older", "", "this program built with older.mod: its JetStream takes part too")
	names := flags.String("rows", "", "rows to run, comma-separated (default: all)")
	rounds := flags.Int("rounds", 3, "how often each is run; the table shows medians")
	duration := flags.Duration("duration", 5*time.Second, "how long each publishes")
	asJSON := flags.Bool("json", false, "report as JSON")
	flags.Usage = func() {
		fmt.Fprintln(flags.Output(), "Compare aptlyd with its peers. Rows:")
		for _, r := range rows("", "", 0) {
			fmt.Fprintf(flags.Output(), "  %-15s %s\n", r.Name, r.Title)
		}
		flags.PrintDefaults()
	}
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 || *rounds < 1 || *duration <= 0 {
		return errors.New("rounds and duration must be above 0, and there are no arguments")
	}
	chosen, err := choose(rows(*aptlyd, *older, *duration), *names)
	if err != nil {
		return err
	}
	results, err := runRows(ctx, chosen, *rounds, os.Stderr)
	if err != nil {
		return err
	}
	if *asJSON {
		encoder := json.NewEncoder(os.Stdout)
		encoder.SetIndent("", "  ")
		err = encoder.Encode(results)
	} else {
		err = writeTable(os.Stdout, results)
	}
	if err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}

// choose returns the rows that are named, in their usual order.
func choose(all []row, names string) ([]row, error) {
	if names == "" {
		return all, nil
	}
	wanted := make(map[string]bool)
	for name := range strings.SplitSeq(names, ",") {
		wanted[name] = true
	}
	var chosen []row
	for _, r := range all {
		if wanted[r.Name] {
			chosen = append(chosen, r)
			delete(wanted, r.Name)
		}
	}
	for name := range wanted {
		return nil, fmt.Errorf("rows: there is no %q", name)
	}
	return chosen, nil
}
