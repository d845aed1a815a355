package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
)

// Events go on where they were, on the next endpoint, without repeats.
func TestEventsGoOn(t *testing.T) {
	var asked []string
	answers := []string{
		"retry: 10\nevent: subscribed\n" +
			"data: {\"type\":\"subscribed\",\"channel\":\"c\",\"offset\":2,\"epoch\":\"e\"}\nid: e.0\n\n" +
			":\n\ndata: {\"channel\":\"c\",\"data\":1,\"offset\":1}\nid: e.1\n\n" +
			"data: {\"channel\":\"c\",\"data\":2,\"offset\":2}\nid: e.2\n", // cut before its end
		"event: subscribed\ndata: {\"type\":\"subscribed\",\"channel\":\"c\",\"offset\":5,\"epoch\":\"e\"}\nid: e.1\n\n" +
			"data: {\"channel\":\"c\",\"data\":2,\"offset\":2}\nid: e.2\n\n" +
			"data: {\"channel\":\"c\",\"data\":2,\"offset\":2}\nid: e.2\n\n" + // a repeat
			"event: gap\ndata: {\"type\":\"gap\",\"channel\":\"c\",\"from\":3,\"to\":4}\nid: e.4\n\n" +
			"event: goaway\ndata: {\"type\":\"goaway\",\"startInMs\":0}\n\n",
		"event: subscribed\ndata: {\"type\":\"subscribed\",\"channel\":\"c\",\"offset\":1,\"epoch\":\"f\"}\nid: f.0\n\n" +
			"data: {\"channel\":\"c\",\"data\":9,\"offset\":1}\nid: f.1\n\n" +
			"retry: 2000\nevent: error\ndata: {\"type\":\"error\",\"error\":\"ended\",\"code\":\"key_revoked\"}\n\n",
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		asked = append(asked, r.Method+" "+r.URL.RawQuery+r.Header.Get("Last-Event-ID")+string(body))
		answer := answers[len(asked)-1]
		_, _ = io.WriteString(w, answer)
	}))
	defer server.Close()
	var heard []string
	note := func(format string, args ...any) { heard = append(heard, fmt.Sprintf(format, args...)) }
	e := Events{Endpoints: []string{server.URL, server.URL + "/realtime"}, APIKey: "k"}
	err := e.Follow(t.Context(), SubscribeOptions{
		From:      After(0),
		Epoch:     "e",
		OnMessage: func(m Message) { note("%d %s", m.Offset, m.Data) },
		OnGap:     func(g Gap) { note("gap %d-%d", g.From, g.To) },
		OnReset:   func(r Reset) { note("reset %d %s", r.Last, r.Epoch) },
	}, "c")
	var refused *Error
	if !errors.As(err, &refused) || refused.Code != CodeKeyRevoked {
		t.Errorf("it ends with %v", err)
	}
	want := []string{"1 1", "2 2", "gap 3-4", "reset 4 f", "1 9"}
	if !slices.Equal(heard, want) {
		t.Errorf("heard %q, want %q", heard, want)
	}
	want = []string{`POST {"channels":[{"name":"c","fromOffset":0,"epoch":"e"}]}`, "GET channel=ce.1", "GET channel=ce.4"}
	if !slices.Equal(asked, want) {
		t.Errorf("asked %q, want %q", asked, want)
	}
}

func TestEventsAreRefused(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusForbidden)
		_, _ = io.WriteString(w, `{"success":false,"error":"not here","code":"forbidden"}`)
	}))
	defer server.Close()
	e := Events{Endpoints: []string{server.URL}, APIKey: "k"}
	var refused *Error
	if err := e.Follow(t.Context(), SubscribeOptions{}, "c"); err == nil || !strings.Contains(err.Error(), "OnMessage") {
		t.Errorf("without OnMessage: %v", err)
	}
	options := SubscribeOptions{OnMessage: func(Message) {}}
	err := e.Follow(t.Context(), options, "c")
	if !errors.As(err, &refused) || refused.Code != CodeForbidden {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := e.Follow(ctx, options, "c"); err != nil {
		t.Errorf("after its context: %v", err)
	}
	e.FailFast, e.Endpoints = true, []string{"127.0.0.1:1"}
	if err := e.Follow(t.Context(), options, "c"); err == nil {
		t.Error("nobody listens, and it goes on")
	}
}
