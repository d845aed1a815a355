package gateway

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io/fs"
	"log/slog"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aptlyd/aptlyd/gateway/poll"
	"github.com/aptlyd/aptlyd/gateway/refusal"
)

// writePair writes a certificate for name, signed by itself, and its key.
func writePair(t testing.TB, dir, name string) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for file, block := range map[string]*pem.Block{
		certFile: {Type: "CERTIFICATE", Bytes: cert}, keyFile: {Type: "PRIVATE KEY", Bytes: keyDER},
	} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certFile, keyFile
}

func commonName(c *tls.Certificate) string { return c.Leaf.Subject.CommonName }

func TestCertificateIsRenewed(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := writePair(t, dir, "first")
	var log bytes.Buffer
	c, err := LoadCertificate(certFile, keyFile, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	step := func(want, does string) {
		t.Helper()
		now = now.Add(certificateCheck)
		if got := commonName(c.get(now)); got != want {
			t.Errorf("%s: shows %s, want %s", does, got, want)
		}
	}
	step("first", "unchanged")
	writePair(t, dir, "renewed")
	if got := commonName(c.get(now.Add(certificateCheck / 2))); got != "first" {
		t.Errorf("looked at the files again at once: shows %s", got)
	}
	step("renewed", "changed")

	if err := os.WriteFile(certFile, []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	log.Reset()
	step("renewed", "a bad certificate")
	step("renewed", "a bad certificate")
	if n := strings.Count(log.String(), "level=ERROR"); n != 1 {
		t.Errorf("%d errors logged: %s", n, &log)
	}
	if err := os.Remove(keyFile); err != nil {
		t.Fatal(err)
	}
	step("renewed", "no key")
	writePair(t, dir, "repaired")
	step("repaired", "both good again")
}

func TestLoadCertificateThatIsNone(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := writePair(t, dir, "a")
	otherCert, _ := writePair(t, t.TempDir(), "b")
	var path *fs.PathError
	if _, err := LoadCertificate(certFile, filepath.Join(dir, "none"), slog.Default()); !errors.As(err, &path) {
		t.Errorf("no key: %v", err)
	}
	if _, err := LoadCertificate(otherCert, keyFile, slog.Default()); err == nil {
		t.Error("the key of another certificate is taken")
	}
}

// dialTLS is dial over TLS.
func (h *harness) dialTLS(config *tls.Config) *client {
	h.t.Helper()
	c := h.connect()
	encrypted := tls.Client(c.socket, config)
	c.socket, c.in = encrypted, bufio.NewReaderSize(encrypted, 64<<10)
	return c
}

func TestTLS(t *testing.T) {
	onEachPoller(t, func(t *testing.T, poller string) {
		dir := t.TempDir()
		certFile, keyFile := writePair(t, dir, "first")
		cert, err := LoadCertificate(certFile, keyFile, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		h := newHarness(t, poller, func(c *Config) { c.TLS = cert.TLS() })
		h.fill("c", 2000)
		insecure := &tls.Config{InsecureSkipVerify: true}
		c := h.dialTLS(insecure)
		c.send(upgradeHead + "Origin: " + testOrigin + "\r\n\r\n")
		res, err := http.ReadResponse(c.in, nil)
		if err != nil || res.StatusCode != 101 {
			t.Fatalf("handshake: %v, %v", res, err)
		}
		c.text(`{"type":"auth","apiKey":"%s","timestamp":1}`, h.public)
		c.want("auth_success")
		c.want("connected")
		c.subscribe("c", "")
		c.wantMessages("c", 1, 2000, true)
		h.fill("c", 1)
		c.wantMessages("c", 2001, 2001, false)

		// Plain HTTP over TLS, with the certificate that the files have now.
		writePair(t, dir, "renewed")
		eventually(t, func() string {
			probe := h.dialTLS(insecure)
			probe.send("GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
			if res, err := http.ReadResponse(probe.in, nil); err != nil || res.StatusCode != 200 {
				return "cannot read the answer"
			}
			state := probe.socket.(*tls.Conn).ConnectionState()
			if name := state.PeerCertificates[0].Subject.CommonName; name != "renewed" {
				return "shows the certificate of " + name
			}
			return ""
		})
		h.fill("c", 1)
		c.wantMessages("c", 2002, 2002, false)

		old := h.dialTLS(&tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11})
		if err := old.socket.(*tls.Conn).Handshake(); err == nil {
			t.Error("TLS 1.1 is spoken")
		}
		h.broker.endKey(h.public)
		c.wantError(refusal.KeyRevoked)
		c.wantClose(1000)
	})
}

// A client that speaks no TLS is told so, and one that says nothing is closed.
func TestNoTLSWhereItIsWanted(t *testing.T) {
	certFile, keyFile := writePair(t, t.TempDir(), "first")
	cert, err := LoadCertificate(certFile, keyFile, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	h := newHarness(t, poll.Default, func(c *Config) {
		c.TLS, c.HandshakeTimeout = cert.TLS(), 100*time.Millisecond
	})
	plain := h.connect()
	plain.send(upgradeHead + "\r\n")
	if res, err := http.ReadResponse(plain.in, nil); err != nil || res.StatusCode != 400 {
		t.Errorf("got %v, %v", res, err)
	}
	silent := h.connect()
	if _, err := silent.in.ReadByte(); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a silent client: %v", err)
	}
}
