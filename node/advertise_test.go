package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// fakeHost is a network as a test draws it: "link=address" each.
type fakeHost struct {
	links  string
	names  map[string]string // name to addresses
	routes map[string]string // address of another host to the source; "" for none
}

func (f fakeHost) network() hostNetwork {
	return hostNetwork{
		addresses: func() (all []interfaceAddress, err error) {
			for text := range strings.FieldsSeq("lo=127.0.0.1 lo=::1 " + f.links) {
				link, addr, _ := strings.Cut(text, "=")
				all = append(all, interfaceAddress{link, netip.MustParseAddr(addr)})
			}
			return all, nil
		},
		lookUp: func(_ context.Context, host string) (found []netip.Addr, err error) {
			for text := range strings.FieldsSeq(f.names[host]) {
				found = append(found, netip.MustParseAddr(text))
			}
			if len(found) == 0 {
				return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
			}
			return found, nil
		},
		source: func(to netip.Addr) (netip.Addr, error) {
			if from := f.routes[to.String()]; from != "" {
				return netip.ParseAddr(from)
			}
			return netip.Addr{}, errors.New("network is unreachable")
		},
	}
}

func TestAdvertisedAddress(t *testing.T) {
	const docker = "docker0=172.17.0.1 "
	for name, c := range map[string]struct {
		fakeHost
		listen, join string
		expect       int
		want         string // an address, or words of the refusal
	}{
		"alone, private":               {fakeHost{links: "eth0=203.0.113.1 eth1=10.0.0.1"}, "", "", 1, "10.0.0.1"},
		"alone, public":                {fakeHost{links: "eth0=203.0.113.1"}, "", "", 1, "127.0.0.1"},
		"alone, public and docker":     {fakeHost{links: docker + "eth0=203.0.113.1"}, "", "", 1, "172.17.0.1"},
		"alone, docker before private": {fakeHost{links: docker + "eth0=10.0.0.1"}, "", "", 1, "10.0.0.1"},
		"alone, unique local": {
			fakeHost{links: "eth0=2001:db8::1 eth0=fe80::1 eth0=fd00::1"},
			"", "", 1,
			"fd00::1",
		},
		"alone, both families": {fakeHost{links: "eth0=fd00::1 eth1=10.0.0.1"}, "", "", 1, "10.0.0.1"},
		"a listen address": {
			fakeHost{links: "eth0=10.0.0.1"},
			"203.0.113.9", "203.0.113.1:7401", 3,
			"203.0.113.9",
		},
		"the first of three, public":  {fakeHost{links: docker + "eth0=203.0.113.1"}, "", "", 3, "name the address"},
		"the first of three, private": {fakeHost{links: docker + "eth0=10.0.0.1"}, "", "", 3, "10.0.0.1"},
		"names itself": {
			fakeHost{links: docker + "eth0=203.0.113.1"},
			"",
			"203.0.113.1:7401,203.0.113.2:7401", 3, "203.0.113.1",
		},
		"names another": {fakeHost{
			links:  docker + "eth0=203.0.113.1",
			routes: map[string]string{"203.0.113.2": "203.0.113.1"},
		}, "", "203.0.113.2:7401", 3, "203.0.113.1"},
		"a public route beside private": {fakeHost{
			links:  "eth0=10.0.0.1 eth1=203.0.113.1",
			routes: map[string]string{"203.0.113.2": "203.0.113.1"},
		}, "", "203.0.113.2:7401", 3, "203.0.113.1"},
		"a name that is itself by hosts": {fakeHost{
			links: "eth0=203.0.113.1",
			names: map[string]string{
				"a": "127.0.1.1",
				"b": "203.0.113.2",
			},
			routes: map[string]string{"203.0.113.2": "203.0.113.1"},
		}, "", "a:7401,b:7401", 3, "203.0.113.1"},
		"unique local": {fakeHost{
			links:  docker + "eth0=fe80::1 eth0=fd00::1",
			routes: map[string]string{"fd00::2": "fd00::1"},
		}, "", "[fd00::2]:7401", 3, "fd00::1"},
		"only over the docker bridge": {fakeHost{
			links:  docker + "eth0=203.0.113.1",
			routes: map[string]string{"172.17.0.2": "172.17.0.1"},
		}, "", "172.17.0.2:7401", 3, "172.17.0.1 on docker0"},
		"one of them over the bridge": {fakeHost{
			links: docker + "eth0=203.0.113.1",
			routes: map[string]string{
				"172.17.0.2":  "172.17.0.1",
				"203.0.113.2": "203.0.113.1",
			},
		}, "", "172.17.0.2:7401,203.0.113.2:7401", 3, "203.0.113.1"},
		"the others' docker bridge": {
			fakeHost{links: docker + "eth0=203.0.113.1"},
			"", "172.17.0.1:7401", 3,
			"no route",
		},
		"no route": {
			fakeHost{links: "eth0=10.0.0.1"},
			"", "203.0.113.2:7401", 3,
			"no route to 203.0.113.2",
		},
		"a route from loopback": {fakeHost{
			links:  "eth0=203.0.113.1",
			routes: map[string]string{"203.0.113.2": "127.0.0.1"},
		}, "", "203.0.113.2:7401", 3, "where no other host reaches"},
		"all on this machine": {
			fakeHost{links: "eth0=203.0.113.1"},
			"", "127.0.0.1:7401,localhost:7402", 3,
			"127.0.0.1",
		},
		"names that come late, private": {fakeHost{links: "eth0=10.0.0.1"}, "", "late:7401", 3, "10.0.0.1"},
		"names that never come, public": {fakeHost{links: "eth0=203.0.113.1"}, "", "late:7401", 3, "none of the names"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cfg := Config{PeerListen: c.listen + ":7400", BootstrapExpect: c.expect, Logger: slog.New(slog.DiscardHandler)}
				if c.join != "" {
					cfg.Join = strings.Split(c.join, ",")
				}
				if c.fakeHost.names == nil {
					c.fakeHost.names = make(map[string]string)
				}
				c.fakeHost.names["localhost"] = "127.0.0.1"
				got, err := chooseAdvertise(t.Context(), &cfg, c.fakeHost.network())
				if err != nil {
					got = err.Error()
				}
				var wrong *ConfigError
				if setting := errors.As(err, &wrong); !strings.Contains(got, c.want) || setting == errors.Is(err, errNotResolved) &&
					err != nil {
					t.Errorf("got %q, want %q", got, c.want)
				}
				if wrong != nil && wrong.Setting != "advertise" {
					t.Errorf("the error names %s", wrong.Setting)
				}
			})
		})
	}
}

