package cluster

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/aptlyd/aptlyd/cluster/peer"
)

// removeRequest asks that a member be removed.
type removeRequest struct {
	Name string `json:"name"` // or id
}

// Remove takes the member with this name, or id, out of the cluster. A leader
// hands over before it is removed. The error is ErrUnknownMember,
// ErrAmbiguousMember, ErrQuorumAtRisk with the reason, ErrUnavailable or
// ErrOutcomeUnknown.
func (c *Cluster) Remove(ctx context.Context, name string) error {
	config, _, err := c.configuration()
	if err != nil {
		return err
	}
	_, unknown := c.memberCalled(config, name)
	if unknown != nil && (removeRequest{Name: name}).check() != nil {
		return unknown // the leader would not take the question
	}
	return removeThrough(ctx, name, unknown == nil, func() error {
		_, err := c.handleRemove(ctx, removeRequest{Name: name})
		return err
	})
}

// removeThrough asks one leader after the other until one has an answer. known says
// that there was such a member when it began.
func removeThrough(ctx context.Context, name string, known bool, ask func() error) error {
	begun := false // a leader that was lost may have removed it
	for {
		err := ask()
		switch {
		case errors.Is(err, ErrUnknownMember) && known && begun:
			return nil
		case err == nil, errors.Is(err, ErrUnknownMember), errors.Is(err, ErrAmbiguousMember),
			errors.Is(err, ErrQuorumAtRisk), errors.Is(err, ErrClosed):
			return err
		case !errors.Is(err, ErrNotLeader) && !errors.Is(err, ErrUnavailable):
			begun = true
		}
		select {
		case <-time.After(catchUpPause):
			continue
		case <-ctx.Done():
		}
		if begun {
			return fmt.Errorf("%w: remove %s: %w", ErrOutcomeUnknown, name, err)
		}
		return fmt.Errorf("%w: remove %s: %w", ErrUnavailable, name, err)
	}
}

func (c *Cluster) handleRemove(ctx context.Context, r removeRequest) (struct{}, error) {
	none := struct{}{}
	if passed, _, err := forwardToLeader[struct{}](ctx, c, peer.MethodRemove, r); passed {
		return none, err
	}
	c.changing.Lock()
	defer c.changing.Unlock()
	config, index, err := c.configuration()
	if err != nil {
		return none, err
	}
	member, err := c.memberCalled(config, r.Name)
	if err != nil {
		return none, err
	}
	if err := checkRemoval(config, member, c.answering(ctx, config)); err != nil {
		return none, fmt.Errorf("%s stays: %w", r.Name, err)
	}
	if string(member.ID) == c.id {
		if err := c.TransferLeadership(ctx); err != nil {
			return none, fmt.Errorf("remove %s: %w", r.Name, err)
		}
		return none, ErrNotLeader
	}
	if err := c.change(ctx, c.raft.RemoveServer(member.ID, index, changeTimeout)); err != nil {
		return none, fmt.Errorf("remove %s: %w", r.Name, err)
	}
	c.log.Info("a member was removed", "member", r.Name, "id", string(member.ID))
	return none, nil
}

// memberCalled finds a member by its name or id.
func (c *Cluster) memberCalled(config raft.Configuration, name string) (raft.Server, error) {
	var found []raft.Server
	for _, s := range config.Servers {
		if string(s.ID) == name {
			return s, nil
		}
		if c.directory.name(string(s.ID)) == name {
			found = append(found, s)
		}
	}
	switch len(found) {
	case 0:
		return raft.Server{}, fmt.Errorf("%w: %s", ErrUnknownMember, name)
	case 1:
		return found[0], nil
	default:
		return raft.Server{}, fmt.Errorf("%w: %s", ErrAmbiguousMember, name)
	}
}

// probeTimeout bounds the time in which a member has to show that it is there.
const probeTimeout = time.Second

// answering returns the members that answer right now. Their last
// reports are not enough to stake the quorum on.
func (c *Cluster) answering(ctx context.Context, config raft.Configuration) map[raft.ServerID]bool {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	var mu sync.Mutex
	var running sync.WaitGroup
	alive := map[raft.ServerID]bool{raft.ServerID(c.id): true}
	for _, s := range config.Servers {
		if string(s.ID) == c.id {
			continue
		}
		running.Go(func() {
			_, err := request[struct{}](ctx, c.pool, string(s.ID), peer.MethodApplied, appliedRequest{})
			mu.Lock()
			defer mu.Unlock()
			alive[s.ID] = err == nil
		})
	}
	running.Wait()
	return alive
}

