package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// healthTimeout bounds a health check.
const healthTimeout = 2 * time.Second

func newHealthcheck() *cobra.Command {
	var r remote
	cmd := &cobra.Command{
		Use:   "healthcheck",
		Short: "Say whether a node takes clients (exit code 0) or not (1)",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := fillFlags(cmd.Flags(), ""); err != nil {
				return err
			}
			if err := checkServer(r.server); err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), healthTimeout)
			defer cancel()
			if err := ready(ctx, r.server); err != nil {
				return fmt.Errorf("%s is not ready: %w", r.server, err)
			}
			return show(cmd, r.json, map[string]bool{"ready": true}, func(p *printer) { p.line("%s is ready", r.server) })
		},
	}
	r.addServerFlags(cmd)
	return cmd
}

// ready asks a node for /readyz.
func ready(ctx context.Context, server string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(server, "/")+"/readyz", nil)
	if err != nil {
		return misuse{err}
	}
	// Where a redirect leads, something else would be asked.
	c := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	response, err := c.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode == http.StatusOK {
		return nil
	}
	reason, err := io.ReadAll(io.LimitReader(response.Body, 1<<10))
	if err != nil {
		return fmt.Errorf("read answer: %w", err)
	}
	return fmt.Errorf("HTTP status %s: %s", response.Status, strings.TrimSpace(string(reason)))
}
