// Package certificate keeps the certificate of a TLS server up to date with its files. It
// knows nothing of what is served.
package certificate

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// Certificate is a server's certificate and key in two PEM files. They are read again
// when they have changed, so that a renewal needs no restart.
type Certificate struct {
	certFile, keyFile string
	logger            *slog.Logger

	mu       sync.Mutex
	current  *tls.Certificate
	stamps   [2]fileStamp // of the files when they were last read
	lookedAt time.Time
}

// fileStamp tells one content of a file from another.
type fileStamp struct {
	modified time.Time
	size     int64
}

// checkInterval bounds how often the files are looked at.
const checkInterval = time.Second

// Load reads a certificate with its chain, and its key. The error wraps an
// *fs.PathError where a file cannot be read.
func Load(certFile, keyFile string, logger *slog.Logger) (*Certificate, error) {
	c := &Certificate{certFile: certFile, keyFile: keyFile, logger: logger, lookedAt: time.Now()}
	var err error
	if c.stamps, err = c.look(); err != nil {
		return nil, err
	}
	if c.current, err = c.read(); err != nil {
		return nil, err
	}
	return c, nil
}

// TLS returns the configuration of a server that shows the certificate.
func (c *Certificate) TLS() *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		NextProtos:     []string{"http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.get(time.Now()), nil },
	}
}

func (c *Certificate) look() (stamps [2]fileStamp, err error) {
	for i, name := range []string{c.certFile, c.keyFile} {
		info, err := os.Stat(name)
		if err != nil {
			return stamps, fmt.Errorf("look at certificate: %w", err)
		}
		stamps[i] = fileStamp{info.ModTime(), info.Size()}
	}
	return stamps, nil
}

func (c *Certificate) read() (*tls.Certificate, error) {
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return nil, fmt.Errorf("load certificate: %w", err)
	}
	return &pair, nil
}

// get returns the certificate that the files hold, or the last good one.
func (c *Certificate) get(now time.Time) *tls.Certificate {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now.Sub(c.lookedAt) < checkInterval {
		return c.current
	}
	c.lookedAt = now
	stamps, err := c.look()
	if stamps == c.stamps {
		return c.current
	}
	// A pair that does not load is not tried again before it has changed: it may
	// have been caught between the writing of one file and of the other.
	c.stamps = stamps
	var renewed *tls.Certificate
	if err == nil {
		renewed, err = c.read()
	}
	if err != nil {
		c.logger.Error("keep the last certificate: the new one cannot be used", "err", err)
		return c.current
	}
	c.current = renewed
	c.logger.Info("certificate renewed", "expires", renewed.Leaf.NotAfter)
	return c.current
}
