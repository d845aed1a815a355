package node

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// maxPublicURL is as long as leaves room for the rest of the stats.
const maxPublicURL = 128

// setPublicURL checks the public URL and gives it the scheme that clients connect with.
func (c *Config) setPublicURL() error {
	if c.PublicURL == "" {
		return nil
	}
	u, err := url.Parse(c.PublicURL)
	if err != nil {
		return fmt.Errorf("%q is no URL", c.PublicURL)
	}
	switch u.Scheme {
	case "https":
		u.Scheme = "wss"
	case "http":
		u.Scheme = "ws"
	case "ws", "wss":
	default:
		return fmt.Errorf("%q does not begin with wss://, ws://, https:// or http://", c.PublicURL)
	}
	switch {
	case u.Host == "":
		return fmt.Errorf("%q has no host", c.PublicURL)
	case u.User != nil, u.RawQuery != "", u.Fragment != "":
		return errors.New("must have no user, query or fragment")
	}
	c.PublicURL = strings.TrimRight(u.String(), "/")
	if quoted, err := json.Marshal(c.PublicURL); err != nil || len(quoted) > maxPublicURL+len(`""`) {
		return fmt.Errorf("must have at most %d bytes", maxPublicURL)
	}
	return nil
}

// hostNames returns the names under which clients reach this node, with that of its public
// URL; none when it answers for every name.
func (c *Config) hostNames() []string {
	u, err := url.Parse(c.PublicURL)
	if len(c.AllowedHosts) == 0 || err != nil || u.Hostname() == "" || strings.Contains(u.Hostname(), ":") {
		return c.AllowedHosts
	}
	return append(slices.Clone(c.AllowedHosts), u.Hostname())
}

// Endpoints implements gateway.Broker.
func (n *Node) Endpoints() []string {
	self, _ := n.cluster.ID()
	var urls []string
	for _, m := range n.cluster.Members() {
		if url := statsOf(m).PublicURL; m.ID != self && m.Alive && url != "" && !slices.Contains(urls, url) {
			urls = append(urls, url)
		}
	}
	return urls
}
