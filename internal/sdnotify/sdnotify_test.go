package sdnotify

import (
	"net"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

func TestNotify(t *testing.T) {
	for _, path := range []string{filepath.Join(t.TempDir(), "notify"), "@aptlyd-" +
		strconv.FormatInt(time.Now().UnixNano(), 36)} {
		socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: path})
		if err != nil {
			t.Fatal(err)
		}
		t.Setenv("NOTIFY_SOCKET", path)
		if err := Notify(Ready, Status("serving clients")); err != nil {
			t.Fatal(err)
		}
		told := make([]byte, 100)
		if err := socket.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		n, err := socket.Read(told)
		if want := "READY=1\nSTATUS=serving clients"; err != nil || string(told[:n]) != want {
			t.Errorf("told %q, %v, want %q", told[:n], err, want)
		}
		if err := socket.Close(); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("NOTIFY_SOCKET", filepath.Join(t.TempDir(), "nobody"))
	if err := Notify(Ready); err == nil {
		t.Error("nobody listens, and no error is returned")
	}
	t.Setenv("NOTIFY_SOCKET", "")
	if err := Notify(Ready); err != nil {
		t.Errorf("without a supervisor: %v", err)
	}
}

func TestWatchdogTimeout(t *testing.T) {
	for _, test := range []struct {
		usec, pid string
		want      time.Duration
	}{
		{"30000000", "", 30 * time.Second},
		{"30000000", "1", 0},
		{"", "", 0},
		{"soon", "", 0},
	} {
		t.Setenv("WATCHDOG_USEC", test.usec)
		t.Setenv("WATCHDOG_PID", test.pid)
		if got := WatchdogTimeout(); got != test.want {
			t.Errorf("%+v: %v", test, got)
		}
	}
}
