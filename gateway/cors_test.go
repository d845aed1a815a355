package gateway

import (
	"slices"
	"strings"
	"testing"
)

func TestPreflightLetsTracingPass(t *testing.T) {
	h := newHarness(t, "portable")
	for _, path := range []string{"/realtime", "/realtime/batch", "/realtime/history"} {
		res, _ := h.do("OPTIONS", path, "", "Origin", testOrigin, "Access-Control-Request-Method", "POST",
			"Access-Control-Request-Headers",
			"content-type,x-api-key, traceparent ,Baggage,sentry-trace,x-forwarded-for,x-forwarded-host,forwarded,x-real-ip,"+
				"x-aptlyd-console,b@d,")
		allowed := strings.Split(res.Header.Get("Access-Control-Allow-Headers"), ", ")
		want := []string{"content-type", "x-api-key", "idempotency-key", "traceparent", "baggage", "sentry-trace"}
		if res.StatusCode != 204 || !slices.Equal(allowed, want) {
			t.Errorf("%s: %s allows %v", path, res.Status, allowed)
		}
		if vary := res.Header.Values("Vary"); !slices.Contains(vary, "Access-Control-Request-Headers") ||
			!slices.Contains(vary, "Origin") {
			t.Errorf("%s: Vary %v", path, vary)
		}
	}
	if res, _ := h.do("OPTIONS", "/admin/v1/projects", "", "Origin", testOrigin, "Access-Control-Request-Headers",
		"traceparent"); res.Header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("the admin API answers a preflight: %v", res.Header)
	}
	if many := allowedHeaders([]string{strings.Repeat("x,", 10) + manyNames(1000)}); len(many) != maxAskedHeaders {
		t.Errorf("%d headers are allowed", len(many))
	}
}

func manyNames(n int) string {
	names := make([]string, n)
	for i := range names {
		names[i] = "x-" + strings.Repeat("a", i%50) + string(rune('a'+i%26))
	}
	return strings.Join(names, ",")
}

// A page can read when it may come back.
func TestRetryAfterIsExposed(t *testing.T) {
	h := newHarness(t, "portable")
	h.broker.set(func() { h.broker.staleness = CloseAfter })
	res, _ := h.do("POST", "/realtime", `{}`, "Origin", testOrigin, "X-Api-Key", h.secret, "Content-Type",
		"application/json")
	if res.StatusCode != 503 || res.Header.Get("Retry-After") == "" ||
		res.Header.Get("Access-Control-Expose-Headers") != "Retry-After" {
		t.Errorf("%s %v", res.Status, res.Header)
	}
}
