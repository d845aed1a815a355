package peer

import (
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"time"
)

// DeriveKey makes a 32-byte key for one purpose out of the cluster's secret
// (HKDF with SHA-256, RFC 5869).
func DeriveKey(secret, purpose string) ([]byte, error) {
	key, err := hkdf.Key(sha256.New, []byte(secret), []byte("aptlyd"), purpose, 32)
	if err != nil {
		return nil, fmt.Errorf("derive key for %s: %w", purpose, err)
	}
	return key, nil
}

// peerKey is the key of the peer port that belongs to a secret.
func peerKey(secret string) (ed25519.PrivateKey, error) {
	seed, err := DeriveKey(secret, "peer port ed25519 key")
	if err != nil {
		return nil, err
	}
	return ed25519.NewKeyFromSeed(seed), nil
}

// peerTLS returns the TLS configuration of the peer port, both ends' alike. The
// certificate's key is derived from the first secret, so a node that completes the
// handshake knows it. Names and dates in it mean nothing. The key of any of the
// secrets is accepted.
func peerTLS(secrets []string) (*tls.Config, error) {
	var own ed25519.PrivateKey
	var accepted []ed25519.PublicKey
	for i, secret := range secrets {
		private, err := peerKey(secret)
		if err != nil {
			return nil, err
		}
		if i == 0 {
			own = private
		}
		accepted = append(accepted, private.Public().(ed25519.PublicKey))
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "aptlyd peer"},
		NotBefore:    time.Unix(0, 0),
		NotAfter:     time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC),
		KeyUsage:     x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(nil, template, template, own.Public(), own)
	if err != nil {
		return nil, fmt.Errorf("create peer certificate: %w", err)
	}
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		Certificates:           []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: own}},
		ClientAuth:             tls.RequireAnyClientCert,
		SessionTicketsDisabled: true,
		InsecureSkipVerify:     true, // VerifyConnection below pins the keys instead
		VerifyConnection: func(state tls.ConnectionState) error {
			if len(state.PeerCertificates) == 0 {
				return errors.New("peer showed no certificate")
			}
			theirs, ok := state.PeerCertificates[0].PublicKey.(ed25519.PublicKey)
			if ok {
				for _, key := range accepted {
					if subtle.ConstantTimeCompare(theirs, key) == 1 {
						return nil
					}
				}
			}
			return errors.New("peer does not know the cluster secret")
		},
	}, nil
}
