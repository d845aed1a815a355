package peer

import (
	"errors"
	"fmt"
)

// Errors that a caller decides on. Those a peer answers with cross the wire as a
// code and come back as the same value.
var (
	// ErrUnavailable: the command was not applied and will not be.
	ErrUnavailable = errors.New("no leader could be reached in time")
	// ErrOutcomeUnknown: the command was sent; it may have been applied or may
	// still be.
	ErrOutcomeUnknown = errors.New("the command was sent but its outcome is unknown")
	// ErrOverloaded: too many bytes wait already; the command was not taken.
	ErrOverloaded = errors.New("too many commands are waiting")
	// ErrTooLarge: the command exceeds Config.MaxCommandBytes.
	ErrTooLarge = errors.New("command is too large")
	// ErrNotLeader: the node that was asked does not lead, or not yet.
	ErrNotLeader = errors.New("node is not the leader")
	// ErrNameTaken: a live member already has the name of the node that joins.
	ErrNameTaken = errors.New("a live member of the cluster has the same node name")
	// ErrWrongCluster: the two nodes belong to different clusters.
	ErrWrongCluster = errors.New("peer belongs to another cluster")
	// ErrNotMember: the node that asks is not in the cluster's configuration.
	ErrNotMember = errors.New("node is not a member of the cluster")
	// ErrUnknownMember: no member has that name.
	ErrUnknownMember = errors.New("no member has that name")
	// ErrAmbiguousMember: several members have that name.
	ErrAmbiguousMember = errors.New("several members have that name, use the id")
	// ErrQuorumAtRisk: without the member the rest could not go on.
	ErrQuorumAtRisk = errors.New("the cluster would lose its quorum")
	// ErrTooOld: the node that joins does not know commands that the members use.
	ErrTooOld = errors.New("the version of this node is too old for its cluster")
	// ErrInvalidCommand: no machine could apply the command. It did not enter the log.
	ErrInvalidCommand = errors.New("the command is not a possible one")
	// ErrFeatureLevel: a member of the cluster may not know the command yet. It did not
	// enter the log.
	ErrFeatureLevel = errors.New("the command belongs to a higher feature level than the cluster's")
	// ErrMalformed: a peer sent a message that no node of this cluster sends.
	ErrMalformed = errors.New("malformed message of a peer")
	// ErrConflict: a proposal does not fit what the peer sees; try again.
	ErrConflict = errors.New("peer does not agree with the proposal")
	// ErrClosed: the cluster was closed.
	ErrClosed = errors.New("cluster is closed")

	// ErrUncertain answers a batch that a leader took and then lost sight of:
	// it must be sent again under the same number.
	ErrUncertain = errors.New("leadership was lost while the batch was on its way")
	// ErrWrongNode: the address belongs to another node by now.
	ErrWrongNode = errors.New("another node answers at this address")
)

// wireErrors are the sentinels by their code on the wire. Codes are never reused. Of
// an error that wraps several the lowest code is sent.
var wireErrors = [...]error{
	1:  ErrUnavailable,
	2:  ErrOutcomeUnknown,
	3:  ErrOverloaded,
	4:  ErrTooLarge,
	5:  ErrNotLeader,
	6:  ErrNameTaken,
	7:  ErrWrongCluster,
	8:  ErrNotMember,
	9:  ErrUnknownMember,
	10: ErrConflict,
	11: ErrClosed,
	12: ErrUncertain,
	13: ErrWrongNode,
	14: ErrAmbiguousMember,
	15: ErrQuorumAtRisk,
	16: ErrTooOld,
	17: ErrInvalidCommand,
	18: ErrFeatureLevel,
	19: ErrMalformed,
}

// codeOther marks an error that has a text and no code.
const codeOther byte = 255

// encodeError returns the code of err's sentinel and err's text.
func encodeError(err error) (code byte, text string) {
	for code, sentinel := range wireErrors {
		if sentinel != nil && errors.Is(err, sentinel) {
			return byte(code), err.Error()
		}
	}
	return codeOther, err.Error()
}

// peerError is an error that a peer answered with, in the peer's words.
type peerError struct {
	sentinel error
	text     string
}

func (e *peerError) Error() string { return e.text }
func (e *peerError) Unwrap() error { return e.sentinel }

// DecodeError is the reverse of encodeError.
func DecodeError(code byte, text string) error {
	if int(code) >= len(wireErrors) || wireErrors[code] == nil {
		return fmt.Errorf("peer answered: %s", text)
	}
	sentinel := wireErrors[code]
	if text == "" || text == sentinel.Error() {
		return sentinel
	}
	return &peerError{sentinel, text}
}
