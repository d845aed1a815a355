package main

import (
	"net"
	"os"
	"path/filepath"
	"testing"
)

func TestExitCodes(t *testing.T) {
	silence(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, c := range []struct {
		name string
		args []string
		want int
	}{
		{"version", []string{"version"}, exitDone},
		{"version as a flag", []string{"--version"}, exitDone},
		{"help", []string{"serve", "--help"}, exitDone},
		{"completion", []string{"completion", "bash"}, exitDone},
		{"healthcheck of nobody", []string{"healthcheck", "--server", "http://127.0.0.1:1"}, exitFailed},
		{"no command", nil, exitMisuse},
		{"unknown command", []string{"frobnicate"}, exitMisuse},
		{"unknown flag", []string{"serve", "--frobnicate"}, exitMisuse},
		{"bad flag value", []string{"serve", "--bootstrap-expect", "x"}, exitMisuse},
		{"limit too large", []string{"serve", "--max-message-bytes", "2000000"}, exitMisuse},
		{"poller of nowhere", []string{
			"serve", "--poller", "dowsing", "--data-dir", filepath.Join(t.TempDir(), "d"),
			"--listen", "127.0.0.1:0", "--peer-listen", "127.0.0.1:0",
		}, exitMisuse},
		{"gossip port taken", []string{
			"serve", "--data-dir", filepath.Join(t.TempDir(), "d"), "--listen", "127.0.0.1:0",
			"--peer-listen", "127.0.0.1:0", "--gossip-listen", taken.Addr().String(),
		}, exitMisuse},
		{"completion of no shell", []string{"completion", "frobnicate"}, exitMisuse},
		{"server without a scheme", []string{"healthcheck", "--server", "localhost:8080"}, exitMisuse},
		{"less than none", []string{"audit", "--limit", "-1"}, exitMisuse},
		{"group without command", []string{"project"}, exitMisuse},
		{"unknown command in a group", []string{"key", "frobnicate"}, exitMisuse},
		{"argument missing", []string{"publish", "news"}, exitMisuse},
		{"message is no JSON", []string{"publish", "news", "{", "--key", "x"}, exitMisuse},
		{"key missing", []string{"publish", "news", "1"}, exitMisuse},
		{"admin token missing", []string{"project", "list"}, exitMisuse},
		{"no server there", []string{"project", "list", "--admin-token", "x", "--server", "http://127.0.0.1:1"}, exitFailed},
		{"peers without a secret", []string{"serve", "--join", "10.0.0.1:7401"}, exitMisuse},
		{"peer port open without a secret", []string{"serve", "--peer-listen", "0.0.0.0:0"}, exitMisuse},
		{"an empty one of the secrets", []string{"serve", "--cluster-secret", "a secret of enough length,"}, exitMisuse},
		{"a short one of the secrets", []string{"serve", "--cluster-secret", "a secret of enough length,short"}, exitMisuse},
		{
			"key with a typo",
			[]string{"serve", "--bootstrap-server-key", "sk_0000000000000000000000000000000000000000"},
			exitMisuse,
		},
		{"data folder is a file", []string{"serve", "--data-dir", os.Args[0], "--listen", "127.0.0.1:0"}, exitMisuse},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := run(c.args); got != c.want {
				t.Errorf("aptlyd %v: exit code %d, want %d", c.args, got, c.want)
			}
		})
	}
}

// silence keeps what the commands print out of the test's output.
func silence(t *testing.T) {
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	stdout, stderr := os.Stdout, os.Stderr
	os.Stdout, os.Stderr = null, null
	t.Cleanup(func() {
		os.Stdout, os.Stderr = stdout, stderr
		null.Close()
	})
}
