package cluster

import (
	"errors"
	"fmt"
	"math"
	"net"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
)

// peerMessage is a request or an answer of a peer with limits beyond its JSON.
type peerMessage interface {
	// check returns an error for a message that no node of this cluster sends.
	check() error
}

const (
	// maxMillis is the most that a time.Duration holds, in ms.
	maxMillis = math.MaxInt64 / int64(time.Millisecond)
	maxIndex  = math.MaxInt64
)

// checkID reports an error unless id is written as node and cluster ids are.
func checkID(id string) error {
	known, err := uuid.Parse(id)
	if err != nil || known == uuid.Nil || known.String() != id {
		return fmt.Errorf("%q is no id", excerpt(id))
	}
	return nil
}

// checkName reports an error unless name is one that a node may have.
func checkName(name string) error {
	if name == "" || len(name) > maxNameBytes || !utf8.ValidString(name) ||
		strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return fmt.Errorf("%q is no node name", excerpt(name))
	}
	return nil
}

// checkAddress reports an error unless address is a host and a port.
func checkAddress(address string) error {
	host, port, err := net.SplitHostPort(address)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil || host == "" || len(host) > maxHostBytes {
		return fmt.Errorf("%q is no address", excerpt(address))
	}
	return nil
}

// excerpt returns as much of a peer's text as fits a line of the log.
func excerpt(text string) string {
	const most = 100
	if len(text) > most {
		return text[:most] + "…"
	}
	return text
}

func (r report) check() error {
	switch {
	case r.Applied > maxIndex:
		return fmt.Errorf("applied index %d", r.Applied)
	case len(r.Extra) > maxExtraBytes:
		return fmt.Errorf("%d bytes of extra", len(r.Extra))
	case r.Clock < 0 || r.Clock > maxMillis:
		return fmt.Errorf("clock %d", r.Clock)
	case r.Sync < 0 || r.Sync > maxMillis:
		return fmt.Errorf("sync time %d", r.Sync)
	}
	return nil
}

func (v view) check() error {
	if v.Index > maxIndex {
		return fmt.Errorf("index %d", v.Index)
	}
	for node, heard := range v.Nodes {
		if err := checkID(node); err != nil {
			return err
		}
		if heard.Age < 0 || heard.Age > maxMillis {
			return fmt.Errorf("age %d", heard.Age)
		}
		if err := heard.report.check(); err != nil {
			return err
		}
	}
	return nil
}

func (r appliedRequest) check() error {
	if r.Index > maxIndex {
		return fmt.Errorf("index %d", r.Index)
	}
	return nil
}

func (p proposal) check() error {
	if err := checkID(p.Cluster); err != nil {
		return err
	}
	if len(p.Servers) == 0 || len(p.Servers) > maxVoters {
		return fmt.Errorf("%d nodes", len(p.Servers))
	}
	for i, s := range p.Servers {
		if err := errors.Join(checkID(s.ID), checkName(s.Name), checkAddress(s.Peer)); err != nil {
			return err
		}
		if i > 0 && s.ID <= p.Servers[i-1].ID {
			return errors.New("the nodes are not in order")
		}
	}
	return nil
}

func (r joinRequest) check() error { return errors.Join(checkID(r.ID), checkName(r.Name)) }

func (a joinAnswer) check() error { return checkID(a.Cluster) }

func (r removeRequest) check() error { return checkName(r.Name) }

func (r memberRequest) check() error { return checkID(r.ID) }

func (m membership) check() error {
	if len(m.Voters) > maxVoters {
		return fmt.Errorf("%d voters", len(m.Voters))
	}
	seen := make(map[string]bool)
	for _, voter := range m.Voters {
		if err := checkID(voter); err != nil {
			return err
		}
		if seen[voter] {
			return errors.New("a voter is named twice")
		}
		seen[voter] = true
	}
	return nil
}

// check returns an error unless the metadata is valid and fits the node's name in gossip.
func (r nodeMeta) check(name string) error {
	id, start, _ := strings.Cut(name, "/")
	if err := errors.Join(checkID(id), checkName(r.Name), checkAddress(r.Peer)); err != nil {
		return err
	}
	if r.Cluster != "" {
		if err := checkID(r.Cluster); err != nil {
			return err
		}
	}
	if start != strconv.FormatUint(r.Start, 10) {
		return fmt.Errorf("start %q of %d", excerpt(start), r.Start)
	}
	if len(r.Version) > maxVersionBytes || !utf8.ValidString(r.Version) {
		return fmt.Errorf("version of %d bytes", len(r.Version))
	}
	return nil
}
