package auth

import (
	"testing"

	"github.com/aptlyd/aptlyd/fsm"
	"github.com/aptlyd/aptlyd/gateway/refusal"
)

// Nobody may do anything in another project, also in ways that no route can ask for.
func TestAuthoriseForeign(t *testing.T) {
	own, foreign := &fsm.Project{ID: ownProject}, &fsm.Project{ID: otherProject}
	every := [...]Action{Connect, Subscribe, Publish, ReadHistory, Enter, SeeMembers, View, Operate, Own}
	all := &Token{scopes: []scope{{
		pattern: "*",
		actions: [...]bool{
			Connect: true, Subscribe: true, Publish: true, ReadHistory: true, Enter: true, SeeMembers: true,
		},
	}}}
	for name, who := range map[string]Principal{
		"public": {Kind: PublicKey, Project: ownProject}, "server": {Kind: ServerKey, Project: ownProject},
		"bearer": {
			Kind: Bearer, Project: ownProject,
			Token: all,
		}, "nobody": {}, "nobody of the project": {Project: ownProject},
	} {
		for _, do := range every {
			if Authorise(who, do, foreign, "c") == nil {
				t.Errorf("%s may %s in a foreign project", name, do)
			}
			if Authorise(who, do, nil, "c") == nil {
				t.Errorf("%s may %s in no project", name, do)
			}
		}
	}
	for _, do := range every[:6] {
		if Authorise(Principal{Kind: Admin, Role: fsm.Owner}, do, own, "c") == nil {
			t.Errorf("an admin may %s", do)
		}
	}
	r := Authorise(Principal{Kind: PublicKey, Project: ownProject}, Publish, own, "c")
	if r == nil || r.Code != refusal.Forbidden || r.Reason == "" || r.Detail == r.Reason || r.Action != "publish" ||
		r.Channel != "c" {
		t.Errorf("the refusal does not explain itself: %+v", r)
	}
}
