package lab

import (
	"net"
	"os/exec"
	"runtime"
	"sync"
	"testing"
)

// A proxy lives on when threads of the program end that started it.
func TestProxyOutlivesThreads(t *testing.T) {
	NeedTool(t, "python3")
	for range 8 {
		_, port, err := net.SplitHostPort(freeAddress(t))
		if err != nil {
			t.Fatal(err)
		}
		startProxy(t, "127.0.0.1:"+port, exec.Command("python3", "-m", "http.server", "--bind", "127.0.0.1", port))
		var ending sync.WaitGroup
		for range 64 {
			ending.Go(runtime.LockOSThread) // never unlocked, so the thread ends
		}
		ending.Wait()
		socket, err := net.Dial("tcp", "127.0.0.1:"+port)
		if err != nil {
			t.Fatalf("the proxy is gone: %v", err)
		}
		_ = socket.Close()
	}
}
