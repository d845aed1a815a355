package cluster

import (
	"errors"
	"fmt"
	"io"

	"github.com/google/uuid"
)

// Both ends of a peer connection say who they are and whom they mean before any
// other byte. This is what keeps a wiped or a foreign node out of a cluster:
// Raft's own messages name neither the cluster nor the node they are for.
//
//	dialler                                 0      1          8            24     40     56
//	                                        +------+----------+------------+------+------+
//	                                        | purp | "aptlyd1"| cluster id | from | to   |
//	                                        +------+----------+------------+------+------+
//	acceptor                                0      1            17     33
//	                                        +------+------------+------+
//	                                        | code | cluster id | self |
//	                                        +------+------------+------+
//
// The digit is the version of the peer protocol, of these two and of all that
// follows. A cluster id of zeros means "none yet". Code 0 accepts.
const (
	helloMagic    = "aptlyd1"
	helloBytes    = 1 + len(helloMagic) + 3*16
	helloAckBytes = 1 + 2*16
)

// A purpose is the first byte of a peer connection.
type purpose byte

const (
	purposeRaft purpose = 'R'
	purposeRPC  purpose = 'C'
)

// hello is what a dialler says.
type hello struct {
	purpose  purpose
	cluster  uuid.UUID
	from, to uuid.UUID
}

// helloAck is the answer.
type helloAck struct {
	code    byte
	cluster uuid.UUID
	self    uuid.UUID
}

func (h hello) encode() []byte {
	b := make([]byte, 0, helloBytes)
	b = append(b, byte(h.purpose))
	b = append(b, helloMagic...)
	b = append(b, h.cluster[:]...)
	b = append(b, h.from[:]...)
	return append(b, h.to[:]...)
}

func decodeHello(b []byte) (hello, error) {
	var h hello
	if len(b) != helloBytes {
		return h, errors.New("hello has the wrong length")
	}
	h.purpose = purpose(b[0])
	if h.purpose != purposeRaft && h.purpose != purposeRPC {
		return h, fmt.Errorf("hello has unknown purpose %#x", b[0])
	}
	b = b[1:]
	switch magic := string(b[:len(helloMagic)]); {
	case magic[:len(magic)-1] != helloMagic[:len(magic)-1]:
		return h, errors.New("hello is not from an aptlyd")
	case magic != helloMagic:
		return h, fmt.Errorf("hello is of version %q of the peer protocol, this program speaks %q", magic[len(magic)-1:], helloMagic[len(magic)-1:])
	}
	b = b[len(helloMagic):]
	copy(h.cluster[:], b)
	copy(h.from[:], b[16:])
	copy(h.to[:], b[32:])
	return h, nil
}

func (a helloAck) encode() []byte {
	b := make([]byte, 0, helloAckBytes)
	b = append(b, a.code)
	b = append(b, a.cluster[:]...)
	return append(b, a.self[:]...)
}

func decodeHelloAck(b []byte) (helloAck, error) {
	var a helloAck
	if len(b) != helloAckBytes {
		return a, errors.New("answer to hello has the wrong length")
	}
	a.code = b[0]
	copy(a.cluster[:], b[1:])
	copy(a.self[:], b[17:])
	return a, nil
}

// judge says whether a node with this identity may take a connection.
func (h hello) judge(self, cluster uuid.UUID) error {
	switch {
	case h.to != self || h.from == self || h.from == uuid.Nil:
		return errWrongNode
	case h.cluster != cluster && h.cluster != uuid.Nil && cluster != uuid.Nil:
		return ErrWrongCluster
	case h.purpose == purposeRaft && (h.cluster == uuid.Nil || cluster == uuid.Nil):
		return ErrNotMember
	}
	return nil
}

// readExactly reads n bytes from r.
func readExactly(r io.Reader, n int) ([]byte, error) {
	b := make([]byte, n)
	_, err := io.ReadFull(r, b)
	return b, err
}
