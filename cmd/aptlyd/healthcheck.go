package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// healthTimeout bounds a health check.
const healthTimeout = 2 * time.Second

func newHealthcheck() *cobra.Command {
	var r remote
	var configPath, listen, tlsCert string
	cmd := &cobra.Command{
		Use:   "healthcheck",
		Short: "Say whether a node takes clients (exit code 0) or not (1)",
		Long: `Say whether a node takes clients (exit code 0) or not (1).

Without --server it is the node of this machine or container, found by the settings
that "aptlyd serve" reads: --listen, --tls-cert, --config and their environment variables,
and in a container the command line of its first process.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			given := make(map[string]string)
			cmd.Flags().Visit(func(f *pflag.Flag) { given[f.Name] = f.Value.String() })
			if err := fillFlags(cmd.Flags(), ""); err != nil {
				return err
			}
			servers, client := []string{r.server}, healthClient(nil)
			if !cmd.Flags().Changed("server") {
				settings, err := serveSettings(given, firstProcess())
				if err != nil {
					return err
				}
				if servers, err = localServers(settings["listen"], settings["tls-cert"] != ""); err != nil {
					return misuse{err}
				}
				client = healthClient(ownTLS())
			} else if err := checkServer(r.server); err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), healthTimeout)
			defer cancel()
			var failed error
			for _, server := range servers {
				err := ready(ctx, client, server)
				if err == nil {
					return show(cmd, r.json, map[string]bool{"ready": true}, func(p *printer) { p.line("%s is ready", server) })
				}
				failed = errors.Join(failed, fmt.Errorf("%s is not ready: %w", server, err))
			}
			return failed
		},
	}
	r.addServerFlags(cmd)
	f := cmd.Flags()
	f.StringVar(&configPath, "config", "", "YAML file of the node's settings")
	f.StringVar(&listen, "listen", "", "the node's --listen")
	f.StringVar(&tlsCert, "tls-cert", "",
		"the node's --tls-cert: TLS is spoken, without a look at the name in the certificate")
	return cmd
}

// serveSettings returns the values of serve for --listen and --tls-cert: from the flags
// given, or else from a command line of serve, the environment and the file.
func serveSettings(given map[string]string, line []string) (map[string]string, error) {
	flags := newServe().Flags()
	flags.ParseErrorsAllowlist.UnknownFlags = true
	if err := flags.Parse(line); err != nil {
		return nil, misuse{sayFlagError(err)}
	}
	for _, name := range []string{"config", "listen", "tls-cert"} {
		if value, ok := given[name]; ok {
			if err := flags.Set(name, value); err != nil {
				return nil, misuse{sayFlagError(err)}
			}
		}
	}
	path := flags.Lookup("config").Value.String()
	if path == "" {
		path = os.Getenv(envName("config"))
	}
	if err := fillFlags(flags, path); err != nil {
		return nil, err
	}
	settings := make(map[string]string)
	for _, name := range []string{"listen", "tls-cert"} {
		settings[name] = flags.Lookup(name).Value.String()
	}
	return settings, nil
}

// firstProcess returns the arguments behind "serve" of the first process. In a container
// that is a node, or an init that started one, and a health check has no other way to find
// its settings.
func firstProcess() []string {
	raw, err := os.ReadFile("/proc/1/cmdline")
	if err != nil {
		return nil // not Linux, or somebody else's
	}
	return serveArguments(strings.Split(strings.TrimSuffix(string(raw), "\x00"), "\x00"))
}

func serveArguments(line []string) []string {
	for i := range len(line) - 1 {
		if filepath.Base(line[i]) == "aptlyd" && line[i+1] == "serve" {
			return line[i+2:]
		}
	}
	return nil
}

// localServers returns the URLs at which this machine may reach a listen address. They are
// numeric, since an image from scratch may not resolve localhost.
func localServers(listen string, encrypted bool) ([]string, error) {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return nil, fmt.Errorf("--listen: %w", err)
	}
	scheme := "http://"
	if encrypted {
		scheme = "https://"
	}
	hosts := []string{host}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		hosts = []string{"127.0.0.1", "::1"}
	}
	var servers []string
	for _, host := range hosts {
		servers = append(servers, scheme+net.JoinHostPort(host, port))
	}
	return servers, nil
}

// ownTLS accepts any certificate, since that of this machine's node is for its public name.
// Nothing secret is sent.
func ownTLS() *tls.Config {
	return &tls.Config{InsecureSkipVerify: true} //nolint:gosec // see above
}

// healthClient follows no redirect, since another server would answer.
func healthClient(config *tls.Config) *http.Client {
	return &http.Client{
		Transport:     &http.Transport{TLSClientConfig: config},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// ready asks a node for /readyz.
func ready(ctx context.Context, client *http.Client, server string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(server, "/")+"/readyz", nil)
	if err != nil {
		return misuse{err}
	}
	response, err := client.Do(request)
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
	return &notReady{response.StatusCode, strings.TrimSpace(string(reason)), response.Header.Get("Retry-After") != ""}
}

// notReady is the answer of a node that takes no clients.
type notReady struct {
	status  int
	reason  string
	passing bool // it says when to try again
}

func (e *notReady) Error() string {
	return fmt.Sprintf("HTTP status %d %s: %s", e.status, http.StatusText(e.status), e.reason)
}
