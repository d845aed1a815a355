package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/aptlyd/aptlyd/bench"
)

const (
	jetStreamNodes = 3
	jetStreamName  = "BENCH"
)

func newSecret() string { return rand.Text() }

// startJetStream starts three nats-servers with a stream of three replicas in
// files, for all channels of a load, spoken to over TCP. The program is a build of this
// one, empty for itself.
func startJetStream(
	ctx context.Context, program string, always bool,
) (target bench.Target, stop func() error, err error) {
	dir, err := os.MkdirTemp("", "peers-jetstream-")
	if err != nil {
		return bench.Target{}, nil, fmt.Errorf("make folder: %w", err)
	}
	var children []*child
	stop = func() error {
		var errs []error
		for _, c := range children {
			errs = append(errs, c.stop())
		}
		return errors.Join(errors.Join(errs...), os.RemoveAll(dir))
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, stop())
		}
	}()
	ports, err := freePorts(jetStreamNodes)
	if err != nil {
		return bench.Target{}, nil, err
	}
	var routes []string
	for _, port := range ports {
		routes = append(routes, fmt.Sprintf("nats-route://127.0.0.1:%d", port))
	}
	password := newSecret()
	var urls []string
	for i, port := range ports {
		name := fmt.Sprintf("n%d", i+1)
		var ready natsReady
		c, err := startChild(program, natsRole, natsConfig{
			Name:       name,
			Password:   password,
			StoreDir:   filepath.Join(dir, name),
			SyncAlways: always,
			Cluster:    port,
			Routes:     routes,
		}, &ready)
		if err != nil {
			return bench.Target{}, nil, err
		}
		children = append(children, c)
		target.Servers = append(target.Servers, "tcp://"+ready.Client)
		target.PIDs = append(target.PIDs, c.pid())
		urls = append(urls, "nats://"+ready.Client)
	}
	target.Protocol = &natsProtocol{password: password, stream: jetStreamName, run: mathrand.Uint32()}
	if err := makeStream(ctx, urls[0], password); err != nil {
		return bench.Target{}, nil, fmt.Errorf("make stream: %w", err)
	}
	return target, stop, nil
}

// makeStream makes the stream as soon as the cluster has a leader, and waits until
// the stream has one.
func makeStream(ctx context.Context, url, password string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	conn, err := nats.Connect(url, nats.UserInfo(natsUser, password))
	if err != nil {
		return err
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		return err
	}
	for {
		attempt, end := context.WithTimeout(ctx, 2*time.Second)
		stream, err := js.CreateStream(attempt, jetstream.StreamConfig{
			Name:     jetStreamName,
			Subjects: []string{"bench.>"},
			Storage:  jetstream.FileStorage,
			Replicas: jetStreamNodes,
		})
		var info *jetstream.StreamInfo
		if err == nil {
			info, err = stream.Info(attempt)
		}
		end()
		if err == nil && info.Cluster != nil && info.Cluster.Leader != "" && len(info.Cluster.Replicas) == jetStreamNodes-1 {
			return nil
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		}
	}
}
