package bench

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"

	"github.com/aptlyd/aptlyd/client"
)

// Rule says how the channels of a project are kept.
type Rule = client.Rule

// MakeProject makes a project through the admin API whose channels all follow one rule,
// and returns a target for it. remove deletes the project and everything in it.
func MakeProject(ctx context.Context, target Target,
	rule Rule,
) (made Target, remove func(context.Context) error, err error) {
	if len(target.Servers) == 0 || target.AdminToken == "" {
		return Target{}, nil, errors.New("make project: a server and the admin token are needed")
	}
	admin := &client.Admin{BaseURL: target.Servers[0], Token: target.AdminToken}
	project, err := admin.CreateProject(ctx,
		client.ProjectSpec{Name: "bench-" + uuid.NewString(), AllowNativeClients: true})
	if err != nil {
		return Target{}, nil, fmt.Errorf("make project: %w", err)
	}
	remove = func(ctx context.Context) error {
		if err := admin.DeleteProject(ctx, project.ID); err != nil {
			return fmt.Errorf("remove project: %w", err)
		}
		return nil
	}
	rule.Pattern = "*"
	rules := []Rule{rule}
	if _, err := admin.UpdateProject(ctx, project.ID, client.ProjectChange{Rules: &rules}); err != nil {
		return Target{}, nil, errors.Join(fmt.Errorf("set rule: %w", err), remove(ctx))
	}
	for _, key := range project.Keys {
		if key.Kind == "server" {
			target.Key = key.Text
			return target, remove, nil
		}
	}
	return Target{}, nil, errors.Join(errors.New("make project: the answer has no server key"), remove(ctx))
}
