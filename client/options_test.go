package client

import (
	"strings"
	"testing"
	"time"
)

func TestEndpointsAreNormalised(t *testing.T) {
	for given, want := range map[string]string{
		"localhost:8080":             "ws://localhost:8080/realtime",
		"ws://h:1":                   "ws://h:1/realtime",
		"http://h/":                  "ws://h/realtime",
		"https://h.example":          "wss://h.example/realtime",
		"wss://h.example/at/a/place": "wss://h.example/at/a/place/realtime",
		"https://h.example/rt":       "wss://h.example/rt/realtime",
		"https://h.example/rt/":      "wss://h.example/rt/realtime",
		"ws://h/rt/realtime":         "ws://h/rt/realtime",
		"ws://h/realtime/":           "ws://h/realtime",
		"ws://[::1]:80":              "ws://[::1]:80/realtime",
	} {
		if got, err := socketURL(given); err != nil || got != want {
			t.Errorf("%s: got %q, %v; want %q", given, got, err, want)
		}
	}
	for _, given := range []string{
		"", "ftp://h", "ws://", "ws://:80", "ws://u:p@h", "ws://h?key=1", "ws://h#x", "ws://h?",
		"ws://h/a/../b", "ws://h/..", "ws://h/a//b", "ws://h/a%2Fb", "ws://h:port", "://",
	} {
		if got, err := socketURL(given); err == nil {
			t.Errorf("%q was taken for %q", given, got)
		}
	}
}

func FuzzSocketURL(f *testing.F) {
	f.Add("localhost:8080")
	f.Add("https://h/x")
	f.Fuzz(func(t *testing.T, endpoint string) {
		once, err := socketURL(endpoint)
		if err != nil {
			return
		}
		if !strings.HasPrefix(once, "ws://") && !strings.HasPrefix(once, "wss://") {
			t.Fatalf("%q became %q", endpoint, once)
		}
		if twice, err := socketURL(once); err != nil || twice != once {
			t.Fatalf("%q became %q, then %q, %v", endpoint, once, twice, err)
		}
	})
}

func TestOptionsNameTheFieldAtFault(t *testing.T) {
	for field, options := range map[string]Options{
		"Endpoints":   {APIKey: "k"},
		"APIKey":      {Endpoints: []string{"h:1"}},
		"MaxInFlight": {Endpoints: []string{"h:1"}, APIKey: "k", MaxInFlight: -1},
	} {
		if _, err := New(options); err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: got %v", field, err)
		}
	}
}

func TestBackoffGrowsUpToItsLimit(t *testing.T) {
	b := backoff{base: 100 * time.Millisecond, limit: time.Second}
	for retry, ceiling := range []time.Duration{100, 200, 400, 800, 1000, 1000} {
		ceiling *= time.Millisecond
		var highest time.Duration
		for range 1000 {
			highest = max(highest, b.delay(retry))
		}
		if highest > ceiling || highest < ceiling*8/10 {
			t.Errorf("retry %d waits up to %v, want nearly %v", retry, highest, ceiling)
		}
	}
	if d := b.delay(1000); d < 0 || d > b.limit {
		t.Errorf("retry 1000 waits %v", d)
	}
}
