package certificate

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aptlyd/aptlyd/gateway/internal/testcert"
)

func commonName(c *tls.Certificate) string { return c.Leaf.Subject.CommonName }

func TestCertificateIsRenewed(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := testcert.Write(t, dir, "first")
	var log bytes.Buffer
	c, err := Load(certFile, keyFile, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	step := func(want, does string) {
		t.Helper()
		now = now.Add(checkInterval)
		if got := commonName(c.get(now)); got != want {
			t.Errorf("%s: shows %s, want %s", does, got, want)
		}
	}
	step("first", "unchanged")
	testcert.Write(t, dir, "renewed")
	if got := commonName(c.get(now.Add(checkInterval / 2))); got != "first" {
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
	testcert.Write(t, dir, "repaired")
	step("repaired", "both good again")
}

func TestLoadWhatIsNoCertificate(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := testcert.Write(t, dir, "a")
	otherCert, _ := testcert.Write(t, t.TempDir(), "b")
	var path *fs.PathError
	if _, err := Load(certFile, filepath.Join(dir, "none"), slog.Default()); !errors.As(err, &path) {
		t.Errorf("no key: %v", err)
	}
	if _, err := Load(otherCert, keyFile, slog.Default()); err == nil {
		t.Error("the key of another certificate is taken")
	}
}
