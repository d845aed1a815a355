package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/pflag"

	"github.com/aptlyd/aptlyd/bench"
)

// target is the cluster to load: one that runs, or one to be started.
type target struct {
	servers    []string
	key        string
	adminToken string
	pids       []int
	spawn      int
	transport  string
	aptlyd     string
	json       bool
}

func (t *target) addFlags(flags *pflag.FlagSet) {
	flags.StringSliceVar(&t.servers, "server", nil, "WebSocket addresses of the nodes, comma-separated")
	flags.StringVar(&t.key, "key", "", `server key ("sk_…") of the project to use`)
	flags.StringVar(&t.adminToken, "admin-token", "", "the cluster's admin token, for --rule, presence, members and churn")
	flags.IntSliceVar(&t.pids, "pid", nil,
		"process ids of the nodes, comma-separated: their CPU time and memory are reported")
	flags.IntVar(&t.spawn, "spawn", 0, "start a cluster of so many nodes in a temporary folder instead of using --server")
	flags.StringVar(&t.aptlyd, "aptlyd", "", "aptlyd binary for --spawn (default: beside this program, then in PATH)")
	flags.StringVar(&t.transport, "transport", "ws",
		"how subscribers of fanout, latency, idle, storm and replay are served: ws, sse or poll")
	flags.BoolVar(&t.json, "json", false, "report as JSON")
}

// validate reports flags that do not go together.
func (t *target) validate() error {
	switch {
	case t.spawn < 0:
		return errors.New("--spawn: must not be negative")
	case t.spawn > 0 && (len(t.servers) > 0 || t.key != "" || t.adminToken != "" || len(t.pids) > 0):
		return errors.New("--spawn: not together with --server, --key, --admin-token or --pid")
	case t.spawn == 0 && t.aptlyd != "":
		return errors.New("--aptlyd: only with --spawn")
	case t.spawn == 0 && len(t.servers) == 0:
		return errors.New("--server or --spawn is needed")
	case t.spawn == 0 && t.key == "":
		return errors.New("--key: is needed with --server")
	}
	return nil
}

// startTimeout bounds the time until a started cluster is ready.
const startTimeout = time.Minute

// open makes the target ready for load. The caller must call done.
func (t *target) open(ctx context.Context) (ready bench.Target, done func() error, err error) {
	if t.spawn == 0 {
		given := bench.Target{Servers: t.servers, Key: t.key, AdminToken: t.adminToken, PIDs: t.pids, Transport: t.transport}
		return given, func() error { return nil }, nil
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	cluster, err := bench.Spawn(ctx, bench.SpawnOptions{Nodes: t.spawn, Binary: t.aptlyd})
	if err != nil {
		return bench.Target{}, nil, fmt.Errorf("start cluster: %w", err)
	}
	ready = cluster.Target()
	ready.Transport = t.transport
	return ready, cluster.Close, nil
}
