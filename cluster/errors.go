package cluster

import (
	"errors"

	"github.com/aptlyd/aptlyd/cluster/gossip"
	"github.com/aptlyd/aptlyd/cluster/peer"
)

// Errors that a caller decides on.
var (
	// ErrUnavailable: the command was not applied and will not be.
	ErrUnavailable = peer.ErrUnavailable
	// ErrOutcomeUnknown: the command was sent; it may have been applied or may
	// still be.
	ErrOutcomeUnknown = peer.ErrOutcomeUnknown
	// ErrOverloaded: too many bytes wait already; the command was not taken.
	ErrOverloaded = peer.ErrOverloaded
	// ErrTooLarge: the command exceeds Config.MaxCommandBytes.
	ErrTooLarge = peer.ErrTooLarge
	// ErrNotLeader: the node that was asked does not lead, or not yet.
	ErrNotLeader = peer.ErrNotLeader
	// ErrNameTaken: a live member already has the name of the node that joins.
	ErrNameTaken = peer.ErrNameTaken
	// ErrWrongCluster: the two nodes belong to different clusters.
	ErrWrongCluster = peer.ErrWrongCluster
	// ErrNotMember: the node that asks is not in the cluster's configuration.
	ErrNotMember = peer.ErrNotMember
	// ErrUnknownMember: no member has that name.
	ErrUnknownMember = peer.ErrUnknownMember
	// ErrAmbiguousMember: several members have that name.
	ErrAmbiguousMember = peer.ErrAmbiguousMember
	// ErrQuorumAtRisk: without the member the rest could not go on.
	ErrQuorumAtRisk = peer.ErrQuorumAtRisk
	// ErrTooOld: the node that joins does not know commands that the members use.
	ErrTooOld = peer.ErrTooOld
	// ErrInvalidCommand: no machine could apply the command. It did not enter the log.
	ErrInvalidCommand = peer.ErrInvalidCommand
	// ErrFeatureLevel: a member of the cluster may not know the command yet. It did not
	// enter the log.
	ErrFeatureLevel = peer.ErrFeatureLevel
	// ErrMalformed: a peer sent a message that no node of this cluster sends.
	ErrMalformed = peer.ErrMalformed
	// ErrConflict: a proposal does not fit what the peer sees; try again.
	ErrConflict = peer.ErrConflict
	// ErrClosed: the cluster was closed.
	ErrClosed = peer.ErrClosed
	// ErrDuplicateNode: a process with this node's identity runs elsewhere.
	ErrDuplicateNode = errors.New("this node already runs elsewhere; a data folder must not be copied")
	// ErrRemoved: this node is not a member of its cluster any more.
	ErrRemoved = errors.New("this node was removed from its cluster; empty its data folder to let it join as a new member")
	// ErrGossipPort: Config.GossipAddr cannot be bound.
	ErrGossipPort = gossip.ErrPort
)
