package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// exchange is one request that a test's node expects, and its answer.
type exchange struct {
	request string // method, path and query
	body    string // as sent, without white space at its end; not looked at when empty
	status  int
	answer  string
}

// startNode answers HTTP requests as planned and complains of every other.
func startNode(t *testing.T, header, value string, plan ...exchange) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(plan) == 0 {
			t.Errorf("unexpected request %s %s", r.Method, r.URL)
			return
		}
		next := plan[0]
		plan = plan[1:]
		if got := r.Method + " " + r.URL.RequestURI(); got != next.request {
			t.Errorf("request %s, want %s", got, next.request)
		}
		if got := r.Header.Get(header); got != value {
			t.Errorf("%s is %q", header, got)
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		if got := strings.TrimSpace(string(body)); next.body != "" && got != next.body {
			t.Errorf("%s with %s, want %s", next.request, got, next.body)
		}
		if next.status == http.StatusTooManyRequests {
			w.Header().Set("Retry-After", "3")
		}
		w.WriteHeader(next.status)
		fmt.Fprint(w, next.answer)
	}))
	t.Cleanup(func() {
		server.Close()
		if len(plan) > 0 {
			t.Errorf("%d requests did not come, the first %s", len(plan), plan[0].request)
		}
	})
	return server.URL
}

func TestRESTPublish(t *testing.T) {
	url := startNode(t, "x-api-key", "sk_1",
		exchange{
			"POST /realtime", `{"channel":"c","message":{"a":"<"},"id":"7"}`, 200,
			`{"success":true,"error":null,"channel":"c","offset":42,"timestamp":1764000000000,"id":"7","duplicate":true}`,
		},
		exchange{
			"POST /realtime", `{"channel":"c","message":null}`, 429,
			`{"success":false,"error":"slow down","code":"rate_limited"}`,
		},
		exchange{"POST /realtime", "", 504, `{"success":false,"error":"perhaps","code":"outcome_unknown"}`},
		exchange{"POST /realtime", "", 502, `<html>`},
		exchange{"POST /realtime", "", 200, `{"success"`},
	)
	r := &REST{BaseURL: strings.Replace(url, "http", "ws", 1), APIKey: "sk_1"}
	got, err := r.Publish(t.Context(), Publication{Channel: "c", Data: json.RawMessage(`{"a":"<"}`), ID: "7"})
	if want := (Receipt{Offset: 42, Timestamp: 1764000000000, ID: "7", Duplicate: true, Attempts: 1}); err != nil ||
		got != want {
		t.Errorf("got %+v, %v", got, err)
	}
	_, err = r.Publish(t.Context(), Publication{Channel: "c"})
	var refusal *Error
	if !errors.As(err, &refusal) || *refusal != (Error{CodeRateLimited, "slow down", 3 * time.Second}) ||
		errors.Is(err, ErrUnknown) {
		t.Errorf("got %v", err)
	}
	for range 3 {
		if _, err = r.Publish(t.Context(), Publication{Channel: "c"}); !errors.Is(err, ErrUnknown) {
			t.Errorf("got %v, want an unknown outcome", err)
		}
	}
	r.BaseURL = "127.0.0.1:1"
	if _, err = r.Publish(t.Context(), Publication{Channel: "c"}); err == nil || errors.Is(err, ErrUnknown) {
		t.Errorf("without a node: got %v", err)
	}
}

func TestRESTBatchAndHistory(t *testing.T) {
	url := startNode(t, "x-api-key", "sk_1",
		exchange{
			"POST /realtime/batch", `{"messages":[{"channel":"c","message":1,"id":"x"},{"channel":"d","message":"2"}]}`,
			200,
			`{"results":[{"success":true,"error":null,"channel":"c","offset":5,"timestamp":9,"id":"x"},{"success":false,` +
				`"error":"no","code":"invalid_channel","channel":"d"}]}`,
		},
		exchange{"POST /realtime/batch", "", 200, `{"results":[]}`},
		exchange{
			"GET /realtime/history?after=41&channel=a%2Fb&limit=2", "", 200,
			`{"channel":"a/b","epoch":"e1","earliest":3,"offset":43,"messages":[{"offset":42,"timestamp":8,"data":{"x":1}},` +
				`{"offset":43,"timestamp":9,"data":null}]}`,
		},
	)
	r := &REST{BaseURL: url, APIKey: "sk_1"}
	batch := []Publication{{Channel: "c", Data: 1, ID: "x"}, {Channel: "d", Data: "2"}}
	results, err := r.Batch(t.Context(), batch)
	if err != nil {
		t.Fatal(err)
	}
	var refusal *Error
	if results[0].Err != nil || results[0].Offset != 5 || !errors.As(results[1].Err, &refusal) ||
		refusal.Code != CodeInvalidChannel {
		t.Errorf("got %+v", results)
	}
	if _, err := r.Batch(t.Context(), batch); !errors.Is(err, ErrUnknown) {
		t.Errorf("without results: got %v", err)
	}
	h, err := r.History(t.Context(), "a/b", 41, 2)
	if err != nil {
		t.Fatal(err)
	}
	if h.Epoch != "e1" || h.Earliest != 3 || h.Offset != 43 || len(h.Messages) != 2 ||
		h.Messages[0].Offset != 42 || string(h.Messages[0].Data) != `{"x":1}` || h.Messages[1].Channel != "a/b" {
		t.Errorf("got %+v", h)
	}
}

