package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/google/uuid"
)

// MakeProject makes a project through the admin API whose channels all have the
// given durability, "quorum" or "memory", and returns a target for it. remove
// deletes the project and everything in it.
func MakeProject(ctx context.Context, target Target, durability string) (made Target, remove func(context.Context) error, err error) {
	if len(target.Servers) == 0 || target.AdminToken == "" {
		return Target{}, nil, errors.New("make project: a server and the admin token are needed")
	}
	api := adminAPI{base: "http" + strings.TrimPrefix(target.Servers[0], "ws") + "/admin/v1", token: target.AdminToken}
	var project struct {
		ID   string
		Keys []struct{ Kind, Key string }
	}
	if err := api.call(ctx, http.MethodPost, "/projects", map[string]any{
		"name": "bench-" + uuid.NewString(), "allowedOrigins": []string{}, "allowNativeClients": true,
	}, &project); err != nil {
		return Target{}, nil, fmt.Errorf("make project: %w", err)
	}
	remove = func(ctx context.Context) error {
		if err := api.call(ctx, http.MethodDelete, "/projects/"+project.ID, nil, nil); err != nil {
			return fmt.Errorf("remove project: %w", err)
		}
		return nil
	}
	if err := api.call(ctx, http.MethodPatch, "/projects/"+project.ID, map[string]any{
		"rules": []map[string]any{{"pattern": "*", "durability": durability}},
	}, nil); err != nil {
		return Target{}, nil, errors.Join(fmt.Errorf("set rule: %w", err), remove(ctx))
	}
	for _, key := range project.Keys {
		if key.Kind == "server" {
			target.Key = key.Key
			return target, remove, nil
		}
	}
	return Target{}, nil, errors.Join(errors.New("make project: the answer has no server key"), remove(ctx))
}

// adminAPI calls the admin API.
type adminAPI struct{ base, token string }

// call sends body, unless it is nil, and decodes the answer, unless it is nil.
func (a adminAPI) call(ctx context.Context, method, path string, body, answer any) error {
	var content io.Reader
	if body != nil {
		encoded, err := json.Marshal(body)
		if err != nil {
			return fmt.Errorf("encode: %w", err)
		}
		content = bytes.NewReader(encoded)
	}
	request, err := http.NewRequestWithContext(ctx, method, a.base+path, content)
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+a.token)
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode/100 != 2 {
		text, _ := io.ReadAll(io.LimitReader(response.Body, 1<<10))
		return fmt.Errorf("%s %s answers %s: %s", method, path, response.Status, text)
	}
	if answer == nil {
		return nil
	}
	if err := json.NewDecoder(response.Body).Decode(answer); err != nil {
		return fmt.Errorf("decode the answer of %s: %w", path, err)
	}
	return nil
}