// checkRemoval returns why a member must stay: a majority of the voters that remain must
// be alive.
func checkRemoval(config raft.Configuration, member raft.Server, alive map[raft.ServerID]bool) error {
	if member.Suffrage != raft.Voter {
		return nil
	}
	voters, reachable := 0, 0
	for _, s := range config.Servers {
		if s.ID == member.ID || s.Suffrage != raft.Voter {
			continue
		}
		voters++
		if alive[s.ID] {
			reachable++
		}
	}
	switch {
	case voters == 0:
		return fmt.Errorf("%w: it is the only voter", ErrQuorumAtRisk)
	case reachable < voters/2+1:
		return fmt.Errorf("%w: only %d of the %d other voters can be reached", ErrQuorumAtRisk, reachable, voters)
	}
	return nil
}

// removed stops a node that was a member and is none any more. A leader alone is not
// believed: its configuration may be damaged.
func (c *Cluster) removed(ctx context.Context) bool {
	if !c.identity.read().Member {
		return false
	}
	answers := c.askMemberships(ctx)
	if !standsBehind(answers) {
		c.log.Warn("this node is told that it is no member, but no majority of voters stands behind that", "asked",
			len(answers))
		return false
	}
	c.cfg.Fatal(ErrRemoved)
	return true
}

// membership is a node's answer, by its own newest configuration, about another one.
type membership struct {
	Member bool     `json:"member"`
	Voters []string `json:"voters"` // none where it knows no configuration
}

func (c *Cluster) handleMembership(r memberRequest) (m membership, err error) {
	config, _, err := c.configuration()
	if err != nil {
		return m, err
	}
	for _, s := range config.Servers {
		m.Member = m.Member || string(s.ID) == r.ID
		if s.Suffrage == raft.Voter {
			m.Voters = append(m.Voters, string(s.ID))
		}
	}
	return m, nil
}

// askMemberships asks every node of the cluster that this one knows of, by its
// configuration, its memory or gossip, whether it is a member.
func (c *Cluster) askMemberships(ctx context.Context) map[string]membership {
	ctx, cancel := context.WithTimeout(ctx, freshnessTimeout)
	defer cancel()
	nodes := make(map[string]bool)
	for _, s := range c.others() {
		nodes[string(s.ID)] = true
	}
	for id := range c.identity.read().Peers {
		nodes[id] = true
	}
	for _, n := range c.gossip.All() {
		nodes[n.ID] = true
	}
	delete(nodes, c.id)
	var mu sync.Mutex
	var running sync.WaitGroup
	answers := make(map[string]membership)
	for id := range nodes {
		running.Go(func() {
			answer, err := request[membership](ctx, c.pool, id, peer.MethodMembership, memberRequest{ID: c.id})
			if err == nil {
				mu.Lock()
				defer mu.Unlock()
				answers[id] = answer
			}
		})
	}
	running.Wait()
	return answers
}

// standsBehind reports whether there is a configuration without the node asked about
// such that a majority of its voters know one without it.
func standsBehind(answers map[string]membership) bool {
	for _, a := range answers {
		without := 0
		for _, voter := range a.Voters {
			if v, ok := answers[voter]; ok && !v.Member && len(v.Voters) > 0 {
				without++
			}
		}
		if !a.Member && len(a.Voters) > 0 && without >= len(a.Voters)/2+1 {
			return true
		}
	}
	return false
}

// memberRequest asks whether a node is a member.
type memberRequest struct {
	ID string `json:"id"`
}

// handleMember returns nil or ErrNotMember, both in the name of a leader that is
// one.
func (c *Cluster) handleMember(ctx context.Context, r memberRequest) (struct{}, error) {
	none := struct{}{}
	if passed, _, err := forwardToLeader[struct{}](ctx, c, peer.MethodMember, r); passed {
		return none, err
	}
	if _, err := c.readIndexes.do(ctx); err != nil {
		return none, err
	}
	if !c.isMember(r.ID) {
		return none, ErrNotMember
	}
	return none, nil
}

// confirmRemoved reports whether another member knows a leader, which says that this
// node is not a member.
func (c *Cluster) confirmRemoved(ctx context.Context) bool {
	if _, leader := c.raft.LeaderWithID(); leader != "" || !c.identity.read().Member {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, freshnessTimeout)
	defer cancel()
	return errors.Is(c.askMembership(ctx), ErrNotMember)
}

// askMembership returns a leader's word on whether this node is a member, nil or
// ErrNotMember, by way of another member. A node outside of this node's configuration is
// not asked: it may wait to join and know no leader.
func (c *Cluster) askMembership(ctx context.Context) error {
	for _, n := range c.gossip.All() {
		if n.ID == c.id || !c.isMember(n.ID) {
			continue
		}
		_, err := request[struct{}](ctx, c.pool, n.ID, peer.MethodMember, memberRequest{ID: c.id})
		if err == nil || errors.Is(err, ErrNotMember) {
			return err
		}
	}
	return ErrUnavailable
}