func TestAdmin(t *testing.T) {
	url := startNode(t, "Authorization", "Bearer secret",
		exchange{
			"POST /admin/v1/projects", `{"name":"shop","allowedOrigins":[],"allowNativeClients":true}`, 201,
			`{"id":"p1","name":"shop","allowedOrigins":[],"allowNativeClients":true,"createdAt":1,"keys":[{"id":"k1",` +
				`"kind":"public","name":"","key":"pk_1","createdAt":1}]}`,
		},
		exchange{"GET /admin/v1/projects", "", 200, `{"projects":[{"id":"p1"},{"id":"p2"}],"next":"p2"}`},
		exchange{"GET /admin/v1/projects?cursor=p2", "", 200, `{"projects":[{"id":"p3"}]}`},
		exchange{
			"PATCH /admin/v1/projects/p1", `{"rules":[{"pattern":"x:*","keepFor":"1h0m0s","initial":{"last":5}}]}`, 200,
			`{"id":"p1","rules":[{"pattern":"x:*","keepMessages":1000,"keepFor":"1h","initial":"live","durability":"quorum"}]}`,
		},
		exchange{"GET /admin/v1/settings", "", 200, `{"maxBytes":0}`},
		exchange{"PATCH /admin/v1/settings", `{"maxBytes":1073741824}`, 200, `{"maxBytes":1073741824}`},
		exchange{
			"POST /admin/v1/projects/p1/keys", `{"kind":"server","name":"ci"}`, 201,
			`{"id":"k2","kind":"server","name":"ci","key":"sk_2","createdAt":2}`,
		},
		exchange{
			"POST /admin/v1/keys/k2/rotate", `{"overlap":"24h0m0s"}`, 201,
			`{"id":"k3","kind":"server","key":"sk_3","replaces":{"id":"k2","expiresAt":77}}`,
		},
		exchange{"DELETE /admin/v1/keys/k3", "", 204, ``},
		exchange{
			"GET /admin/v1/projects/p1/messages?after=1&channel=a%2Fb", "", 200,
			`{"messages":[{"offset":2,"timestamp":3,"data":0}]}`,
		},
		exchange{
			"GET /admin/v1/keys/k2/connections", "", 200,
			`{"connections":[{"id":"c1","node":"n1","since":5,"channels":["a"],"state":"live"}]}`,
		},
		exchange{
			"GET /admin/v1/projects/p1/channels?active=true&prefix=a", "", 200,
			`{"channels":[{"name":"a","offset":3,"earliest":1,"bytes":10,"subscribers":2}]}`,
		},
		exchange{
			"POST /admin/v1/origins/check", `{"rules":["*"],"allowNativeClients":true,"origin":"null"}`, 200,
			`{"rules":[{"rule":"*","valid":true}],"allowed":true,"matched":"*"}`,
		},
		exchange{
			"GET /admin/v1/metrics/history?minutes=2", "", 200,
			`{"stepSeconds":10,"from":7,"series":{"connections":[null,3]}}`,
		},
		exchange{
			"GET /admin/v1/status", "", 200,
			`{"node":"n1","leader":"n2","term":3,"members":[{"name":"n1","voter":true}]}`,
		},
		exchange{"DELETE /admin/v1/projects/nope", "", 404, `{"error":"no such project","code":"not_found"}`},
		exchange{"GET /admin/v1/projects", "", 500, `{"error":"our fault","code":"internal"}`},
	)
	a := &Admin{BaseURL: url, Token: "secret"}
	ctx := t.Context()

	p, err := a.CreateProject(ctx, ProjectSpec{Name: "shop", AllowNativeClients: true})
	if err != nil || p.ID != "p1" || len(p.Keys) != 1 || p.Keys[0].Text != "pk_1" {
		t.Errorf("create project: %+v, %v", p, err)
	}
	var ids []string
	for p, err := range a.Projects(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, p.ID)
	}
	if strings.Join(ids, " ") != "p1 p2 p3" {
		t.Errorf("projects %v", ids)
	}
	rules := []Rule{{Pattern: "x:*", KeepFor: Duration(time.Hour), Initial: &Initial{Last: 5}}}
	p, err = a.UpdateProject(ctx, "p1", ProjectChange{Rules: &rules})
	if err != nil || len(p.Rules) != 1 || p.Rules[0].KeepFor != Duration(time.Hour) || *p.Rules[0].Initial != (Initial{}) {
		t.Errorf("update project: %+v, %v", p, err)
	}
	if s, err := a.Settings(ctx); err != nil || s != (Settings{}) {
		t.Errorf("settings: %+v, %v", s, err)
	}
	limit := int64(1 << 30)
	if s, err := a.UpdateSettings(ctx, SettingsChange{MaxBytes: &limit}); err != nil || s.MaxBytes != limit {
		t.Errorf("update settings: %+v, %v", s, err)
	}
	k, err := a.CreateKey(ctx, "p1", "server", "ci")
	if err != nil || k.Text != "sk_2" {
		t.Errorf("create key: %+v, %v", k, err)
	}
	k, err = a.RotateKey(ctx, "k2", 24*time.Hour)
	if err != nil || k.Replaces == nil || *k.Replaces != (Replaced{"k2", 77}) {
		t.Errorf("rotate key: %+v, %v", k, err)
	}
	if err := a.RevokeKey(ctx, "k3"); err != nil {
		t.Errorf("revoke key: %v", err)
	}
	if h, err := a.Messages(ctx, "p1", "a/b", 1, 0); err != nil || len(h.Messages) != 1 ||
		h.Messages[0].Channel != "a/b" || !h.Messages[0].Replay {
		t.Errorf("messages: %+v, %v", h, err)
	}
	for c, err := range a.Connections(ctx, "k2") {
		if err != nil || c.ID != "c1" || c.State != "live" {
			t.Errorf("connection %+v, %v", c, err)
		}
	}
	for c, err := range a.Channels(ctx, "p1", ChannelFilter{Prefix: "a", Active: true}) {
		if err != nil || c != (Channel{"a", 3, 1, 10, 2, 0}) {
			t.Errorf("channel %+v, %v", c, err)
		}
	}
	if check, err := a.CheckOrigin(ctx, []string{"*"}, true, "null"); err != nil || !check.Allowed ||
		check.Matched != "*" {
		t.Errorf("check origin: %+v, %v", check, err)
	}
	if h, err := a.MetricsHistory(ctx, 2); err != nil || h.From != 7 || h.Series.Connections[0] != nil ||
		*h.Series.Connections[1] != 3 {
		t.Errorf("history: %+v, %v", h, err)
	}
	if s, err := a.Status(ctx); err != nil || s.Leader != "n2" || len(s.Members) != 1 {
		t.Errorf("status: %+v, %v", s, err)
	}
	var refusal *Error
	if err := a.DeleteProject(ctx, "nope"); !errors.As(err, &refusal) || refusal.Code != CodeNotFound {
		t.Errorf("delete project: %v", err)
	}
	for _, err := range a.Projects(ctx) {
		if !errors.As(err, &refusal) || refusal.Code != CodeInternal {
			t.Errorf("projects: %v", err)
		}
	}
}

func TestInitialTravels(t *testing.T) {
	for text, want := range map[string]Initial{`"all"`: {All: true}, `"live"`: {}, `{"last":50}`: {Last: 50}} {
		var got Initial
		if err := json.Unmarshal([]byte(text), &got); err != nil || got != want {
			t.Errorf("%s: got %+v, %v", text, got, err)
		}
		if back, err := json.Marshal(want); err != nil || string(back) != text {
			t.Errorf("%+v became %s, %v", want, back, err)
		}
	}
	for _, text := range []string{`"some"`, `{}`, `{"last":-1}`, `5`, `{"last":"5"}`} {
		var got Initial
		if err := json.Unmarshal([]byte(text), &got); err == nil {
			t.Errorf("%s was taken for %+v", text, got)
		}
	}
}