// Names that DNS learns of while a node starts are waited for.
func TestAdvertisedAddressWaitsForNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		names := make(map[string]string)
		host := fakeHost{links: "eth0=203.0.113.1", names: names, routes: map[string]string{"203.0.113.2": "203.0.113.1"}}
		began, network := time.Now(), host.network()
		lookUp := network.lookUp
		network.lookUp = func(ctx context.Context, name string) ([]netip.Addr, error) {
			if time.Since(began) > 20*time.Second {
				names["late"] = "203.0.113.2"
			}
			return lookUp(ctx, name)
		}
		var logged strings.Builder
		cfg := Config{
			PeerListen: ":7400", Join: []string{"late:7401"}, BootstrapExpect: 3,
			Logger: slog.New(slog.NewTextHandler(&logged, nil)),
		}
		got, err := chooseAdvertise(t.Context(), &cfg, network)
		if err != nil || got != "203.0.113.1" {
			t.Errorf("got %q, %v", got, err)
		}
		if said := strings.Count(logged.String(), "in DNS yet"); said != 2 {
			t.Errorf("said %d times:\n%s", said, &logged)
		}
	})
}

// The real system answers at all.
func TestAddressesOfThisHost(t *testing.T) {
	host := thisHost()
	all, err := host.addresses()
	if err != nil || linkOf(netip.MustParseAddr("127.0.0.1"), all) == "" {
		t.Errorf("got %v, %v", all, err)
	}
	if from, err := host.source(netip.MustParseAddr("127.0.0.1")); err != nil || fmt.Sprint(from) != "127.0.0.1" {
		t.Errorf("got %v, %v", from, err)
	}
}
