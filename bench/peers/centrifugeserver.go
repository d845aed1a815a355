package main

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/centrifugal/centrifuge"
)

const (
	centrifugeRole = "serve-centrifuge"
	centrifugePath = "/connection/websocket"
)

// centrifugeConfig is one server with the memory engine. With History it keeps as
// many messages of a channel, and subscribers recover. With Members subscribers are
// members, who are told of each other.
type centrifugeConfig struct {
	Token   string
	History int
	Members bool
}

// centrifugeReady is where it serves, as host:port.
type centrifugeReady struct{ WebSocket string }

func serveCentrifuge(config []byte) error {
	var c centrifugeConfig
	if err := json.Unmarshal(config, &c); err != nil {
		return fmt.Errorf("decode configuration: %w", err)
	}
	node, err := centrifuge.New(centrifuge.Config{})
	if err != nil {
		return fmt.Errorf("make node: %w", err)
	}
	node.OnConnecting(func(_ context.Context, e centrifuge.ConnectEvent) (centrifuge.ConnectReply, error) {
		if subtle.ConstantTimeCompare([]byte(e.Token), []byte(c.Token)) == 0 {
			return centrifuge.ConnectReply{}, centrifuge.DisconnectInvalidToken
		}
		user := "bench"
		if c.Members {
			user = e.Name
		}
		return centrifuge.ConnectReply{Credentials: &centrifuge.Credentials{UserID: user}}, nil
	})
	node.OnConnect(func(client *centrifuge.Client) {
		client.OnSubscribe(func(_ centrifuge.SubscribeEvent, done centrifuge.SubscribeCallback) {
			done(centrifuge.SubscribeReply{Options: centrifuge.SubscribeOptions{
				EnableRecovery: c.History > 0,
				EmitPresence:   c.Members, EmitJoinLeave: c.Members, PushJoinLeave: c.Members,
			}}, nil)
		})
		client.OnPublish(func(_ centrifuge.PublishEvent, done centrifuge.PublishCallback) {
			reply := centrifuge.PublishReply{}
			if c.History > 0 {
				reply.Options.HistorySize, reply.Options.HistoryTTL = c.History, time.Hour
			}
			done(reply, nil)
		})
	})
	if err := node.Run(); err != nil {
		return fmt.Errorf("run node: %w", err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle(centrifugePath, centrifuge.NewWebsocketHandler(node, centrifuge.WebsocketConfig{}))
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	left := make(chan error, 1)
	go func() { left <- announce(centrifugeReady{WebSocket: listener.Addr().String()}) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serve: %w", err)
	case err := <-left:
		return err
	}
}
