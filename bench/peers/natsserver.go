package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

const natsRole = "serve-nats"

// natsConfig is one nats-server. Without StoreDir it has no JetStream, without
// Routes it is alone.
type natsConfig struct {
	Name       string
	Password   string
	StoreDir   string
	SyncAlways bool // sync_interval: always
	Cluster    int  // port of its routes
	Routes     []string
}

// natsReady is where a nats-server serves, as host:port.
type natsReady struct{ Client, WebSocket string }

const natsUser = "bench"

func serveNATS(config []byte) error {
	var c natsConfig
	if err := json.Unmarshal(config, &c); err != nil {
		return fmt.Errorf("decode configuration: %w", err)
	}
	const host = "127.0.0.1"
	options := &server.Options{
		ServerName: c.Name,
		Host:       host,
		Port:       server.RANDOM_PORT,
		Username:   natsUser,
		Password:   c.Password,
		NoLog:      true,
		NoSigs:     true,
		Websocket:  server.WebsocketOpts{Host: host, Port: server.RANDOM_PORT, NoTLS: true},
		JetStream:  c.StoreDir != "",
		StoreDir:   c.StoreDir,
		SyncAlways: c.SyncAlways,
	}
	if len(c.Routes) > 0 {
		options.Cluster = server.ClusterOpts{Name: "bench", Host: host, Port: c.Cluster}
		options.Routes = server.RoutesFromStr(strings.Join(c.Routes, ","))
	}
	s, err := server.NewServer(options)
	if err != nil {
		return fmt.Errorf("make nats-server: %w", err)
	}
	s.Start()
	defer s.Shutdown()
	const patience = 20 * time.Second
	if !s.ReadyForConnections(patience) {
		return errors.New("nats-server is not ready in time")
	}
	return announce(natsReady{Client: s.Addr().String(), WebSocket: strings.TrimPrefix(s.WebsocketURL(), "ws://")})
}
