package gateway

import (
	"maps"
	"testing"
)

func TestPurgeAndPublishOverTheAdminAPI(t *testing.T) {
	h := newHarness(t, "portable")
	h.fill("room/1", 3)
	path := "/projects/" + testProject + "/messages?channel=room%2F1"
	sub := h.open(h.public)
	sub.subscribe("room/1", `,"from":"live"`)
	status, sent := h.admin("POST", path, `{"message":{"by":"operator"},"id":"once"}`)
	if status != 200 || sent["success"] != true || sent["offset"] != 4.0 || sent["channel"] != "room/1" ||
		sent["id"] != "once" {
		t.Errorf("published: %d %v", status, sent)
	}
	if m := sub.want("message"); string(m.Data) != `{"by":"operator"}` {
		t.Errorf("delivered %s", m.Data)
	}
	if status, sent = h.admin("POST", path, `{"message":1,"id":"once"}`); status != 200 || sent["offset"] != 4.0 ||
		sent["duplicate"] != true {
		t.Errorf("published again: %d %v", status, sent)
	}
	for _, body := range []string{`{}`, `{"message":1,"channel":"a"}`, `{"message":1,"id":""}`, `1`} {
		if status, answer := h.admin("POST", path, body); status != 400 || answer["code"] != "invalid_message" {
			t.Errorf("%s: %d %v", body, status, answer)
		}
	}
	status, purged := h.admin("DELETE", path, "")
	if want := map[string]any{"channel": "room/1", "purged": 4.0, "offset": 4.0}; status != 200 ||
		!maps.Equal(purged, want) {
		t.Errorf("purge: %d %v, want %v", status, purged, want)
	}
	if _, page := h.admin("GET", path, ""); page["offset"] != 4.0 || page["earliest"] != 5.0 ||
		len(page["messages"].([]any)) != 0 {
		t.Errorf("purged channel: %v", page)
	}
	for _, path := range []string{"/projects/none/messages?channel=a", "/projects/" + testProject +
		"/messages?channel=never"} {
		if status, answer := h.admin("DELETE", path, ""); status != 404 || answer["code"] != "not_found" {
			t.Errorf("purge %s: %d %v", path, status, answer)
		}
	}
}

func TestForgetChannelsOverTheAdminAPI(t *testing.T) {
	h := newHarness(t, "portable")
	for _, name := range []string{"chat:1", "chat:2", "news"} {
		h.fill(name, 3)
	}
	project := "/projects/" + testProject
	status, answer := h.admin("DELETE", project+"/messages?channel=news&forget=true", "")
	if want := map[string]any{"channel": "news", "purged": 3.0, "offset": 3.0, "forgotten": true}; status != 200 ||
		!maps.Equal(answer, want) {
		t.Errorf("forget: %d %v, want %v", status, answer, want)
	}
	if status, answer := h.admin("DELETE", project+"/messages?channel=news&forget=true", ""); status != 404 {
		t.Errorf("forget again: %d %v", status, answer)
	}
	status, answer = h.admin("DELETE", project+"/channels?prefix=chat:", "")
	if want := map[string]any{"prefix": "chat:", "forgotten": 2.0, "more": false}; status != 200 ||
		!maps.Equal(answer, want) {
		t.Errorf("forget by prefix: %d %v, want %v", status, answer, want)
	}
	for _, path := range []string{
		"/channels", "/channels?prefix=", "/messages?channel=a&forget=yes",
		"/messages?channel=&forget=true",
	} {
		if status, answer := h.admin("DELETE", project+path, ""); status != 400 {
			t.Errorf("DELETE %s: %d %v", path, status, answer)
		}
	}
}

func TestConnectionsOverTheAdminAPI(t *testing.T) {
	h := newHarness(t, "portable")
	c := h.open(h.public)
	h.open(h.secret)
	_, list := h.admin("GET", "/connections", "")
	if len(list["connections"].([]any)) != 2 {
		t.Fatalf("got %v", list)
	}
	key, _ := h.broker.Key(h.public)
	for query, want := range map[string]int{
		"?key=" + key.ID: 1, "?project=" + testProject: 2, "?project=none": 0, "?key=none": 0, "?limit=1": 1,
	} {
		if _, list := h.admin("GET", "/connections"+query, ""); len(list["connections"].([]any)) != want {
			t.Errorf("%s: %v, want %d", query, list, want)
		}
	}
	_, list = h.admin("GET", "/connections?key="+key.ID, "")
	id := list["connections"].([]any)[0].(map[string]any)["id"].(string)
	if status, _ := h.admin("DELETE", "/connections/"+id, ""); status != 204 {
		t.Errorf("disconnect: %d", status)
	}
	c.wantClose(closeDisconnected)
	if status, answer := h.admin("DELETE", "/connections/"+id, ""); status != 404 || answer["code"] != "not_found" {
		t.Errorf("disconnect again: %d %v", status, answer)
	}
	// The attempt that came to nothing is there too.
	if records := h.broker.Audit(0, 10); len(records) != 2 || records[1].Action != "connection.close" ||
		records[1].Target != id {
		t.Errorf("audit %+v", records)
	}
}
