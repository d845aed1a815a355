package gateway

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/aptlyd/aptlyd/gateway/clientaddr"
	"github.com/aptlyd/aptlyd/gateway/poll"
	"github.com/aptlyd/aptlyd/internal/machine"
	"github.com/aptlyd/aptlyd/internal/strictjson"
)

// From a staleness of RefuseAfter on a node authenticates nobody, and from CloseAfter on it
// closes its clients. Because of them a revoked key is dead after ten seconds, whatever
// fails.
const (
	RefuseAfter = 6 * time.Second
	CloseAfter  = 9 * time.Second
)

// connectionLimit returns how many clients the process may hold.
func connectionLimit() int { return machine.DescriptorLimit() - spareDescriptors() }

// subscriptionLimit returns how many subscriptions fit in a quarter of the memory. A
// subscription to a channel with a long name of its own takes 700 bytes, and the runtime
// as much again until it collects.
func subscriptionLimit() int { return int(max(machine.MemoryLimit()/4/(2<<10), 10_000)) }

// spareDescriptors returns how many descriptors are kept for peers, the log and files.
// Half of them may serve clients that are turned away or speak plain HTTP. Where
// descriptors are few it is half of all.
func spareDescriptors() int { return min(512, machine.DescriptorLimit()/2) }

// Config says how a Server serves. Listener, Broker, Fatal and Logger are required.
type Config struct {
	Listener net.Listener // bound already; the Server closes it
	// AdminListener serves operators, who are then not served on Listener: metrics, admin
	// API and console. Health is on both. Nil serves all on Listener.
	AdminListener net.Listener
	Broker        Broker
	// Fatal is called, before Close, when nobody can be served any more. It may not return.
	Fatal   func(error)
	Logger  *slog.Logger
	Version string // shown in /metrics

	Console  http.Handler         // served at /console/; nil serves nothing there
	Registry *prometheus.Registry // takes the metrics, and is what /metrics shows; nil for neither
	// TLS encrypts the connections of clients; nil for none. Encrypted connections are
	// served by the portable poller, whichever serves the others.
	TLS *tls.Config
	// TrustedProxies may say in X-Forwarded-For whom they speak for.
	TrustedProxies []netip.Prefix
	// AllowedHosts are the names, maybe with a port, under which clients reach the node: it
	// answers for these, for addresses and for localhost. Empty for every name.
	AllowedHosts []string
	// ProxyProtocol has connections of TrustedProxies begin with a header of the PROXY
	// protocol.
	ProxyProtocol bool

	Poller  string // how sockets are watched: "epoll" (default on Linux) or "portable"
	Loops   int    // event loops; default one per core
	Workers int    // goroutines that read the log for all loops; default 16

	Limits
}

