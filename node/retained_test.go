package node

import (
	"testing"
)

func TestSurveyCountsWhatChannelsRetain(t *testing.T) {
	t.Parallel()
	n := start(t, testConfig(t, t.TempDir()))
	creds, _ := n.Credentials()
	for range 3 {
		for _, channel := range []string{"a", "b"} {
			call(t, n, "POST", "/realtime", "X-Api-Key", creds.ServerKey,
				map[string]any{"channel": channel, "message": "four"}, 200)
		}
	}
	found, err := n.lookAtRetained(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range n.state.Projects("", 1) {
		if got, want := found[p.ID], (retention{channels: 2, messages: 6, bytes: 6 * int64(len(`"four"`))}); got != want {
			t.Errorf("found %+v, want %+v", got, want)
		}
	}
}
