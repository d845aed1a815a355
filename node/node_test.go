package node

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const testDeadline = 20 * time.Second

// testConfig is a single node on free loopback ports.
func testConfig(t testing.TB, dir string) Config {
	t.Helper()
	cfg := DefaultConfig()
	cfg.NodeName = "one"
	cfg.DataDir = dir
	cfg.Listen, cfg.PeerListen, cfg.GossipListen = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	cfg.Logger = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	cfg.Exit = func(code int) { panic(fmt.Sprintf("the node exits with %d", code)) }
	return cfg
}

// start starts a node and waits until it serves.
func start(t testing.TB, cfg Config) *Node {
	t.Helper()
	n, err := Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), testDeadline)
	defer cancel()
	if err := n.Ready(ctx); err != nil {
		t.Fatal(err)
	}
	return n
}

// call does one HTTP request and decodes the answer.
func call(t *testing.T, n *Node, method, path, header, value string, body any, want int) map[string]any {
	t.Helper()
	var payload io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		payload = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, "http://"+n.Addr().String()+path, payload)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set(header, value)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != want {
		t.Fatalf("%s %s: %s, want %d: %s", method, path, resp.Status, want, text)
	}
	answer := make(map[string]any)
	if len(text) > 0 {
		if err := json.Unmarshal(text, &answer); err != nil {
			t.Fatalf("%s %s: %v in %q", method, path, err, text)
		}
	}
	return answer
}

func TestFirstStartMakesCredentialsOnce(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	n := start(t, testConfig(t, dir))
	creds, first := n.Credentials()
	if !first || creds.AdminToken == "" || creds.PublicKey == "" || creds.ServerKey == "" {
		t.Fatalf("first start: %+v, %v", creds, first)
	}
	publish := map[string]any{"channel": "news", "message": map[string]any{"n": 1}}
	answer := call(t, n, http.MethodPost, "/realtime", "x-api-key", creds.ServerKey, publish, 200)
	if answer["offset"] != 1.0 {
		t.Errorf("first publish: %v", answer)
	}
	epoch := n.Epoch()
	if err := n.CredentialsShown(); err != nil {
		t.Fatal(err)
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}

	n = start(t, testConfig(t, dir))
	if creds, again := n.Credentials(); again {
		t.Errorf("a restart shows credentials: %+v", creds)
	}
	if n.Epoch() != epoch {
		t.Error("the epoch changed with a restart")
	}
	answer = call(t, n, http.MethodPost, "/realtime", "x-api-key", creds.ServerKey, publish, 200)
	if answer["offset"] != 2.0 {
		t.Errorf("publish after a restart: %v", answer)
	}
	call(t, n, http.MethodGet, "/admin/v1/projects", "Authorization", "Bearer "+creds.AdminToken, nil, 200)
}

func TestFolderInUseIsRefused(t *testing.T) {
	cfg := testConfig(t, t.TempDir())
	start(t, cfg)
	if second, err := Start(cfg); !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), cfg.DataDir) {
		if second != nil {
			_ = second.Close()
		}
		t.Errorf("a second node on the folder: %v", err)
	}
}

func TestBrowserFindsTheConsole(t *testing.T) {
	n := start(t, testConfig(t, filepath.Join(t.TempDir(), "data")))
	resp, err := http.Get("http://" + n.Addr().String() + "/") // redirects
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != 200 || resp.Request.URL.Path != "/console/" ||
		!bytes.Contains(body, []byte("<title>aptlyd</title>")) {
		t.Errorf("%s: %s %.100s", resp.Request.URL, resp.Status, body)
	}
}

func TestAnotherAdminTokenIsRefused(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	cfg := testConfig(t, dir)
	cfg.AdminToken = "the token of this cluster"
	n := start(t, cfg)
	if !n.isOwner(cfg.AdminToken) || n.isOwner("the token of another") || n.isOwner("") {
		t.Error("the admin token is not judged rightly")
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}

	cfg = testConfig(t, dir)
	cfg.AdminToken = "the token of another cluster"
	n, err := Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	ctx, cancel := context.WithTimeout(t.Context(), testDeadline)
	defer cancel()
	if err := n.Ready(ctx); !errors.Is(err, ErrAdminToken) {
		t.Errorf("got %v, want ErrAdminToken", err)
	}
}

func TestStateOfAnotherClusterIsRefused(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	n := start(t, testConfig(t, dir))
	_, id := n.cluster.ID()
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "node.json")
	identity, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	const other = "00000000-0000-4000-8000-000000000001"
	// As older versions wrote it, without a checksum.
	_, rest, ok := bytes.Cut(identity, []byte(`"checksum": `))
	if !ok {
		t.Fatalf("unexpected %s", identity)
	}
	identity = append([]byte("{"), rest[len(`"01234567",`):]...)
	if err := os.WriteFile(path, bytes.ReplaceAll(identity, []byte(id), []byte(other)), 0o600); err != nil {
		t.Fatal(err)
	}

	n, err = Start(testConfig(t, dir))
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	ctx, cancel := context.WithTimeout(t.Context(), testDeadline)
	defer cancel()
	if err := n.Ready(ctx); err == nil || !strings.Contains(err.Error(), "belongs to cluster "+id) {
		t.Errorf("a node of another cluster took the state: %v", err)
	}
}