// Limits bound what a client may do and how long it may take. A zero value stands for
// the default, except in Rates.
type Limits struct {
	MaxMessageBytes   int // payload of a message; default 64 KiB, at most 1 MiB
	MaxBatchBytes     int // body of a REST batch; default 4 MiB
	MaxHandshakeBytes int // request line and headers; default 8 KiB
	MaxChannels       int // subscriptions of one connection; default 1,000
	// MaxSubscriptions bounds the subscriptions of all connections together. The default is what
	// fits in a quarter of the memory that the process may use, at 2 KiB each.
	MaxSubscriptions int
	MaxDepth         int // nesting of a payload; default 64, at most 512
	MaxConnections   int // default: the limit of open files less those of the node itself
	MaxHandshakes    int // clients whose first request is not complete; more wait to be accepted. Default 8,192
	// MaxAddressHandshakes bounds those of one address; more are turned away. A trusted
	// proxy is not bound by it. Default 1,024.
	MaxAddressHandshakes int
	// MaxAddressUnauthenticated bounds the open sockets of one address whose
	// clients have not authenticated. Trusted proxies are not bound. It is never more than
	// a quarter of MaxConnections. Default 1,024.
	MaxAddressUnauthenticated int
	// A connection with so many unanswered publishes, or so much payload in them,
	// is not read. Defaults 2,048 and 1 MiB.
	MaxPublishes    int
	MaxPublishBytes int
	SendBufferBytes int // kernel's send buffer of a connection; default 64 KiB
	// CommitBacklogBytes bounds the commits that wait for one event loop. Beyond
	// it a loop is only told how far channels reach, and reads the log. Default 16 MiB.
	CommitBacklogBytes int
	FailedAuthBurst    int // failed authentications per address and per key; default 50
	FailedAuthRate     int // and so many more each second; default 5

	Rates

	// ConnectionControl bounds the frames that ask for nothing (heartbeats, pings,
	// unsubscribes) of a connection in a second, ConnectionRefusal those that are
	// refused. Five seconds' worth may come at once, and one for each channel that
	// it may have. Defaults 200 and 100.
	ConnectionControl int
	ConnectionRefusal int
	// MaxHistoryReads bounds the answers with history that are under way, the others
	// those of one key, and of one address without a server key. Each holds 64 KiB
	// or a message. Defaults 512, 256 and 16.
	MaxHistoryReads        int
	MaxKeyHistoryReads     int
	MaxAddressHistoryReads int
	// NodeHistory bounds the bytes of history a second for all who have no server key,
	// AddressHistory those for one address. Five seconds' worth may be
	// read at once. Defaults 64 MiB and 8 MiB.
	NodeHistory    int
	AddressHistory int
	HistoryTimeout time.Duration // an answer of which nothing is taken for so long is cut; default 10 s

	// MaxBodyBytes bounds the bytes of bodies with publishes that are under way over HTTP,
	// MaxAddressBodyBytes those of one address without a server key. Defaults 256 MiB
	// and 16 MiB.
	MaxBodyBytes        int
	MaxAddressBodyBytes int

	// OverloadAfter is the lateness of an event loop from which on new clients and requests are
	// refused. Default 1 s.
	OverloadAfter time.Duration

	HandshakeTimeout time.Duration // default 5 s
	// BodyTimeout bounds how long the body of a request may bring nothing. Default 30 s.
	BodyTimeout time.Duration
	// KeepAliveTimeout bounds how long a connection may wait for its next request. It must
	// be longer than that of the proxy before, or requests get lost between the two;
	// Google's load balancers have 600 s. Default 620 s.
	KeepAliveTimeout time.Duration
	// UnauthenticatedIdle bounds how long such a socket may bring nothing over HTTP. Default 10 s.
	UnauthenticatedIdle time.Duration
	AuthTimeout         time.Duration // default 10 s
	FrameTimeout        time.Duration // arrival of one message; default 10 s
	Heartbeat           time.Duration // between heartbeats of the server; default 25 s
	PingAfter           time.Duration // silence after which a client is pinged; default 60 s
	SilenceTimeout      time.Duration // silence after which it is closed; default 90 s
	StallTimeout        time.Duration // a socket that takes nothing for so long is closed; default 30 s
	CloseGrace          time.Duration // for a client to close after it was told to; default 2 s
	DrainSpread         time.Duration // over which Drain has clients leave; default 10 s
	DrainLinger         time.Duration // in which clients are still taken after /readyz has turned; default 2 s
	UpgradeHold         time.Duration // for which a client waits for a node that starts; default 5 s
	RequestTimeout      time.Duration // of a request to the Broker; default 10 s
	// URLTokenMax is how long a token may be good for that comes in a URL, which servers on
	// the way may log. Default 1 h.
	URLTokenMax time.Duration
}

