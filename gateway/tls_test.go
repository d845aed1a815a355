package gateway

import (
	"bufio"
	"crypto/tls"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/aptlyd/aptlyd/gateway/certificate"
	"github.com/aptlyd/aptlyd/gateway/internal/testcert"
	"github.com/aptlyd/aptlyd/gateway/poll"
	"github.com/aptlyd/aptlyd/gateway/refusal"
)

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
		certFile, keyFile := testcert.Write(t, dir, "first")
		cert, err := certificate.Load(certFile, keyFile, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		h := newHarness(t, poller, func(c *Config) { c.TLS = cert.TLS() })
		h.fill("c", 2000)
		c := h.dialTLS(unverified())
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
		testcert.Write(t, dir, "renewed")
		eventually(t, func() string {
			probe := h.dialTLS(unverified())
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
	plain := newTLSHarness(t, poll.Default).connect()
	plain.send(upgradeHead + "\r\n")
	if res, err := http.ReadResponse(plain.in, nil); err != nil || res.StatusCode != 400 {
		t.Errorf("got %v, %v", res, err)
	}
	silent := newTLSHarness(t, poll.Default, func(c *Config) { c.HandshakeTimeout = 100 * time.Millisecond }).connect()
	if _, err := silent.in.ReadByte(); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a silent client: %v", err)
	}
}
