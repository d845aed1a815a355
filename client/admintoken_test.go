package client

import (
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

func TestAdminOfOperators(t *testing.T) {
	url := startNode(t, "User-Agent", "aptlyd-cli/test",
		exchange{"GET /admin/v1/whoami", "", 200, `{"id":"adm_1","name":"first","role":"owner"}`},
		exchange{
			"POST /admin/v1/tokens", `{"name":"ci","role":"viewer"}`, 201,
			`{"id":"adm_2","name":"ci","role":"viewer","token":"adm_text","createdAt":1}`,
		},
		exchange{"GET /admin/v1/tokens", "", 200, `{"tokens":[{"id":"adm_1"},{"id":"adm_2","lastUsedAt":7}]}`},
		exchange{"DELETE /admin/v1/tokens/adm_2", "", 204, ``},
		exchange{
			"GET /admin/v1/audit", "", 200,
			`{"audit":[{"seq":2,"action":"key.rotate","by":{"name":"first","via":"cli"},"after":{"id":"k"}}],"next":"2"}`,
		},
		exchange{"GET /admin/v1/audit?cursor=2", "", 200, `{"audit":[{"seq":1,"action":"cluster.init"}]}`},
		exchange{
			"GET /admin/v1/refusals?code=forbidden&project=p1", "", 200,
			`{"refusals":[{"at":5,"code":"forbidden","detail":"why"}]}`,
		},
		exchange{"GET /admin/v1/connections?key=k1", "", 200, `{"connections":[{"id":"c1"}]}`},
		exchange{"DELETE /admin/v1/connections/c1", "", 204, ``},
		exchange{"DELETE /admin/v1/projects/p1/messages?channel=a%2Fb", "", 200, `{"channel":"a/b","purged":3,"offset":7}`},
		exchange{
			"PATCH /admin/v1/projects/p1",
			`{"access":{"subscribe":[],"publish":[{"pattern":"a","rate":1}]},"quotas":{"connections":1,"channels":2,` +
				`"publishRate":3,"subscriptions":4}}`, 200, `{"id":"p1"}`,
		},
	)
	a := &Admin{BaseURL: url, Token: "secret", UserAgent: "aptlyd-cli/test"}
	ctx := t.Context()
	if who, err := a.WhoAmI(ctx); err != nil || who.Role != "owner" {
		t.Errorf("who am I: %+v, %v", who, err)
	}
	if token, err := a.CreateAdminToken(ctx, "ci", "viewer"); err != nil || token.Text != "adm_text" {
		t.Errorf("created %+v, %v", token, err)
	}
	n := 0
	for token, err := range a.AdminTokens(ctx) {
		if n++; err != nil || n == 2 && token != (AdminToken{ID: "adm_2", LastUsedAt: 7}) {
			t.Errorf("token %+v, %v", token, err)
		}
	}
	if err := a.RevokeAdminToken(ctx, "adm_2"); err != nil {
		t.Error(err)
	}
	seq := uint64(2)
	for record, err := range a.Audit(ctx) {
		if err != nil || record.Seq != seq || seq == 2 && (record.By.Via != "cli" || string(record.After) != `{"id":"k"}`) {
			t.Errorf("record %+v, %v", record, err)
		}
		seq--
	}
	for refusal, err := range a.Refusals(ctx, RefusalFilter{Project: "p1", Code: "forbidden"}) {
		if err != nil || refusal.Detail != "why" {
			t.Errorf("refusal %+v, %v", refusal, err)
		}
	}
	for connection, err := range a.AllConnections(ctx, "", "k1") {
		if err != nil || connection.ID != "c1" {
			t.Errorf("connection %+v, %v", connection, err)
		}
	}
	if err := a.Disconnect(ctx, "c1"); err != nil {
		t.Error(err)
	}
	if purge, err := a.PurgeChannel(ctx, "p1", "a/b"); err != nil || purge != (Purge{"a/b", 3, 7, false}) {
		t.Errorf("purged %+v, %v", purge, err)
	}
	change := ProjectChange{
		Access: &Access{Subscribe: []string{}, Publish: []PublishGrant{{Pattern: "a", Rate: 1}}},
		Quotas: &Quotas{1, 2, 3, 4, 0},
	}
	if _, err := a.UpdateProject(ctx, "p1", change); err != nil {
		t.Error(err)
	}
}

func TestTokenIsSigned(t *testing.T) {
	const secret = "ss_secret"
	token := Token{KeyID: "key_1", ExpiresAt: time.Now().Add(time.Minute), Channels: map[string][]string{"a": {"publish"}}}
	text, err := token.Sign(secret)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := jwt.Parse(text, func(*jwt.Token) (any, error) { return []byte(secret), nil },
		jwt.WithValidMethods([]string{"HS256"}))
	if err != nil {
		t.Fatal(err)
	}
	claims := parsed.Claims.(jwt.MapClaims)
	if _, there := claims["sub"]; there || claims["kid"] != "key_1" || claims["exp"] != float64(token.ExpiresAt.Unix()) {
		t.Errorf("claims %v", claims)
	}
	if text, err := token.Sign("sk_key"); err == nil {
		t.Errorf("signed with the key itself: %s", text)
	}
}