// DefaultLimits returns the limits of a node that sets none.
func DefaultLimits() Limits {
	return Limits{
		MaxMessageBytes:      64 << 10,
		MaxBatchBytes:        4 << 20,
		MaxHandshakeBytes:    8 << 10,
		MaxChannels:          1000,
		MaxSubscriptions:     subscriptionLimit(),
		MaxDepth:             64,
		MaxConnections:       connectionLimit(),
		MaxHandshakes:        8192,
		MaxAddressHandshakes: 1024,
		MaxPublishes:         2048,
		MaxPublishBytes:      1 << 20,
		SendBufferBytes:      64 << 10,
		CommitBacklogBytes:   16 << 20,
		FailedAuthBurst:      50,
		FailedAuthRate:       5,
		Rates:                Rates{ConnectionPublish: 200, ConnectionSubscribe: 500, AddressHandshake: 200},
		ConnectionControl:    200,
		ConnectionRefusal:    100,
		OverloadAfter:        time.Second,

		MaxAddressUnauthenticated: 1024,
		UnauthenticatedIdle:       10 * time.Second,
		MaxBodyBytes:              256 << 20,
		MaxAddressBodyBytes:       16 << 20,
		MaxHistoryReads:           512,
		MaxKeyHistoryReads:        256,
		MaxAddressHistoryReads:    16,
		NodeHistory:               64 << 20,
		AddressHistory:            8 << 20,
		HistoryTimeout:            10 * time.Second,

		HandshakeTimeout: 5 * time.Second,
		BodyTimeout:      30 * time.Second,
		KeepAliveTimeout: 620 * time.Second,
		AuthTimeout:      10 * time.Second,
		FrameTimeout:     10 * time.Second,
		Heartbeat:        25 * time.Second,
		PingAfter:        60 * time.Second,
		SilenceTimeout:   90 * time.Second,
		StallTimeout:     30 * time.Second,
		CloseGrace:       2 * time.Second,
		DrainSpread:      10 * time.Second,
		DrainLinger:      2 * time.Second,
		UpgradeHold:      5 * time.Second,
		RequestTimeout:   10 * time.Second,
		URLTokenMax:      time.Hour,
	}
}

// SettingError names a setting of the node that the gateway cannot work with.
type SettingError struct {
	Setting string // as on the command line, without dashes
	Reason  string
}

func (e *SettingError) Error() string { return e.Setting + ": " + e.Reason }

// limit is one of the Limits, by the name of its setting.
type limit[T any] struct {
	name string
	at   *T
}

func (l *Limits) counts() []limit[int] {
	return []limit[int]{
		{"max-message-bytes", &l.MaxMessageBytes},
		{"max-batch-bytes", &l.MaxBatchBytes},
		{"max-handshake-bytes", &l.MaxHandshakeBytes},
		{"max-channels", &l.MaxChannels},
		{"max-subscriptions", &l.MaxSubscriptions},
		{"max-json-depth", &l.MaxDepth},
		{"max-connections", &l.MaxConnections},
		{"max-handshakes", &l.MaxHandshakes},
		{"max-address-handshakes", &l.MaxAddressHandshakes},
		{"max-publishes", &l.MaxPublishes},
		{"max-publish-bytes", &l.MaxPublishBytes},
		{"send-buffer-bytes", &l.SendBufferBytes},
		{"commit-backlog-bytes", &l.CommitBacklogBytes},
		{"failed-auth-burst", &l.FailedAuthBurst},
		{"failed-auth-rate", &l.FailedAuthRate},
		{"connection-control-rate", &l.ConnectionControl},
		{"connection-refusal-rate", &l.ConnectionRefusal},
		{"max-history-reads", &l.MaxHistoryReads},
		{"max-key-history-reads", &l.MaxKeyHistoryReads},
		{"max-body-bytes", &l.MaxBodyBytes},
		{"max-address-body-bytes", &l.MaxAddressBodyBytes},
		{"max-address-unauthenticated", &l.MaxAddressUnauthenticated},
		{"max-address-history-reads", &l.MaxAddressHistoryReads},
		{"history-rate", &l.NodeHistory},
		{"address-history-rate", &l.AddressHistory},
	}
}

