package bench

import (
	"os"
	"testing"
	"time"
)

func TestUsageOfThisProcess(t *testing.T) {
	pids := []int{os.Getpid()}
	meter, err := startMeter(pids)
	if err != nil {
		t.Fatal(err)
	}
	before, err := usageOf(pids)
	if err != nil || before.rss < 1<<20 || before.anonymous <= 0 || before.anonymous > before.rss {
		t.Fatalf("%+v, %v", before, err)
	}
	twice, err := usageOf([]int{pids[0], pids[0]})
	if err != nil || twice.rss < before.rss*3/2 {
		t.Errorf("twice it is %+v, %v", twice, err)
	}
	deadline := time.Now().Add(patience)
	for {
		now, err := usageOf(pids)
		if err != nil {
			t.Fatal(err)
		}
		if now.cpu >= before.cpu+6*clockTick { // two clocks, one of which counts whole ticks of each kind
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("no CPU time passed")
		}
	}
	cost, err := meter.stop()
	if err != nil || cost.ServerCPU < 0.06 || cost.ClientCPU < 0.02 || cost.ServerRSS <= 0 {
		t.Errorf("cost %+v, %v", cost, err)
	}

	count, err := descriptorsOf(pids)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if more, err := descriptorsOf(pids); err != nil || more != count+1 {
		t.Errorf("%d descriptors, one more is %d, %v", count, more, err)
	}
	if _, err := usageOf([]int{1 << 30}); err == nil {
		t.Error("a process that is not there was measured")
	}
}

func TestParseProc(t *testing.T) {
	stat := "7 (a) b) 1 2) S 1 7 7 0 -1 4194560 1 2 3 4 150 50 6 7 20 0"
	if cpu, err := parseStat([]byte(stat)); err != nil || cpu != 2*time.Second {
		t.Errorf("%v, %v", cpu, err)
	}
	for _, bad := range []string{"", "7 (a) S 1", "7 (a) S 1 7 7 0 -1 4194560 1 2 3 4 x 50"} {
		if _, err := parseStat([]byte(bad)); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
	status := []byte("Name:\tx\nVmRSS:\t    12 kB\nRssAnon:\t 3 kB\n")
	if n, err := statusBytes(status, "RssAnon:"); n != 3<<10 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	if _, err := statusBytes(status, "VmSwap:"); err == nil {
		t.Error("a line that is not there was found")
	}
}
