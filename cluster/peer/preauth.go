package peer

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
)

// Before TLS a dialler proves that it knows the cluster secret. TLS alone would
// show its certificate to every client, which tells that this is an aptlyd and has a
// key to try guessed secrets on.
//
//	0                16                         48
//	+----------------+--------------------------+
//	| nonce          | HMAC-SHA256 of the nonce |
//	+----------------+--------------------------+
//
// A replayed message reaches the TLS handshake and no further.
const (
	nonceBytes   = 16
	preauthBytes = nonceBytes + sha256.Size
)

// errNoSecret: the other end does not know the cluster secret.
var errNoSecret = errors.New("the other end does not know the cluster secret")

// Preauth proves to the other end of a connection between nodes that this node knows the
// cluster secret, and checks the other end's proof. A nil Preauth does neither, on loopback.
type Preauth struct {
	TLS *tls.Config
	// keys are the keys that open; the first one is this node's own.
	keys [][]byte
}

// NewPreauth returns the proof that belongs to some secrets. The first is shown,
// any is accepted. Without a secret it is nil.
func NewPreauth(secrets []string) (*Preauth, error) {
	if len(secrets) == 0 {
		return nil, nil
	}
	config, err := peerTLS(secrets)
	if err != nil {
		return nil, err
	}
	p := &Preauth{TLS: config, keys: make([][]byte, len(secrets))}
	for i, secret := range secrets {
		if p.keys[i], err = DeriveKey(secret, "knock"); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// Dial proves this node to the acceptor and secures the connection. The caller sets a deadline.
func (p *Preauth) Dial(ctx context.Context, raw net.Conn) (net.Conn, error) {
	if p == nil {
		return raw, nil
	}
	var nonce [nonceBytes]byte
	rand.Read(nonce[:]) // never fails
	if _, err := raw.Write(preauthMessage(p.keys[0], nonce[:])); err != nil {
		return nil, fmt.Errorf("send the proof of the secret: %w", err)
	}
	secured := tls.Client(raw, p.TLS)
	if err := secured.HandshakeContext(ctx); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) {
			return nil, fmt.Errorf("shake hands: the other end hung up; has it the same cluster secret? %w", err)
		}
		return nil, fmt.Errorf("shake hands: %w", err)
	}
	return secured, nil
}

// Accept checks the dialler's proof and secures the connection. It sends nothing before.
func (p *Preauth) Accept(ctx context.Context, raw net.Conn) (net.Conn, error) {
	if p == nil {
		return raw, nil
	}
	heard, err := ReadExactly(raw, preauthBytes)
	if err != nil {
		return nil, fmt.Errorf("wait for the proof of the secret: %w", err)
	}
	if !p.verify(heard) {
		return nil, errNoSecret
	}
	secured := tls.Server(raw, p.TLS)
	if err := secured.HandshakeContext(ctx); err != nil {
		return nil, fmt.Errorf("shake hands: %w", err)
	}
	return secured, nil
}

func (p *Preauth) verify(heard []byte) bool {
	for _, key := range p.keys {
		if hmac.Equal(heard, preauthMessage(key, heard[:nonceBytes])) {
			return true
		}
	}
	return false
}

// preauthMessage returns the nonce and its proof.
func preauthMessage(key, nonce []byte) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write(nonce)
	return mac.Sum(append(make([]byte, 0, preauthBytes), nonce...))
}
