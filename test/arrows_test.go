package test

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/aptlyd/aptlyd"

// arrows is the architecture: what each package may import of ours, directly,
// and which engine it alone holds. A change of the architecture changes this
// table; docs/design.md has the picture.
var arrows = map[string]struct {
	imports []string
	engines []string
}{
	"":                    {}, // texts that go with every copy
	"docs":                {},
	"hack/notice":         {},
	"internal/barrier":    {},
	"internal/boottime":   {},
	"internal/durable":    {},
	"internal/repeat":     {},
	"internal/strictjson": {},
	"internal/sdnotify":   {},
	"internal/teardown":   {},
	"internal/wire":       {},
	"fsm": {
		imports: []string{"internal/durable", "internal/strictjson", "internal/wire"},
		engines: []string{"go.etcd.io/bbolt"},
	},
	"cluster/compress":  {},
	"cluster/watchdog":  {},
	"cluster/logbridge": {},
	"cluster/synced":    {engines: []string{"github.com/hashicorp/raft"}},
	"cluster/raftlog": {
		imports: []string{"cluster/watchdog", "cluster/logbridge", "internal/durable"},
		engines: []string{"github.com/hashicorp/raft", "github.com/hashicorp/raft-wal"},
	},
	"cluster/peer": {imports: []string{"cluster/logbridge"}},
	"cluster/gossip": {
		imports: []string{"cluster/logbridge", "cluster/peer"},
		engines: []string{"github.com/hashicorp/memberlist"},
	},
	"cluster": {
		imports: []string{
			"internal/boottime", "cluster/compress", "cluster/watchdog", "cluster/logbridge", "cluster/raftlog",
			"cluster/synced", "cluster/peer", "cluster/gossip", "internal/durable", "internal/repeat",
			"internal/teardown", "internal/wire",
		},
		engines: []string{"github.com/hashicorp/raft"},
	},
	"gateway/refusal":            {},
	"gateway/httpio":             {imports: []string{"gateway/refusal", "gateway/websocket"}},
	"gateway/ratelimit":          {},
	"gateway/traffic":            {},
	"gateway/origin":             {},
	"gateway/clientaddr":         {},
	"gateway/sse":                {imports: []string{"gateway/clientaddr", "internal/strictjson"}},
	"gateway/websocket":          {imports: []string{"gateway/clientaddr"}, engines: []string{"github.com/gobwas/ws"}},
	"gateway/certificate":        {},
	"gateway/quota":              {imports: []string{"fsm", "gateway/ratelimit", "gateway/refusal"}},
	"gateway/internal/testtoken": {},
	"gateway/internal/testcert":  {},
	"gateway/auth": {
		imports: []string{
			"fsm", "gateway/clientaddr", "gateway/origin", "gateway/ratelimit", "gateway/refusal", "internal/strictjson",
		},
	},
	"gateway/poll":     {},
	"gateway/presence": {imports: []string{"fsm", "internal/strictjson"}},
	"gateway/protocol": {
		imports: []string{
			"fsm", "gateway/auth", "gateway/refusal", "gateway/sse", "gateway/websocket",
			"internal/strictjson",
		},
	},
	"gateway/admin": {
		imports: []string{
			"fsm", "gateway/auth", "gateway/clientaddr", "gateway/httpio", "gateway/origin", "gateway/ratelimit",
			"gateway/refusal",
			"internal/strictjson",
		},
	},
	"internal/machine": {},
	"gateway": {
		imports: []string{
			"docs", "fsm", "gateway/httpio", "gateway/refusal", "gateway/ratelimit", "gateway/origin", "gateway/clientaddr",
			"gateway/admin", "gateway/auth", "internal/strictjson", "gateway/sse", "gateway/websocket", "gateway/poll",
			"internal/machine", "internal/repeat", "gateway/presence", "gateway/protocol", "gateway/quota", "gateway/traffic",
		},
		engines: []string{"github.com/gobwas/ws"},
	},
	"node": {imports: []string{
		"gateway", "gateway/admin", "gateway/auth", "gateway/certificate", "gateway/presence", "gateway/quota",
		"gateway/refusal", "gateway/traffic", "fsm", "cluster", "console", "node/presence", "node/relay",
		"internal/durable", "internal/repeat", "internal/teardown",
	}},
	"node/presence":     {imports: []string{"fsm", "gateway/presence", "internal/barrier", "internal/wire"}},
	"node/relay":        {imports: []string{"fsm", "internal/barrier", "internal/wire"}},
	"client":            {imports: []string{"internal/strictjson"}, engines: []string{"github.com/gobwas/ws"}},
	"console":           {},
	"cmd/aptlyd":        {imports: []string{"node", "client", "internal/durable", "internal/sdnotify"}},
	"bench":             {imports: []string{"client"}},
	"examples/go":       {imports: []string{"client"}},
	"bench/aptly-bench": {imports: []string{"bench"}},
	"test":              {},
	"test/lab":          {},
	"test/console":      {},
	"test/torture":      {imports: []string{"bench", "client", "test/lab"}},
}

func TestImportArrows(t *testing.T) {
	out, err := exec.Command("go", "list", "-f", `{{.ImportPath}} {{join .Imports " "}}`, module+"/...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	owner := make(map[string][]string)
	for pkg, a := range arrows {
		for _, e := range a.engines {
			owner[e] = append(owner[e], pkg)
		}
	}
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		pkg := strings.TrimPrefix(strings.TrimPrefix(fields[0], module), "/")
		allowed, known := arrows[pkg]
		if !known {
			t.Errorf("package %s has no place in the architecture", pkg)
			continue
		}
		for _, imported := range fields[1:] {
			if ours, ok := strings.CutPrefix(imported, module+"/"); ok && !slices.Contains(allowed.imports, ours) {
				t.Errorf("%s must not import %s", pkg, ours)
			}
			for engine, owners := range owner {
				if (imported == engine || strings.HasPrefix(imported, engine+"/")) && !slices.Contains(owners, pkg) {
					t.Errorf("%s must not import %s: it belongs to %s", pkg, imported, strings.Join(owners, ", "))
				}
			}
		}
	}
}
