package node

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"

	"github.com/aptlyd/aptlyd/cluster"
	"github.com/aptlyd/aptlyd/fsm"
	"github.com/aptlyd/aptlyd/gateway"
	"github.com/aptlyd/aptlyd/gateway/auth"
	"github.com/aptlyd/aptlyd/gateway/certificate"
)

// Config holds the settings of one node. DefaultConfig has the defaults.
type Config struct {
	NodeName     string // name for people; default: host name
	DataDir      string // created 0700
	Listen       string // clients: WebSocket, REST, console, admin API, metrics
	AdminListen  string // operators: console, admin API, metrics; empty for the clients' port
	PeerListen   string // Raft and forwarding between nodes, TCP
	GossipListen string // memberlist, TCP and UDP

	Advertise       string   // host at which the other nodes reach this one; Start chooses if empty
	Join            []string // gossip addresses of any nodes, "host:port"
	BootstrapExpect int      // nodes that form the cluster the first time; 0: as many as Join names
	ClusterSecrets  []string // shared by the nodes of a cluster: the first is used, all are accepted

	// NewKeyring begins a new keyring if none of the cluster secrets opens the present one.
	// All tokens signed until then become invalid.
	NewKeyring bool

	AdminToken         string // of the cluster; the node that bootstraps makes one if empty
	BootstrapPublicKey string // preset keys of project "default"
	BootstrapServerKey string

	// PublicURL is this node's address for clients, "wss://…". A node that drains tells its
	// clients those of the others. May be empty.
	PublicURL string

	TLSCert string // PEM file of the certificate for clients; requires TLSKey
	TLSKey  string // PEM file of its key

	Poller         string // "epoll" or "portable"
	TrustedProxies []netip.Prefix
	ProxyProtocol  bool     // of TrustedProxies, which say with it for whom they speak
	AllowedHosts   []string // names of the node; with none it answers for every name
	Limits         gateway.Limits
	// MetricsProjects bounds the projects with metrics of their own; the others share some.
	MetricsProjects int
	DiskReserve     uint64        // bytes; publishes are refused with less free space
	PublishTimeout  time.Duration // after this time an unanswered publish is given up
	DrainTimeout    time.Duration // from the stop request until the last client is closed

	Logger *slog.Logger
	// Exit ends the process if the node must not go on; default os.Exit.
	Exit func(code int)
}

// DefaultConfig returns the configuration of a complete single node.
func DefaultConfig() Config {
	name, err := os.Hostname()
	if err != nil {
		name = "aptlyd"
	}
	return Config{
		NodeName:        name,
		DataDir:         "./aptly-data",
		Listen:          ":8080",
		PeerListen:      ":7400",
		GossipListen:    ":7401",
		BootstrapExpect: 1,
		MetricsProjects: 100,
		Limits:          gateway.DefaultLimits(),
		DiskReserve:     256 << 20,
		PublishTimeout:  10 * time.Second,
		DrainTimeout:    13 * time.Second,
		Logger:          slog.Default(),
		Exit:            os.Exit,
	}
}

// ConfigError names the setting that keeps a node from starting.
type ConfigError struct {
	Setting string // as on the command line, without dashes
	Reason  string
}

func (e *ConfigError) Error() string { return e.Setting + ": " + e.Reason }

