package test

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aptlyd/aptlyd/client"
)

// canaries are secrets that must be found nowhere, by what they are.
type canaries map[string][]byte

// add has the search look for a secret without its prefix.
func (c canaries) add(name, text string) {
	if _, rest, found := strings.Cut(text, "_"); found {
		text = rest
	}
	c[name] = []byte(text)
}

// addSigning adds a signing secret and what its text encodes.
func (c canaries) addSigning(name, text string) {
	c.add(name, text)
	raw, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(text, "ss_"))
	if err != nil || len(raw) != 32 {
		panic(fmt.Sprintf("%s is no signing secret: %v", text, err))
	}
	c[name+", decoded"] = raw
}

// in returns which of them are in a text.
func (c canaries) in(text []byte) (found []string) {
	for name, secret := range c {
		if bytes.Contains(text, secret) {
			found = append(found, name)
		}
	}
	return found
}

// inFiles returns which of them are in the files below a folder, and where.
func (c canaries) inFiles(t *testing.T, folder string) (found []string) {
	t.Helper()
	err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		for _, name := range c.in(text) {
			found = append(found, name+" in "+path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// get returns what a node answers to GET.
func get(t *testing.T, address, token string) []byte {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("GET %s: %s, %v", address, response.Status, err)
	}
	return text
}

// mistype changes a character in the middle of a secret.
func mistype(text string) string {
	other := byte('x')
	if text[20] == other {
		other = 'y'
	}
	return text[:20] + string(other) + text[21:]
}

// Secrets are made and used on three nodes under load with debug logs. Afterwards
// none of them is in the data folders, backups, logs, metrics, answers to operators
// or goroutine dumps.
func TestSecretsAreFoundNowhere(t *testing.T) {
	dir := t.TempDir()
	clusterSecret := rand.Text()
	c := startClusterIn(t, dir, 3, "--log-level", "debug", "--cluster-secret", clusterSecret)
	l := startLoad(t, c, 10, 300)
	ctx := within(t, deadline)
	secret := make(canaries)
	secret.add("cluster secret", clusterSecret)

	use := func(i int, key string) {
		t.Helper()
		r := &client.REST{BaseURL: url(c, i), APIKey: key}
		if _, err := r.Publish(ctx, client.Publication{Channel: "chat:1", Data: "hello"}); err != nil {
			t.Errorf("publish: %v", err)
		}
		connection := connect(t, c, key, i)
		if _, err := connection.Publish(ctx, client.Publication{Channel: "chat:1", Data: "hello"}); err != nil {
			t.Errorf("publish over a connection: %v", err)
		}
		connection.Close()
		if _, err := (&client.REST{BaseURL: url(c, i), APIKey: mistype(key)}).Publish(ctx,
			client.Publication{Channel: "chat:1", Data: 1}); err == nil {
			t.Error("a mistyped key was taken")
		}
	}
	project := defaultProject(t, c).ID
	key, err := admin(c, 0).CreateKey(ctx, project, "server", "canary")
	for round := range 3 {
		if err != nil {
			t.Fatal(err)
		}
		name := fmt.Sprintf("key %d", round)
		secret.add(name, key.Text)
		secret.add(name+", mistyped", mistype(key.Text))
		secret.addSigning("signing secret of "+name, key.SigningSecret)
		token := client.Token{
			KeyID: key.ID, Subject: "user", ExpiresAt: time.Now().Add(time.Hour),
			Channels: map[string][]string{"chat:*": {"subscribe", "publish", "history"}},
		}
		bearer, err := token.Sign(key.SigningSecret)
		if err != nil {
			t.Fatal(err)
		}
		secret["token under "+name] = []byte(bearer[strings.LastIndexByte(bearer, '.')+1:])
		for i := range c.Len() {
			use(i, key.Text)
			use(i, bearer)
		}
		key, err = admin(c, round).RotateKey(ctx, key.ID, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
	}
	operator, err := admin(c, 0).CreateAdminToken(ctx, "canary", "operator")
	if err != nil {
		t.Fatal(err)
	}
	secret.add("admin token", operator.Text)
	secret.add("admin token, mistyped", mistype(operator.Text))
	for i := range c.Len() {
		for _, text := range []string{operator.Text, mistype(operator.Text)} {
			a := &client.Admin{BaseURL: url(c, i), Token: text}
			if _, err := a.WhoAmI(ctx); (err == nil) != (text == operator.Text) {
				t.Errorf("who am I with %.8s: %v", text, err)
			}
		}
		session(t, c, i, operator.Text)
	}
	if err := admin(c, 1).RevokeKey(ctx, key.ID); err != nil {
		t.Fatal(err)
	}
	// What clients publish is stored as it is, so this one has to be found.
	decoy := rand.Text()
	if _, err := rest(c, 0).Publish(ctx, client.Publication{Channel: "decoy", Data: decoy}); err != nil {
		t.Fatal(err)
	}
	l.await(600)
	l.end()

	for i := range c.Len() {
		for _, path := range []string{
			"/metrics", "/admin/v1/projects", "/admin/v1/tokens", "/admin/v1/audit?limit=1000", "/admin/v1/refusals?limit=1000",
			"/admin/v1/connections", "/admin/v1/status", "/admin/v1/settings", "/admin/v1/backup",
		} {
			if found := secret.in(get(t, url(c, i)+path, c.AdminToken)); found != nil {
				t.Errorf("%s of %s shows %q", path, c.Name(i), found)
			}
		}
	}
	for i := range c.Len() {
		exited := c.Exited(i)
		if err := c.Signal(i, syscall.SIGQUIT); err != nil { // a dump of all goroutines goes to the log
			t.Fatal(err)
		}
		<-exited
		if log := c.readLog(t, i); !strings.Contains(log, "goroutine ") || !strings.Contains(log, `"level":"DEBUG"`) {
			t.Errorf("the log of %s has no dump or no debug lines", c.Name(i))
		}
	}
	for _, found := range secret.inFiles(t, dir) {
		t.Error("found the ", found)
	}
	for i := range c.Len() {
		if found := (canaries{"decoy": []byte(decoy)}).inFiles(t, c.Dir(i)); len(found) == 0 {
			t.Errorf("the search does not find what is in the data of %s", c.Name(i))
		}
	}
}

// session signs in to the console and uses the session.
func session(t *testing.T, c site, i int, token string) {
	t.Helper()
	body, err := json.Marshal(map[string]string{"token": token})
	if err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url(c, i)+"/console/session",
		bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("X-Aptlyd-Console", "1")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusNoContent {
		t.Errorf("sign in to the console: %s", response.Status)
	}
}
