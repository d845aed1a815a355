package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"github.com/aptlyd/aptlyd/internal/sdnotify"
	"github.com/aptlyd/aptlyd/node"
)

// stopTimeout bounds the time from the request to stop to the end, drained or not.
const stopTimeout = 15 * time.Second

func newServe() *cobra.Command {
	cfg := node.DefaultConfig()
	var configPath, logLevel string
	var proxies []string
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run a node",
		Long: `Run a node. With no flag at all it is a complete single node: on its first start it
makes a project "default" and prints its keys, the admin token and the console's
address, once.

Each flag is also an environment variable (--peer-listen is APTLYD_PEER_LISTEN) and a
key in the YAML file of --config. A flag wins over the environment, the environment
over the file.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !cmd.Flags().Changed("config") {
				configPath = os.Getenv(envName("config"))
			}
			if err := fillFlags(cmd.Flags(), configPath); err != nil {
				return err
			}
			logger, err := newLogger(os.Stderr, logLevel)
			if err != nil {
				return misuse{err}
			}
			cfg.Logger = logger
			for _, name := range unknownVariables(cmd.Root()) {
				logger.Warn("an environment variable is not a setting", "variable", name)
			}
			for _, text := range proxies {
				prefix, err := netip.ParsePrefix(text)
				if err != nil {
					return misuse{fmt.Errorf("trusted-proxies: %q is no CIDR, such as 10.0.0.0/8", text)}
				}
				cfg.TrustedProxies = append(cfg.TrustedProxies, prefix)
			}
			return serve(cmd.Context(), cfg, cmd.OutOrStdout())
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&configPath, "config", "", "YAML file of these settings")
	f.StringVar(&cfg.NodeName, "node-name", cfg.NodeName, "what people call the node")
	f.StringVar(&cfg.DataDir, "data-dir", cfg.DataDir, "where the node keeps everything")
	f.StringVar(&cfg.Listen, "listen", cfg.Listen, "clients: WebSocket, REST, console, admin API, metrics")
	f.StringVar(&cfg.AdminListen, "admin-listen", cfg.AdminListen,
		"console, admin API and metrics on a port of their own; health is on both (default: on that of --listen)")
	f.StringVar(&cfg.PeerListen, "peer-listen", cfg.PeerListen,
		"Raft and forwarding between nodes; loopback only without --cluster-secret")
	f.StringVar(&cfg.GossipListen, "gossip-listen", cfg.GossipListen,
		"membership gossip, TCP and UDP; loopback only without --cluster-secret")
	f.StringVar(&cfg.Advertise, "advertise", cfg.Advertise,
		"host at which the other nodes reach this one (default: the address from which "+
			"--join is reached, else the first private one)")
	f.StringSliceVar(&cfg.Join, "join", cfg.Join,
		"gossip addresses of any nodes, separated by commas; may name the node itself")
	f.IntVar(&cfg.BootstrapExpect, "bootstrap-expect", cfg.BootstrapExpect,
		"how many nodes form the cluster the first time (0: as many as --join names, 5 at most); ignored ever after")
	f.Var(secretList{&cfg.ClusterSecrets}, "cluster-secret",
		"shared secret of the nodes (openssl rand -hex 32); of several, separated by commas, "+
			"the first is used and all are accepted")
	f.BoolVar(&cfg.NewKeyring, "new-keyring", cfg.NewKeyring,
		"where the cluster secret that sealed the signing secrets is lost: start without them")
	f.StringVar(&cfg.AdminToken, "admin-token", cfg.AdminToken,
		"the cluster's first admin token, or another of its owners (default: made by the node that bootstraps, printed once)")
	f.StringVar(&cfg.BootstrapPublicKey, "bootstrap-public-key", cfg.BootstrapPublicKey,
		`preset public key of project "default"; one of the hosted service will do`)
	f.StringVar(&cfg.BootstrapServerKey, "bootstrap-server-key", cfg.BootstrapServerKey,
		`preset server key of project "default"; one of the hosted service will do`)
	f.StringVar(&cfg.TLSCert, "tls-cert", cfg.TLSCert,
		"PEM file of the certificate to serve clients with, with its chain; read again when it changes")
	f.StringVar(&cfg.TLSKey, "tls-key", cfg.TLSKey, "PEM file of its key")
	f.StringVar(&cfg.PublicURL, "public-url", cfg.PublicURL,
		"how clients reach this node (wss://rt1.example.com); another node that drains sends its clients here")
	f.StringSliceVar(&proxies, "trusted-proxies", nil,
		"CIDRs, separated by commas, whose X-Forwarded-For says the client's address")
	f.StringSliceVar(&cfg.AllowedHosts, "allowed-hosts", cfg.AllowedHosts,
		"names, separated by commas, under which this node is reached (rt.example.com, rt.example.com:8443); "+
			"HTTP requests for others are refused (default: every name)")
	f.BoolVar(&cfg.ProxyProtocol, "proxy-protocol", cfg.ProxyProtocol,
		"connections of trusted proxies begin with a header of the PROXY protocol, "+
			"version 1 or 2, which says the client's address")
	f.StringVar(&logLevel, "log-level", "info", "debug, info, warn or error")
	f.IntVar(&cfg.MetricsProjects, "metrics-projects", cfg.MetricsProjects,
		"projects with metrics of their own; all others are counted together as \"other\" (0: none)")
	f.DurationVar(&cfg.PublishTimeout, "publish-timeout", cfg.PublishTimeout, "an unanswered publish is given up after it")
	f.Uint64Var(&cfg.DiskReserve, "disk-reserve", cfg.DiskReserve, "bytes; with less free space publishes are refused")
	f.DurationVar(&cfg.DrainTimeout, "drain-timeout", cfg.DrainTimeout, "for closing clients when told to stop")
	addLimitFlags(f, &cfg)
	return cmd
}

// addLimitFlags adds a flag for every limit that clients can meet.
func addLimitFlags(f *pflag.FlagSet, cfg *node.Config) {
	l := &cfg.Limits
	f.StringVar(&cfg.Poller, "poller", cfg.Poller, `how sockets are watched: "epoll" (Linux) or "portable"`)
	f.IntVar(&l.MaxMessageBytes, "max-message-bytes", l.MaxMessageBytes, "payload of one message, at most 1 MiB")
	f.IntVar(&l.MaxChannels, "max-channels", l.MaxChannels, "channels per connection")
	f.IntVar(&l.MaxSubscriptions, "max-subscriptions", l.MaxSubscriptions,
		"subscriptions of all connections (0: as many as fit in a quarter of the memory)")
	f.IntVar(&l.MaxConnections, "max-connections", l.MaxConnections,
		"client connections (0: descriptor limit less what the node itself needs)")
	f.IntVar(&l.MaxHandshakes, "max-handshakes", l.MaxHandshakes,
		"clients whose first request is not complete; more wait to be accepted (epoll)")
	f.IntVar(&l.MaxAddressHandshakes, "max-address-handshakes", l.MaxAddressHandshakes,
		"of those from one address, but for trusted proxies; more are turned away (epoll)")
	f.IntVar(&l.MaxAddressUnauthenticated, "max-address-unauthenticated", l.MaxAddressUnauthenticated,
		"sockets of one address whose clients have not authenticated, but for trusted proxies; "+
			"at most a quarter of max-connections")
	f.IntVar(&l.MaxDepth, "max-json-depth", l.MaxDepth, "nesting of JSON in frames and bodies")
	f.IntVar(&l.MaxBatchBytes, "max-batch-bytes", l.MaxBatchBytes, "body of a REST batch")
	f.IntVar(&l.MaxHandshakeBytes, "max-handshake-bytes", l.MaxHandshakeBytes, "HTTP header of a request")
	f.IntVar(&l.MaxPublishes, "max-publishes", l.MaxPublishes,
		"unanswered publishes of a connection; with more it is not read")
	f.IntVar(&l.MaxPublishBytes, "max-publish-bytes", l.MaxPublishBytes, "payload of those")
	f.IntVar(&l.SendBufferBytes, "send-buffer-bytes", l.SendBufferBytes, "kernel's send buffer of a connection")
	f.IntVar(&l.CommitBacklogBytes, "commit-backlog-bytes", l.CommitBacklogBytes,
		"memory of what may wait for an event loop; with more its subscribers read the log")
	f.IntVar(&l.FailedAuthBurst, "failed-auth-burst", l.FailedAuthBurst,
		"failed authentications of an address or key at once")
	f.IntVar(&l.FailedAuthRate, "failed-auth-rate", l.FailedAuthRate, "and so many more each second")
	f.IntVar(&l.ConnectionPublish, "connection-publish-rate", l.ConnectionPublish,
		"messages a second of a connection without a server key; 0, here and below: no bound")
	f.IntVar(&l.ConnectionSubscribe, "connection-subscribe-rate", l.ConnectionSubscribe,
		"subscribes a second of such a connection")
	f.IntVar(&l.ConnectionControl, "connection-control-rate", l.ConnectionControl,
		"frames a second of such a connection that ask for nothing (heartbeats, pings, unsubscribes); "+
			"with more it is read more slowly")
	f.IntVar(&l.ConnectionRefusal, "connection-refusal-rate", l.ConnectionRefusal,
		"frames a second of such a connection that are refused; with more it is closed with 1008")
	f.IntVar(&l.MaxHistoryReads, "max-history-reads", l.MaxHistoryReads,
		"answers with history under way; each takes 64 KiB or a message")
	f.IntVar(&l.MaxKeyHistoryReads, "max-key-history-reads", l.MaxKeyHistoryReads, "of those with one key")
	f.IntVar(&l.MaxAddressHistoryReads, "max-address-history-reads", l.MaxAddressHistoryReads,
		"of those from one address, but for server keys")
	f.IntVar(&l.MaxBodyBytes, "max-body-bytes", l.MaxBodyBytes, "bytes of bodies with publishes under way over HTTP")
	f.IntVar(&l.MaxAddressBodyBytes, "max-address-body-bytes", l.MaxAddressBodyBytes,
		"of those from one address, but for server keys")
	f.IntVar(&l.NodeHistory, "history-rate", l.NodeHistory, "bytes of history a second that are read without a server key")
	f.IntVar(&l.AddressHistory, "address-history-rate", l.AddressHistory, "of those from one address")
	f.IntVar(&l.KeyConnect, "key-connect-rate", l.KeyConnect, "connections a second with one key, on this node")
	f.IntVar(&l.KeyPublish, "key-publish-rate", l.KeyPublish, "messages a second with one key, on this node")
	f.IntVar(&l.KeySubscribe, "key-subscribe-rate", l.KeySubscribe, "subscribes a second with one key, on this node")
	f.IntVar(&l.AddressConnect, "address-connect-rate", l.AddressConnect,
		"connections a second from one address, but for server keys")
	f.IntVar(&l.AddressPublish, "address-publish-rate", l.AddressPublish,
		"messages a second from one address, but for server keys")
	f.IntVar(&l.AddressSubscribe, "address-subscribe-rate", l.AddressSubscribe,
		"subscribes a second from one address, but for server keys")
	f.IntVar(&l.AddressHandshake, "address-handshake-rate", l.AddressHandshake,
		"TLS connections a second from one address, but for trusted proxies; five seconds' worth may come at once")
	f.DurationVar(&l.AuthTimeout, "auth-timeout", l.AuthTimeout, "from connect to a complete auth frame")
	f.DurationVar(&l.HandshakeTimeout, "handshake-timeout", l.HandshakeTimeout, "for the HTTP header of a request")
	f.DurationVar(&l.BodyTimeout, "body-timeout", l.BodyTimeout,
		"a request's body that brings nothing for so long, or less than 1 KiB a second, is given up")
	f.DurationVar(&l.KeepAliveTimeout, "keep-alive-timeout", l.KeepAliveTimeout,
		"for the next request on a connection; longer than that of the load balancer")
	f.DurationVar(&l.FrameTimeout, "frame-timeout", l.FrameTimeout, "for the rest of a frame once it has begun")
	f.DurationVar(&l.Heartbeat, "heartbeat", l.Heartbeat, "between heartbeat frames to a client")
	f.DurationVar(&l.PingAfter, "ping-after", l.PingAfter, "silence after which a client is pinged")
	f.DurationVar(&l.SilenceTimeout, "silence-timeout", l.SilenceTimeout, "silence after which a client is closed")
	f.DurationVar(&l.CloseGrace, "close-grace", l.CloseGrace, "for a client to close after it was told to")
	f.DurationVar(&l.DrainSpread, "drain-spread", l.DrainSpread, "over which a draining node has its clients leave")
	f.DurationVar(&l.DrainLinger, "drain-linger", l.DrainLinger,
		"in which a draining node still takes clients, until balancers have seen that it is not ready")
	f.DurationVar(&l.UpgradeHold, "upgrade-hold", l.UpgradeHold,
		"for which a client that comes while the node starts waits rather than being refused")
	f.DurationVar(&l.RequestTimeout, "request-timeout", l.RequestTimeout,
		"for what a client's request needs of the cluster")
	f.DurationVar(&l.URLTokenMax, "url-token-max", l.URLTokenMax,
		"how long a token may still be good for that comes in a URL, which servers on the way may log")
	f.DurationVar(&l.UnauthenticatedIdle, "unauthenticated-idle", l.UnauthenticatedIdle,
		"how long an HTTP connection may bring nothing whose client has not authenticated")
	f.DurationVar(&l.HistoryTimeout, "history-timeout", l.HistoryTimeout,
		"an answer with history of which nothing is taken for so long is cut")
	f.DurationVar(&l.OverloadAfter, "overload-after", l.OverloadAfter,
		"how late an event loop is when new clients are refused with rate_limited")
	f.DurationVar(&l.StallTimeout, "stall-timeout", l.StallTimeout, "a socket that takes no byte for so long is closed")
}

// newLogger writes text to a terminal and JSON to anything else.
func newLogger(w *os.File, level string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, fmt.Errorf("log-level: %q is none of debug, info, warn, error", level)
	}
	options := &slog.HandlerOptions{Level: l}
	if term.IsTerminal(int(w.Fd())) {
		return slog.New(slog.NewTextHandler(w, options)), nil
	}
	return slog.New(slog.NewJSONHandler(w, options)), nil
}

// serve runs a node until a signal stops it. The first SIGTERM or SIGINT drains, a second
// one ends the process at once.
func serve(ctx context.Context, cfg node.Config, out io.Writer) error {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	defer signal.Stop(signals)

	n, err := start(cfg, signals)
	if n == nil {
		return err
	}
	told, cancel := context.WithCancel(ctx)
	defer cancel()
	systemd := supervisor{cfg.Logger, n}
	go systemd.keepTold(told)
	ready := make(chan error, 1)
	go func() { ready <- n.Ready(ctx) }()
	for {
		select {
		case err := <-ready:
			if err != nil {
				return errors.Join(err, n.Close())
			}
			if creds, first := n.Credentials(); first {
				err := printWelcome(out, creds, consoleURL(n.AdminAddr(), cfg.TLSCert != ""))
				if err == nil {
					err = n.CredentialsShown()
				}
				if err != nil {
					cfg.Logger.Warn("the first credentials stay in the data folder and are shown again at the next start", "err", err)
				}
			}
			systemd.tell(sdnotify.Ready, sdnotify.Status(systemd.status()))
			ready = nil
		case s := <-signals:
			cfg.Logger.Info("stopping", "signal", s.String())
			systemd.tell(sdnotify.Stopping, sdnotify.Status("leading clients elsewhere"))
			go func() {
				select {
				case <-signals:
				case <-time.After(stopTimeout):
					cfg.Logger.Warn("stopping took too long")
				}
				os.Exit(exitFailed)
			}()
			if err := n.Drain(ctx); err != nil {
				cfg.Logger.Warn("not everything could be drained", "err", err)
			}
			cancel()
			return n.Close()
		}
	}
}

// start starts a node. It returns nil if the node was stopped first, since a start can wait
// for names that DNS does not know yet.
func start(cfg node.Config, signals <-chan os.Signal) (*node.Node, error) {
	type result struct {
		node *node.Node
		err  error
	}
	started := make(chan result, 1)
	go func() {
		n, err := node.Start(cfg)
		started <- result{n, err}
	}()
	select {
	case r := <-started:
		return r.node, r.err
	case s := <-signals:
		cfg.Logger.Info("stopping before the node had started", "signal", s.String())
		return nil, nil //nolint:nilnil // nothing runs and nothing is wrong; the process ends
	}
}

// consoleURL returns the URL at which this machine reaches the console.
func consoleURL(addr net.Addr, encrypted bool) string {
	scheme := "http://"
	if encrypted {
		scheme = "https://"
	}
	host, port, err := net.SplitHostPort(addr.String())
	if err != nil {
		return scheme + addr.String() + "/console/"
	}
	if ip := net.ParseIP(host); ip == nil || ip.IsUnspecified() {
		host = "localhost"
	}
	return scheme + net.JoinHostPort(host, port) + "/console/"
}

// printWelcome shows the first credentials, which are never shown again after a success.
func printWelcome(w io.Writer, c node.Credentials, console string) error {
	var b strings.Builder
	fmt.Fprintf(&b, "\nA new cluster. These secrets are shown once, so keep them:\n\n")
	fmt.Fprintf(&b, "  public key      %s\n", c.PublicKey)
	fmt.Fprintf(&b, "  server key      %s\n", c.ServerKey)
	fmt.Fprintf(&b, "  signing secret  %s\n", c.SigningSecret)
	if c.KeyID != "" {
		fmt.Fprintf(&b, "  its key id      %s\n", c.KeyID)
	}
	if c.AdminToken != "" {
		fmt.Fprintf(&b, "  admin token     %s\n", c.AdminToken)
	}
	fmt.Fprintf(&b, "  console         %s\n\n", console)
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("show first credentials: %w", err)
	}
	return nil
}