func (l *Limits) times() []limit[time.Duration] {
	return []limit[time.Duration]{
		{"handshake-timeout", &l.HandshakeTimeout},
		{"body-timeout", &l.BodyTimeout},
		{"keep-alive-timeout", &l.KeepAliveTimeout},
		{"auth-timeout", &l.AuthTimeout},
		{"frame-timeout", &l.FrameTimeout},
		{"heartbeat", &l.Heartbeat},
		{"ping-after", &l.PingAfter},
		{"silence-timeout", &l.SilenceTimeout},
		{"stall-timeout", &l.StallTimeout},
		{"close-grace", &l.CloseGrace},
		{"drain-spread", &l.DrainSpread},
		{"drain-linger", &l.DrainLinger},
		{"upgrade-hold", &l.UpgradeHold},
		{"request-timeout", &l.RequestTimeout},
		{"url-token-max", &l.URLTokenMax},
		{"overload-after", &l.OverloadAfter},
		{"history-timeout", &l.HistoryTimeout},
		{"unauthenticated-idle", &l.UnauthenticatedIdle},
	}
}

func (l *Limits) setDefaults() {
	defaults := DefaultLimits()
	setDefaults(l.counts(), defaults.counts())
	setDefaults(l.times(), defaults.times())
}

func setDefaults[T comparable](limits, defaults []limit[T]) {
	var zero T
	for i := range limits {
		if *limits[i].at == zero {
			*limits[i].at = *defaults[i].at
		}
	}
}

// Validate returns a *SettingError that names the first limit that is wrong.
func (l Limits) Validate() error {
	for _, count := range l.counts() {
		if *count.at < 0 {
			return &SettingError{count.name, "must not be negative"}
		}
	}
	for _, span := range l.times() {
		if *span.at < 0 {
			return &SettingError{span.name, "must not be negative"}
		}
	}
	for _, count := range l.Rates.all() {
		if *count.at < 0 {
			return &SettingError{count.name, "must not be negative"}
		}
	}
	l.setDefaults()
	switch {
	case l.MaxMessageBytes > 1<<20:
		return &SettingError{"max-message-bytes", "must be at most 1048576 (1 MiB)"}
	case l.MaxDepth > strictjson.MaxNesting:
		return &SettingError{"max-json-depth", fmt.Sprintf("must be at most %d", strictjson.MaxNesting)}
	case l.SilenceTimeout <= l.PingAfter:
		return &SettingError{"silence-timeout", "must be longer than ping-after"}
	}
	return nil
}

func (c *Config) setDefaults() {
	c.Limits.setDefaults()
	if c.Poller == "" {
		c.Poller = poll.Default
	}
	if c.Loops == 0 {
		c.Loops = min(runtime.GOMAXPROCS(0), maxLoops)
	}
	if c.Workers == 0 {
		c.Workers = 16
	}
}

// CheckHosts returns a *SettingError for a name that cannot be one of AllowedHosts.
func CheckHosts(names []string) error {
	for _, name := range names {
		if err := clientaddr.CheckName(name); err != nil {
			return &SettingError{"allowed-hosts", err.Error()}
		}
	}
	return nil
}

// Validate returns an error that names the first field that is wrong.
func (c Config) Validate() error {
	if err := c.Limits.Validate(); err != nil {
		return fmt.Errorf("gateway: %w", err)
	}
	c.setDefaults()
	switch {
	case c.Listener == nil:
		return errors.New("gateway: Listener is missing")
	case c.Broker == nil:
		return errors.New("gateway: Broker is missing")
	case c.Logger == nil:
		return errors.New("gateway: Logger is missing")
	case c.Loops < 0 || c.Loops > maxLoops:
		return fmt.Errorf("gateway: Loops is not between 1 and %d", maxLoops)
	case c.Workers < 0:
		return errors.New("gateway: Workers is negative")
	}
	if err := CheckHosts(c.AllowedHosts); err != nil {
		return err
	}
	if !poll.Known(c.Poller) {
		return &SettingError{"poller", fmt.Sprintf("%q is not known here", c.Poller)}
	}
	return nil
}