// Validate checks the settings against each other. Without a cluster secret it narrows the
// ports between nodes to loopback. It turns a BootstrapExpect of 0 into what that stands for.
// Its errors are *ConfigError.
func (c *Config) Validate() error {
	if c.NodeName == "" || len(c.NodeName) > 63 || !utf8.ValidString(c.NodeName) {
		return &ConfigError{"node-name", "must have 1 to 63 bytes of UTF-8"}
	}
	if strings.ContainsFunc(c.NodeName, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		return &ConfigError{"node-name", "must not contain spaces or control characters"}
	}
	if c.DataDir == "" {
		return &ConfigError{"data-dir", "must not be empty"}
	}
	if c.BootstrapExpect < 0 {
		return &ConfigError{"bootstrap-expect", "must be at least 0"}
	}
	if c.BootstrapExpect == 0 {
		named := slices.Clone(c.Join)
		slices.Sort(named)
		c.BootstrapExpect = min(max(len(slices.Compact(named)), 1), cluster.MaxVoters)
	}
	if slices.ContainsFunc(c.ClusterSecrets, isGuessable) {
		return &ConfigError{
			"cluster-secret",
			`must have at least 16 characters each, 8 of them different: make one with "openssl rand -hex 32"`,
		}
	}
	if c.MetricsProjects < 0 {
		return &ConfigError{"metrics-projects", "must be 0 or more"}
	}
	if c.PublishTimeout <= 0 {
		return &ConfigError{"publish-timeout", "must be longer than 0"}
	}
	if err := c.setPublicURL(); err != nil {
		return &ConfigError{"public-url", err.Error()}
	}
	if err := gateway.CheckHosts(c.AllowedHosts); err != nil {
		return asSetting(err)
	}
	if c.DrainTimeout <= 0 {
		return &ConfigError{"drain-timeout", "must be longer than 0"}
	}
	if _, _, err := net.SplitHostPort(c.Listen); err != nil {
		return &ConfigError{"listen", err.Error()}
	}
	if _, _, err := net.SplitHostPort(c.AdminListen); c.AdminListen != "" && err != nil {
		return &ConfigError{"admin-listen", err.Error()}
	}
	for _, peer := range []struct {
		setting string
		addr    *string
	}{{"peer-listen", &c.PeerListen}, {"gossip-listen", &c.GossipListen}} {
		host, port, err := net.SplitHostPort(*peer.addr)
		if err != nil {
			return &ConfigError{peer.setting, err.Error()}
		}
		if len(c.ClusterSecrets) > 0 {
			continue
		}
		if host == "" {
			*peer.addr = net.JoinHostPort("127.0.0.1", port)
		} else if !isLoopback(host) {
			return &ConfigError{peer.setting, "an address other than loopback needs --cluster-secret"}
		}
	}
	for _, addr := range c.Join {
		host, _, err := net.SplitHostPort(addr)
		if err != nil {
			return &ConfigError{"join", fmt.Sprintf("%q: %v", addr, err)}
		}
		if len(c.ClusterSecrets) == 0 && !isLoopback(host) {
			return &ConfigError{"join", fmt.Sprintf("%s is not loopback: nodes on different hosts need --cluster-secret", addr)}
		}
	}
	if c.Advertise != "" && len(c.ClusterSecrets) == 0 && !isLoopback(c.Advertise) {
		return &ConfigError{"advertise", "an address other than loopback needs --cluster-secret"}
	}
	for _, preset := range []struct {
		setting, text string
		kind          fsm.KeyKind
	}{
		{"bootstrap-public-key", c.BootstrapPublicKey, fsm.PublicKey},
		{"bootstrap-server-key", c.BootstrapServerKey, fsm.ServerKey},
	} {
		if preset.text == "" {
			continue
		}
		if _, err := auth.ImportKeyText(preset.kind, preset.text); err != nil {
			return &ConfigError{preset.setting, "is " + err.Error()}
		}
	}
	if c.AdminToken != "" && len(c.AdminToken) < 16 {
		return &ConfigError{"admin-token", "must have at least 16 characters"}
	}
	switch {
	case c.ProxyProtocol && len(c.TrustedProxies) == 0:
		return &ConfigError{"proxy-protocol", "needs --trusted-proxies: it says who may speak for others"}
	case c.TLSCert != "" && c.TLSKey == "":
		return &ConfigError{"tls-key", "must be given with --tls-cert"}
	case c.TLSKey != "" && c.TLSCert == "":
		return &ConfigError{"tls-cert", "must be given with --tls-key"}
	}
	return asSetting(c.Limits.Validate())
}

// asSetting turns an error that names a setting of the gateway into a *ConfigError.
func asSetting(err error) error {
	if wrong, ok := errors.AsType[*gateway.SettingError](err); ok {
		return &ConfigError{wrong.Setting, wrong.Reason}
	}
	return err
}

// isGuessable reports whether a cluster secret is too weak. A holder of a copy of the
// state, or of gossip, can try secrets at full speed.
func isGuessable(secret string) bool {
	const shortest, different = 16, 8
	seen := make(map[rune]struct{})
	for _, r := range secret {
		seen[r] = struct{}{}
	}
	return len(secret) < shortest || len(seen) < different
}

// clientTLS returns the TLS configuration for clients, nil for plain TCP.
func (c *Config) clientTLS(log *slog.Logger) (*tls.Config, error) {
	if c.TLSCert == "" {
		return nil, nil
	}
	cert, err := certificate.Load(c.TLSCert, c.TLSKey, log)
	var unreadable *fs.PathError
	switch {
	case errors.As(err, &unreadable) && unreadable.Path == c.TLSKey:
		return nil, &ConfigError{"tls-key", err.Error()}
	case err != nil:
		return nil, &ConfigError{"tls-cert", err.Error()}
	}
	return cert.TLS(), nil
}

func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// prepareDataDir makes the data folder. It closes a folder of this user that is open to
// others, as the kubelet leaves it for a pod's fsGroup. It refuses an open folder of
// another user.
func prepareDataDir(dir string, log *slog.Logger) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return &ConfigError{"data-dir", err.Error()}
	}
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("look at data folder: %w", err)
	}
	if !info.IsDir() {
		return &ConfigError{"data-dir", dir + " is not a directory"}
	}
	mode := info.Mode().Perm()
	if mode&0o077 == 0 {
		return nil
	}
	if !ownedBySelf(info) {
		return &ConfigError{
			"data-dir",
			fmt.Sprintf("%s is open to other users (mode %o) and not this user's own; have its owner run chmod 700 on it", dir,
				mode),
		}
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return &ConfigError{
			"data-dir",
			fmt.Sprintf("%s is open to other users (mode %o) and cannot be closed: %v", dir, mode, err),
		}
	}
	log.Warn("the data folder was open to other users and is closed again", "dir", dir, "mode", fmt.Sprintf("%o", mode))
	return nil
}

func ownedBySelf(info os.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && int64(stat.Uid) == int64(os.Geteuid())
}
