package httpio

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/aptlyd/aptlyd/gateway/refusal"
)

// A small body that unfolds to a large one is unfolded up to the bound only.
func TestBombIsNotUnfolded(t *testing.T) {
	const limit = 100_000
	var bomb bytes.Buffer
	zip := gzip.NewWriter(&bomb)
	if _, err := io.WriteString(zip, strings.Repeat(" ", 90<<20)); err != nil {
		t.Fatal(err)
	}
	if err := zip.Close(); err != nil || bomb.Len() > limit {
		t.Fatalf("the bomb has %d bytes, %v", bomb.Len(), err)
	}
	r := httptest.NewRequest(http.MethodPost, "/", &bomb)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Content-Encoding", "gzip")
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, refused := ReadBody(httptest.NewRecorder(), r, limit)
	runtime.ReadMemStats(&after)
	if refused == nil || refused.Code != refusal.MessageTooLarge || after.TotalAlloc-before.TotalAlloc > 20<<20 {
		t.Errorf("%v, %d bytes of memory", refused, after.TotalAlloc-before.TotalAlloc)
	}
}

func TestDeadlineOfABody(t *testing.T) {
	began := time.UnixMilli(0)
	at := func(seconds float64) time.Time { return began.Add(time.Duration(seconds * float64(time.Second))) }
	for _, c := range []struct{ received, now, want float64 }{
		{0, 0, 30}, {0, 29, 30}, {1, 29, 30 + 1./1024}, // at first nothing need come
		{300 << 10, 10, 40}, {1200 << 10, 40, 70}, // 30 KB/s
		{4 << 20, 1, 31},                                         // what came fast earns no long stall
		{40 << 10, 60, 70}, {1 << 10, 30, 31}, {2 << 10, 31, 32}, // 1 KiB/s at least
	} {
		b := pacedBody{patience: 30 * time.Second, began: began, received: int64(c.received)}
		if got := b.deadline(at(c.now)); got.Sub(at(c.want)).Abs() > time.Millisecond {
			t.Errorf("%v bytes after %v s: until %v s, want %v", c.received, c.now, got.Sub(began).Seconds(), c.want)
		}
	}
}
