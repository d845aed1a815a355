package node

import (
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/aptlyd/aptlyd/gateway/admin"
)

func TestNamesWithAPrefixComeRightAfterIt(t *testing.T) {
	names := []string{"a", "chas", "chas\U0010FFFF", "chat", "chat:1", "chau", "é", "ê"}
	for _, prefix := range []string{"", "chat", "chat:", "é", "z"} {
		var want, got []string
		for _, name := range names {
			if strings.HasPrefix(name, prefix) {
				want = append(want, name)
			}
		}
		for _, name := range names {
			if name > before(prefix) {
				got = append(got, name)
			}
		}
		if !slices.Equal(got[:min(len(want), len(got))], want) {
			t.Errorf("after %q come %q, want %q first", before(prefix), got, want)
		}
	}
}

func TestChannelsThatAreOnlySubscribedToAreListed(t *testing.T) {
	n := start(t, testConfig(t, filepath.Join(t.TempDir(), "data")))
	credentials, _ := n.Credentials()
	for _, channel := range []string{"a:1", "b:1", "b:3"} {
		body := map[string]any{"channel": channel, "message": 1}
		call(t, n, http.MethodPost, "/realtime", "x-api-key", credentials.ServerKey, body, http.StatusOK)
	}
	project := n.Projects("", 1)[0].ID
	infos, err := n.state.Channels(project, "", 10)
	if err != nil {
		t.Fatal(err)
	}
	subscribers := map[string]int{"b:2": 4, "b:3": 1, "c": 2}
	names := func(q admin.ChannelQuery) string {
		q.Project = project
		found, err := n.joinChannels(q, infos, subscribers, nil)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, c := range found {
			names = append(names, c.Name)
		}
		return strings.Join(names, " ")
	}
	if got := names(admin.ChannelQuery{Limit: 10}); got != "a:1 b:1 b:2 b:3 c" {
		t.Errorf("got %s", got)
	}
	if got := names(admin.ChannelQuery{Limit: 10, Prefix: "b:"}); got != "b:1 b:2 b:3" {
		t.Errorf("with a prefix: %s", got)
	}
	if got := names(admin.ChannelQuery{Limit: 2}); got != "a:1 b:1" {
		t.Errorf("cut: %s", got)
	}
	call(t, n, http.MethodGet, "/admin/v1/projects/"+project+"/channels?active=true", "Authorization",
		"Bearer "+credentials.AdminToken, nil, http.StatusOK)
}
