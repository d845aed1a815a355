package client

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestBackupSaysWhoAsks(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/admin/v1/backup" || r.Header.Get("Authorization") != "Bearer secret" ||
			r.UserAgent() != "aptlyd-cli/test" {
			t.Errorf("asked %s by %q with %q", r.URL.Path, r.UserAgent(), r.Header.Get("Authorization"))
		}
		if _, err := io.WriteString(w, "all of it"); err != nil {
			t.Error(err)
		}
	}))
	defer server.Close()
	var got bytes.Buffer
	a := &Admin{BaseURL: server.URL, Token: "secret", UserAgent: "aptlyd-cli/test"}
	if err := a.Backup(t.Context(), &got); err != nil || got.String() != "all of it" {
		t.Errorf("got %q, %v", got.String(), err)
	}
}
