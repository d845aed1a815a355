package bench

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/aptlyd/aptlyd/client"
)

// admin is the part of the admin API that is needed here.
type admin struct {
	refuse string // this method
	calls  []string
}

func (a *admin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var body map[string]any
	if r.Body != http.NoBody {
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
	}
	a.calls = append(a.calls, fmt.Sprint(r.Method, " ", r.URL.Path, " ", body["allowNativeClients"], " ", body["rules"]))
	switch {
	case r.Header.Get("Authorization") != "Bearer secret" || r.Method == a.refuse:
		http.Error(w, "no", http.StatusForbidden)
	case r.Method == http.MethodPost:
		w.WriteHeader(http.StatusCreated)
		fmt.Fprint(w, `{"id":"p1","keys":[{"kind":"public","key":"pk_1"},{"kind":"server","key":"sk_1"}]}`)
	case r.Method == http.MethodDelete:
		w.WriteHeader(http.StatusNoContent)
	default:
		fmt.Fprint(w, `{"id":"p1"}`)
	}
}

func TestMakeProject(t *testing.T) {
	a := &admin{}
	server := httptest.NewServer(a)
	defer server.Close()
	rule := client.Rule{Durability: "memory"}
	target := Target{Servers: []string{"ws" + strings.TrimPrefix(server.URL, "http")}, AdminToken: "secret"}
	made, remove, err := MakeProject(t.Context(), target, rule)
	if err != nil {
		t.Fatal(err)
	}
	if made.Key != "sk_1" || made.Servers[0] != target.Servers[0] {
		t.Errorf("made %+v", made)
	}
	if err := remove(t.Context()); err != nil {
		t.Error(err)
	}
	const want = "POST /admin/v1/projects true <nil>; " +
		"PATCH /admin/v1/projects/p1 <nil> [map[durability:memory pattern:*]]; " +
		"DELETE /admin/v1/projects/p1 <nil> <nil>"
	if got := strings.Join(a.calls, "; "); got != want {
		t.Errorf("called %s", got)
	}

	target.AdminToken = "wrong"
	if _, _, err := MakeProject(t.Context(), target, rule); err == nil || !strings.Contains(err.Error(), "403") {
		t.Errorf("with a wrong token: %v", err)
	}
	target.AdminToken, a.refuse, a.calls = "secret", http.MethodPatch, nil
	if _, _, err := MakeProject(t.Context(), target, rule); err == nil || len(a.calls) != 3 {
		t.Errorf("without a rule: %v, called %q", err, a.calls)
	}
}
