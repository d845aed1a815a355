package cluster

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/aptlyd/aptlyd/cluster/peer"
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
	if v.Led < 0 || v.Led > maxMillis {
		return fmt.Errorf("leading for %d", v.Led)
	}
	for node, heard := range v.Nodes {
		if err := peer.CheckID(node); err != nil {
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
	if err := peer.CheckID(p.Cluster); err != nil {
		return err
	}
	if len(p.Servers) == 0 || len(p.Servers) > MaxVoters {
		return fmt.Errorf("%d nodes", len(p.Servers))
	}
	for i, s := range p.Servers {
		if err := errors.Join(peer.CheckID(s.ID), peer.CheckName(s.Name), peer.CheckAddress(s.Peer)); err != nil {
			return err
		}
		if i > 0 && s.ID <= p.Servers[i-1].ID {
			return errors.New("the nodes are not in order")
		}
	}
	return nil
}

func (r joinRequest) check() error { return errors.Join(peer.CheckID(r.ID), peer.CheckName(r.Name)) }

func (a joinAnswer) check() error { return peer.CheckID(a.Cluster) }

func (r removeRequest) check() error { return peer.CheckName(r.Name) }

func (r memberRequest) check() error { return peer.CheckID(r.ID) }

func (m membership) check() error {
	if len(m.Voters) > MaxVoters {
		return fmt.Errorf("%d voters", len(m.Voters))
	}
	seen := make(map[string]bool)
	for _, voter := range m.Voters {
		if err := peer.CheckID(voter); err != nil {
			return err
		}
		if seen[voter] {
			return errors.New("a voter is named twice")
		}
		seen[voter] = true
	}
	return nil
}
