package peer

import (
	"errors"
	"fmt"
	"io"

	"github.com/google/uuid"
)

// Both ends of a peer connection name themselves and the node they mean before any
// other byte. This keeps a wiped node, or one of another cluster, out of the cluster:
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
	HelloAckBytes = 1 + 2*16
)

// A purpose is the first byte of a peer connection.
type purpose byte

// The purposes: Raft's transport, and calls.
const (
	PurposeRaft purpose = 'R'
	PurposeRPC  purpose = 'C'
)

// Hello is the first message of a dialler.
type Hello struct {
	Purpose  purpose
	Cluster  uuid.UUID
	From, To uuid.UUID
}

// HelloAck is the acceptor's answer to a Hello.
type HelloAck struct {
	Code    byte
	cluster uuid.UUID
	self    uuid.UUID
}

// Encode returns the bytes of a hello.
func (h Hello) Encode() []byte {
	b := make([]byte, 0, helloBytes)
	b = append(b, byte(h.Purpose))
	b = append(b, helloMagic...)
	b = append(b, h.Cluster[:]...)
	b = append(b, h.From[:]...)
	return append(b, h.To[:]...)
}

// DecodeHello reads a hello.
func DecodeHello(b []byte) (Hello, error) {
	var h Hello
	if len(b) != helloBytes {
		return h, errors.New("hello has the wrong length")
	}
	h.Purpose = purpose(b[0])
	if h.Purpose != PurposeRaft && h.Purpose != PurposeRPC {
		return h, fmt.Errorf("hello has unknown purpose %#x", b[0])
	}
	b = b[1:]
	switch magic := string(b[:len(helloMagic)]); {
	case magic[:len(magic)-1] != helloMagic[:len(magic)-1]:
		return h, errors.New("hello is not from an aptlyd")
	case magic != helloMagic:
		return h, fmt.Errorf("hello is of version %q of the peer protocol, this program speaks %q", magic[len(magic)-1:],
			helloMagic[len(magic)-1:])
	}
	b = b[len(helloMagic):]
	copy(h.Cluster[:], b)
	copy(h.From[:], b[16:])
	copy(h.To[:], b[32:])
	return h, nil
}

// Encode returns the bytes of an answer.
func (a HelloAck) Encode() []byte {
	b := make([]byte, 0, HelloAckBytes)
	b = append(b, a.Code)
	b = append(b, a.cluster[:]...)
	return append(b, a.self[:]...)
}

// DecodeHelloAck reads an answer to a hello.
func DecodeHelloAck(b []byte) (HelloAck, error) {
	var a HelloAck
	if len(b) != HelloAckBytes {
		return a, errors.New("answer to hello has the wrong length")
	}
	a.Code = b[0]
	copy(a.cluster[:], b[1:])
	copy(a.self[:], b[17:])
	return a, nil
}

// judge returns nil if a node with this identity may take the connection, else the reason.
func (h Hello) judge(self, cluster uuid.UUID) error {
	switch {
	case h.To != self || h.From == self || h.From == uuid.Nil:
		return ErrWrongNode
	case h.Cluster != cluster && h.Cluster != uuid.Nil && cluster != uuid.Nil:
		return ErrWrongCluster
	case h.Purpose == PurposeRaft && (h.Cluster == uuid.Nil || cluster == uuid.Nil):
		return ErrNotMember
	}
	return nil
}

// ReadExactly reads n bytes from r.
func ReadExactly(r io.Reader, n int) ([]byte, error) {
	b := make([]byte, n)
	_, err := io.ReadFull(r, b)
	return b, err
}
