package test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/aptlyd/aptlyd/client"
)

// atOnce is how long a command may take to say what is wrong.
const atOnce = 5 * time.Second

// worrying matches log lines of a warning or worse.
var worrying = regexp.MustCompile(`"level":"(WARN|ERROR)".*`)

// TestHealthyStartsWarnOfNothing starts one node and three. On a machine that is busy
// elections may go wrong, so that there are several attempts.
func TestHealthyStartsWarnOfNothing(t *testing.T) {
	t.Parallel()
	for _, nodes := range []int{1, 3} {
		said := ""
		for range 3 {
			c := startCluster(t, nodes)
			said = ""
			for i := range nodes {
				said += strings.Join(worrying.FindAllString(c.readLog(t, i), -1), "\n")
			}
			if said == "" {
				break
			}
		}
		if said != "" {
			t.Errorf("a start of %d nodes says\n%s", nodes, said)
		}
	}
}

// browser is a signed-in page of the console.
type browser struct {
	c      site
	node   int
	cookie *http.Cookie
}

func (b *browser) call(t *testing.T, method, path string, body any) (status int, answer string) {
	t.Helper()
	encoded, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(within(t, deadline), method, url(b.c, b.node)+path,
		bytes.NewReader(encoded))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("X-Aptlyd-Console", "1")
	request.Header.Set("Content-Type", "application/json")
	if b.cookie != nil {
		request.AddCookie(b.cookie)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, cookie := range response.Cookies() {
		b.cookie = cookie
	}
	return response.StatusCode, string(text)
}

// TestWithoutAMajorityEveryToolSaysWhoIsMissing kills two of three nodes, and then starts one of
// three that were all down. Every tool must say at once who is missing, and a session lives on.
func TestWithoutAMajorityEveryToolSaysWhoIsMissing(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3)
	awaitVoters(t, c, 3, 3)
	b := &browser{c: c}
	if status, answer := b.call(t, http.MethodPost, "/console/session",
		map[string]string{"token": c.AdminToken}); status != 204 {
		t.Fatalf("sign in: %d %s", status, answer)
	}
	held := aptlydJSON[client.Status](t, c, 0, "cluster", "status")
	if q := held.Quorum; !q.Held || q.Voters != 3 || q.Needed != 2 {
		t.Errorf("with all nodes: %+v", q)
	}
	for _, i := range []int{1, 2} {
		if err := c.Kill(i); err != nil {
			t.Fatal(err)
		}
	}
	// One that was begun before anybody knows is given up as soon as the node does.
	began := time.Now()
	out, code := aptlyd(t, c, 0, "publish", "c", "1", "--key", c.ServerKey)
	if took := time.Since(began); code != 1 || !strings.Contains(out, "n2, n3 missing") || took > 15*time.Second {
		t.Errorf("a publish at that moment: exit code %d after %v: %s", code, took, out)
	}
	check := func(starting bool) {
		t.Helper()
		eventually(t, deadline, func() error {
			status, err := admin(c, 0).Status(within(t, atOnce))
			if err != nil {
				return err
			}
			if status.Quorum.Held || status.Quorum.Alive != 1 || len(status.Quorum.Missing) != 2 {
				return fmt.Errorf("%+v", status.Quorum)
			}
			for _, m := range status.Members {
				if m.State == "unreachable" && (m.Connections != 0 || !starting && m.LastHeardAt == 0) {
					t.Errorf("a dead node is shown as %+v", m)
				}
			}
			response, err := http.Get(url(c, 0) + "/readyz")
			if err != nil {
				return err
			}
			defer response.Body.Close()
			reason, err := io.ReadAll(response.Body)
			if response.StatusCode != 503 || !strings.Contains(string(reason), "n2, n3 missing") ||
				response.Header.Get("Retry-After") != "" {
				return fmt.Errorf("/readyz: %s %v %s", response.Status, response.Header, reason)
			}
			return err
		})
		for _, say := range []struct {
			args []string
			code int
			want []string
		}{
			{
				[]string{"cluster", "status"},
				0,
				[]string{"No majority: n1 sees 1 of 3 voters alive", "n2 since", "n3 since", "unreachable"},
			},
			{[]string{"doctor"}, 1, []string{
				"No majority: n1 sees 1 of 3", "n2 (127.0.0.1:", "does not answer n1",
				"3 of 9 checks",
			}},
			{[]string{"publish", "c", "1", "--key", c.ServerKey}, 1, []string{"no majority for", "n2, n3 missing"}},
			{[]string{"project", "create", "x"}, 1, []string{"no majority for", "n2, n3 missing"}},
			{[]string{"project", "list"}, 1, []string{"no majority for", "n2, n3 missing"}},
			{[]string{"healthcheck", "--server", url(c, 0)}, 1, []string{"no majority for", "n2, n3 missing"}},
		} {
			began := time.Now()
			out, code := aptlyd(t, c, 0, say.args...)
			if took := time.Since(began); took > atOnce {
				t.Errorf("aptlyd %v takes %v", say.args, took)
			}
			if code != say.code {
				t.Errorf("aptlyd %v: exit code %d, want %d", say.args, code, say.code)
			}
			for _, want := range say.want {
				if !strings.Contains(out, want) {
					t.Errorf("aptlyd %v does not say %q:\n%s", say.args, want, out)
				}
			}
			if id := held.Members[1].ID; strings.Contains(out, id) {
				t.Errorf("aptlyd %v says an id:\n%s", say.args, out)
			}
		}
		for path, want := range map[string]int{
			"/admin/v1/whoami": 200, "/admin/v1/status": 200, "/admin/v1/diagnosis": 200, "/console/": 200, "/metrics": 200,
			"/admin/v1/projects": 503,
		} {
			if status, answer := b.call(t, http.MethodGet, path, nil); status != want {
				t.Errorf("the console's session: %s answers %d %s", path, status, answer)
			}
		}
	}
	check(false)
	if log := c.readLog(t, 0); !strings.Contains(log,
		`"the cluster has no majority: nothing can be published or changed"`) {
		t.Error("the log does not say it")
	} else {
		for _, line := range worrying.FindAllString(log, -1) {
			for _, m := range held.Members {
				if strings.Contains(line, m.ID) {
					t.Errorf("the log says an id: %s", line)
				}
			}
		}
	}
	if err := c.Kill(0); err != nil {
		t.Fatal(err)
	}
	if err := c.Start(0); err != nil {
		t.Fatal(err)
	}
	eventually(t, deadline, func() error {
		response, err := http.Get(url(c, 0) + "/healthz")
		if err != nil {
			return err
		}
		return response.Body.Close()
	})
	check(true)
	if err := c.Start(1); err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		if err := c.Ready(within(t, deadline), i); err != nil {
			t.Fatal(err)
		}
	}
	if status, answer := b.call(t, http.MethodGet, "/admin/v1/projects", nil); status != 200 {
		t.Errorf("the session after all that: %d %s", status, answer)
	}
	eventually(t, deadline, func() error {
		if !strings.Contains(c.readLog(t, 0), `"the cluster has a majority again"`) {
			return fmt.Errorf("the log does not say that there is a majority again")
		}
		return nil
	})
}
