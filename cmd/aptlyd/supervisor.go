package main

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/aptlyd/aptlyd/internal/sdnotify"
	"github.com/aptlyd/aptlyd/node"
)

// statusInterval is how often the supervisor is told what the node is doing, if that has changed.
const statusInterval = 2 * time.Second

// supervisor is told how a node is: that of systemd, or none.
type supervisor struct {
	log  *slog.Logger
	node *node.Node
}

func (s supervisor) tell(states ...string) {
	if err := sdnotify.Notify(states...); err != nil {
		s.log.Warn("the supervisor is not told how this node is", "err", err)
	}
}

// keepTold gives signs of life, and says what the node is doing, until ctx ends.
func (s supervisor) keepTold(ctx context.Context) {
	if timeout := sdnotify.WatchdogTimeout(); timeout > 0 {
		go s.beat(ctx, timeout/3)
	}
	for said := ""; ; {
		if now := s.status(); now != said {
			said = now
			s.tell(sdnotify.Status(now))
		}
		select {
		case <-time.After(statusInterval):
		case <-ctx.Done():
			return
		}
	}
}

// status says in a line what the node is doing.
func (s supervisor) status() string {
	reason, _ := s.node.Obstacle()
	switch serving := s.node.Serving(); {
	case reason != "" && serving:
		return "refusing clients: " + reason
	case reason != "":
		return "waiting for the cluster: " + reason
	case serving:
		return "serving clients"
	}
	return "starting"
}

// beat gives a sign of life in each interval, as long as the node's own loops and its log answer.
func (s supervisor) beat(ctx context.Context, interval time.Duration) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		asking, cancel := context.WithTimeout(ctx, interval)
		err := s.node.Responsive(asking)
		cancel()
		switch {
		case err == nil:
			s.tell(sdnotify.Watchdog)
		case ctx.Err() == nil:
			s.log.Warn("no sign of life is given to the supervisor, which may end this process",
				"err", fmt.Errorf("within %v: %w", interval, err))
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}
