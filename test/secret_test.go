package test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/aptlyd/aptlyd/bench"
)

// The secret of the nodes changes in three rounds of restarts, one node at a time,
// under publishes of which none may fail.
func TestClusterSecretIsRotatedWithoutDowntime(t *testing.T) {
	t.Parallel()
	const before, after = "the secret of yesterday", "the secret of tomorrow"
	env := func(secrets string) string { return "APTLYD_CLUSTER_SECRET=" + secrets }
	c := spawn(t, bench.SpawnOptions{Nodes: 3, Binary: binary, Dir: t.TempDir(), Env: []string{env(before)}})
	l := startLoad(t, c, 5, 200)
	l.await(100)
	for _, secrets := range []string{before + "," + after, after + "," + before, after} {
		c.SetEnv(env(secrets))
		for i := range c.Len() {
			if err := c.Stop(within(t, 15*time.Second), i); err != nil {
				t.Fatal(err)
			}
			if err := c.Restart(within(t, deadline), i); err != nil {
				t.Fatal(err)
			}
			awaitVoters(t, c, 3, 3)
			l.await(20)
		}
		if secrets == after+","+before {
			// Only now can the old one be left out, and the leader says so.
			eventually(t, deadline, func() error {
				for i := range c.Len() {
					if strings.Contains(c.readLog(t, i), "keyring sealed under the cluster secret in use") {
						return nil
					}
				}
				return errors.New("the keyring is still sealed under the old secret")
			})
		}
	}
	l.end()
	l.check()
	t.Logf("longest pause between acknowledgements: %v", l.pause())
}
