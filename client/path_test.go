package client

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// recorder answers every request in one way and remembers what it was asked.
type recorder struct {
	mu    sync.Mutex
	asked []string
}

func (r *recorder) serve(t *testing.T, status int, answer string, header ...string) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		r.mu.Lock()
		r.asked = append(r.asked, q.Method+" "+q.RequestURI)
		r.mu.Unlock()
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, answer)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

func (r *recorder) requests() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.asked, "\n")
}

// callsWithID is every call whose path holds an id.
var callsWithID = map[string]func(context.Context, *Admin, string) error{
	"project": func(ctx context.Context, a *Admin, id string) error { _, err := a.Project(ctx, id); return err },
	"update project": func(ctx context.Context, a *Admin, id string) error {
		_, err := a.UpdateProject(ctx, id, ProjectChange{})
		return err
	},
	"delete project": func(ctx context.Context, a *Admin, id string) error { return a.DeleteProject(ctx, id) },
	"create key": func(ctx context.Context, a *Admin, id string) error {
		_, err := a.CreateKey(ctx, id, "public", "x")
		return err
	},
	"rotate key":   func(ctx context.Context, a *Admin, id string) error { _, err := a.RotateKey(ctx, id, 0); return err },
	"revoke key":   func(ctx context.Context, a *Admin, id string) error { return a.RevokeKey(ctx, id) },
	"revoke token": func(ctx context.Context, a *Admin, id string) error { return a.RevokeAdminToken(ctx, id) },
	"disconnect":   func(ctx context.Context, a *Admin, id string) error { return a.Disconnect(ctx, id) },
	"purge": func(ctx context.Context, a *Admin, id string) error {
		_, err := a.PurgeChannel(ctx, id, "c")
		return err
	},
	"messages": func(ctx context.Context, a *Admin, id string) error {
		_, err := a.Messages(ctx, id, "c", 0, 0)
		return err
	},
	"connections": func(ctx context.Context, a *Admin, id string) error {
		for _, err := range a.Connections(ctx, id) {
			return err
		}
		return nil
	},
	"channels": func(ctx context.Context, a *Admin, id string) error {
		for _, err := range a.Channels(ctx, id, ChannelFilter{}) {
			return err
		}
		return nil
	},
}

// What is no id never reaches a path: a proxy may decode and clean it.
func TestOnlyIDsGoIntoPaths(t *testing.T) {
	var r recorder
	a := &Admin{BaseURL: r.serve(t, 204, ""), Token: "secret"}
	for name, make := range callsWithID {
		for _, id := range []string{"", ".", "..", "../keys/k", "a/b", "%2e%2e", "a?b", "a#b", "a;b", "a b", "ä"} {
			if err := make(t.Context(), a, id); err == nil || !strings.Contains(err.Error(), "not an id") {
				t.Errorf("%s %q: %v", name, id, err)
			}
		}
	}
	if asked := r.requests(); asked != "" {
		t.Errorf("asked %s", asked)
	}
}

func TestFreeNamesGoIntoTheQuery(t *testing.T) {
	var r recorder
	a := &Admin{BaseURL: r.serve(t, 404, `{"error":"no","code":"not_found"}`), Token: "secret"}
	for _, name := range []string{"..", "a/../../keys/k", "a&b=c"} {
		if _, err := a.PurgeChannel(t.Context(), "p", name); err == nil {
			t.Errorf("purged %q", name)
		}
		if err := a.RemoveMember(t.Context(), name); err == nil {
			t.Errorf("removed %q", name)
		}
	}
	const want = `DELETE /admin/v1/projects/p/messages?channel=..
DELETE /admin/v1/members?name=..
DELETE /admin/v1/projects/p/messages?channel=a%2F..%2F..%2Fkeys%2Fk
DELETE /admin/v1/members?name=a%2F..%2F..%2Fkeys%2Fk
DELETE /admin/v1/projects/p/messages?channel=a%26b%3Dc
DELETE /admin/v1/members?name=a%26b%3Dc`
	if got := r.requests(); got != want {
		t.Errorf("asked\n%s\nwant\n%s", got, want)
	}
}

// Who answers with a redirect would choose what is called with the credential.
func TestNoRedirectIsFollowed(t *testing.T) {
	var elsewhere recorder
	target := elsewhere.serve(t, 200, `{"success":true,"messages":[],"channel":"c"}`)
	for _, status := range []int{301, 302, 303, 307, 308} {
		var r recorder
		url := r.serve(t, status, "", "Location", target+"/admin/v1/projects/p")
		a, rest := &Admin{BaseURL: url, Token: "secret"}, &REST{BaseURL: url, APIKey: "sk_1", HTTP: &http.Client{}}
		_, purge := a.PurgeChannel(t.Context(), "p", "c")
		_, publish := rest.Publish(t.Context(), Publication{Channel: "c", Data: 1})
		_, history := rest.History(t.Context(), "c", 0, 0)
		for name, err := range map[string]error{
			"purge": purge, "delete": a.DeleteProject(t.Context(), "p"), "backup": a.Backup(t.Context(), io.Discard),
			"publish": publish, "history": history,
		} {
			if err == nil || !strings.Contains(err.Error(), target) ||
				!strings.Contains(err.Error(), "no redirect is followed") {
				t.Errorf("%d, %s: %v", status, name, err)
			}
		}
	}
	if asked := elsewhere.requests(); asked != "" {
		t.Errorf("followed to %s", asked)
	}
}

// An answer that another resource gives is no success.
func TestOnlyTheExpectedStatusIsSuccess(t *testing.T) {
	for _, status := range []int{200, 202, 204} {
		var r recorder
		a := &Admin{BaseURL: r.serve(t, status, `{"channel":"another","purged":1,"offset":1}`), Token: "secret"}
		if err := a.RevokeKey(t.Context(), "k"); (err == nil) != (status == 204) {
			t.Errorf("revoke answered with %d: %v", status, err)
		}
		if _, err := a.CreateKey(t.Context(), "p", "public", "x"); err == nil {
			t.Errorf("create answered with %d", status)
		}
		if _, err := a.PurgeChannel(t.Context(), "p", "c"); err == nil {
			t.Errorf("a purge of another channel, answered with %d", status)
		}
	}
}

// The admin token goes to no other program of the host.
func TestBasePathIsKept(t *testing.T) {
	var r recorder
	url := r.serve(t, 404, `{"error":"no","code":"not_found"}`)
	for _, base := range []string{url + "/rt", url + "/rt/", url + "/rt/realtime"} {
		a, rest := &Admin{BaseURL: base, Token: "secret"}, &REST{BaseURL: base, APIKey: "sk_1"}
		_, _ = a.Status(t.Context())
		_ = a.Backup(t.Context(), io.Discard)
		_, _ = rest.Publish(t.Context(), Publication{Channel: "c", Data: 1})
	}
	want := strings.TrimSpace(strings.Repeat("GET /rt/admin/v1/status\nGET /rt/admin/v1/backup\nPOST /rt/realtime\n", 3))
	if got := r.requests(); got != want {
		t.Errorf("asked\n%s", got)
	}
}
