package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"
)

// DefaultMaxInFlight bounds the publishes under way where Options does
// not say.
const DefaultMaxInFlight = 1024

// Options say where and as whom a Client connects.
type Options struct {
	// Endpoints are the nodes' addresses: ws, wss, http or https URLs, or a bare
	// host:port. A path is the one that the nodes are below at a proxy. The first is
	// preferred at the start; whenever a connection fails, the next one is tried.
	Endpoints []string
	// APIKey is a "pk_…" or "sk_…" key, or a token. Needed, unless Token is set.
	APIKey string
	// Token returns a fresh token. It is asked before every connection and, in the
	// background, when 80% of a token's life is over. An error is tried again.
	Token func(ctx context.Context, reason TokenReason) (string, error)
	// Proxy returns the proxy for a request, nil for none. Nil goes by the environment
	// (HTTPS_PROXY, HTTP_PROXY, NO_PROXY), as net/http does.
	Proxy func(*http.Request) (*url.URL, error)
	// Origin is sent as the Origin header, which public keys are bound to. A
	// program that is no browser may leave it empty.
	Origin string
	// TLSConfig is used for wss endpoints. Nil means the system's defaults.
	TLSConfig *tls.Config
	// MaxInFlight bounds the publishes that have no outcome yet; more of them
	// wait. 0 means DefaultMaxInFlight.
	MaxInFlight int
	// FailFast ends a client that has never been connected once every endpoint has
	// failed in a way that trying again cannot mend: a name that is not in DNS, a
	// certificate, a port at which nobody listens or that is no WebSocket's. It is for programs that somebody
	// waits for.
	FailFast bool
	// Logger hears of lost connections and broken promises. Nil discards.
	Logger *slog.Logger
	// OnConnect, if set, is called for every connection once it is
	// authenticated, before any message of it; OnDisconnect when it was lost, with
	// the reason. A connection that takes the place of one whose node drains is no
	// loss of that one. Neither may block.
	OnConnect    func(Session)
	OnDisconnect func(error)
}

// Validate reports the first field that cannot be used.
func (o Options) Validate() error {
	if len(o.Endpoints) == 0 {
		return errors.New("Endpoints: at least one is needed")
	}
	for _, endpoint := range o.Endpoints {
		if _, err := socketURL(endpoint); err != nil {
			return fmt.Errorf("Endpoints: %w", err)
		}
	}
	switch {
	case o.APIKey == "" && o.Token == nil:
		return errors.New("APIKey: must not be empty")
	case o.APIKey != "" && o.Token != nil:
		return errors.New("Token: APIKey is set, too")
	}
	if o.MaxInFlight < 0 {
		return errors.New("MaxInFlight: must not be negative")
	}
	return nil
}

// socketPath is the path of a node's WebSocket below that of its endpoint.
const socketPath = "/realtime"

// socketURL turns what people write for a node into the URL of its WebSocket.
func socketURL(endpoint string) (string, error) {
	u, err := parseEndpoint(endpoint)
	if err != nil {
		return "", err
	}
	return u.String() + socketPath, nil
}

// parseEndpoint reads what people write for a node: its address, the path that it is
// below at a proxy, if any, and perhaps the path of its WebSocket, which is cut off.
// The scheme of the URL is ws or wss.
func parseEndpoint(endpoint string) (*url.URL, error) {
	if !strings.Contains(endpoint, "://") {
		endpoint = "ws://" + endpoint
	}
	u, err := url.Parse(endpoint)
	if err != nil {
		return nil, fmt.Errorf("parse endpoint: %w", err)
	}
	switch u.Scheme {
	case "ws", "wss":
	case "http":
		u.Scheme = "ws"
	case "https":
		u.Scheme = "wss"
	default:
		return nil, fmt.Errorf("endpoint %q: the scheme must be ws, wss, http or https", endpoint)
	}
	if u.Hostname() == "" {
		return nil, fmt.Errorf("endpoint %q has no host", endpoint)
	}
	if u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" {
		return nil, fmt.Errorf("endpoint %q: only scheme, host, port and path may be given", endpoint)
	}
	u.Path = strings.TrimSuffix(strings.TrimRight(u.Path, "/"), socketPath)
	if u.RawPath != "" || u.Path != "" && path.Clean(u.Path) != u.Path {
		return nil, fmt.Errorf("endpoint %q: the path must be a plain one", endpoint)
	}
	return u, nil
}

// timing holds the client's clocks, so that tests need not wait for them.
type timing struct {
	heartbeat time.Duration // between our signs of life
	silence   time.Duration // without a byte from the server, after which it counts as dead
	handshake time.Duration // from dialling to "connected"
	write     time.Duration // for the server to take what we send
	farewell  time.Duration // for the server to take our last frames, and again to close
	stable    time.Duration // a connection that lasted so long starts the backoff anew
	backoff   backoff
	// repeat bounds the time after its first sending in which a publish of unknown outcome is
	// still repeated: less than the ten minutes for which the broker knows its id.
	repeat time.Duration
}

var defaultTiming = timing{
	heartbeat: 25 * time.Second,
	silence:   60 * time.Second,
	handshake: 15 * time.Second,
	write:     30 * time.Second,
	farewell:  time.Second,
	stable:    5 * time.Second,
	backoff:   backoff{base: 100 * time.Millisecond, limit: 10 * time.Second},
	repeat:    9 * time.Minute,
}