func TestKeyLifeOverTheAdminAPI(t *testing.T) {
	n := start(t, testConfig(t, filepath.Join(t.TempDir(), "data")))
	creds, _ := n.Credentials()
	admin := func(method, path string, body any, want int) map[string]any {
		t.Helper()
		return call(t, n, method, "/admin/v1"+path, "Authorization", "Bearer "+creds.AdminToken, body, want)
	}
	publish := func(key any, want int) map[string]any {
		t.Helper()
		return call(t, n, http.MethodPost, "/realtime", "x-api-key", key.(string),
			map[string]any{"channel": "c", "message": 0}, want)
	}
	project := admin(http.MethodPost, "/projects",
		map[string]any{"name": "shop", "allowedOrigins": []string{"https://shop.example"}}, 201)
	var server map[string]any
	for _, k := range project["keys"].([]any) {
		if key := k.(map[string]any); key["kind"] == "server" {
			server = key
		}
	}
	publish(server["key"], 200)

	successor := admin(http.MethodPost, "/keys/"+server["id"].(string)+"/rotate", map[string]any{"overlap": "1h"}, 201)
	publish(server["key"], 200)
	publish(successor["key"], 200)

	final := admin(http.MethodPost, "/keys/"+successor["id"].(string)+"/rotate", map[string]any{"overlap": "0"}, 201)
	if refused := publish(successor["key"], 401); refused["code"] != "invalid_key" {
		t.Errorf("a rotated key without overlap: %v", refused)
	}
	publish(final["key"], 200)

	admin(http.MethodDelete, "/keys/"+server["id"].(string), nil, 204)
	publish(server["key"], 401)
	admin(http.MethodDelete, "/keys/"+server["id"].(string), nil, 404)

	admin(http.MethodDelete, "/projects/"+project["id"].(string), nil, 204)
	publish(final["key"], 401)
}

// What clients did is known at once, and the state keeps it beyond the process.
func TestUsageSurvivesAStop(t *testing.T) {
	cfg := testConfig(t, filepath.Join(t.TempDir(), "data"))
	n := start(t, cfg)
	creds, _ := n.Credentials()
	project := n.Projects("", 1)[0].ID
	usage := func(n *Node, by string) any {
		t.Helper()
		answer := call(t, n, http.MethodGet, "/admin/v1/projects/"+project+"/usage?by="+by,
			"Authorization", "Bearer "+creds.AdminToken, nil, 200)
		var publishes float64
		for _, period := range answer["periods"].([]any) {
			publishes += period.(map[string]any)["publishes"].(float64)
		}
		return publishes
	}
	for range 3 {
		call(t, n, http.MethodPost, "/realtime", "x-api-key", creds.ServerKey,
			map[string]any{"channel": "c", "message": 0}, 200)
	}
	for _, by := range []string{"minute", "hour", "day"} {
		if got := usage(n, by); got != 3.0 {
			t.Errorf("by %s %v publishes", by, got)
		}
	}
	if err := n.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	n = start(t, cfg)
	for by, want := range map[string]any{"minute": 0.0, "hour": 3.0, "day": 3.0} {
		if got := usage(n, by); got != want {
			t.Errorf("after a restart by %s %v publishes, want %v", by, got, want)
		}
	}
}

func TestConsoleSessionEndsWithItsToken(t *testing.T) {
	n := start(t, testConfig(t, filepath.Join(t.TempDir(), "data")))
	creds, _ := n.Credentials()
	const header = "Authorization"
	made := call(t, n, http.MethodPost, "/admin/v1/tokens", header, "Bearer "+creds.AdminToken,
		map[string]any{"name": "ada", "role": "viewer"}, http.StatusCreated)
	signIn, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+n.Addr().String()+"/console/session",
		strings.NewReader(fmt.Sprintf(`{"token":%q}`, made["token"])))
	if err != nil {
		t.Fatal(err)
	}
	signIn.Header.Set("Content-Type", "application/json")
	signIn.Header.Set("X-Aptlyd-Console", "1")
	resp, err := http.DefaultClient.Do(signIn)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusNoContent || len(resp.Cookies()) != 1 {
		t.Fatalf("sign-in: %s, cookies %v", resp.Status, resp.Cookies())
	}
	whoAmI := func(want int) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+n.Addr().String()+"/admin/v1/whoami",
			nil)
		if err != nil {
			t.Fatal(err)
		}
		req.AddCookie(resp.Cookies()[0])
		req.Header.Set("X-Aptlyd-Console", "1")
		answer, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if answer.StatusCode != want {
			t.Errorf("with the cookie: %s, want %d", answer.Status, want)
		}
	}
	whoAmI(http.StatusOK)
	call(t, n, http.MethodDelete, "/admin/v1/tokens/"+made["id"].(string), header, "Bearer "+creds.AdminToken, nil,
		http.StatusNoContent)
	whoAmI(http.StatusUnauthorized)
}
