package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"net/http"
	"net/url"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/aptlyd/aptlyd/client"
	"github.com/aptlyd/aptlyd/node"
)

const (
	// callTimeout bounds one call of the admin API.
	callTimeout = 30 * time.Second
	// connectTimeout bounds the attempts to reach a node at all.
	connectTimeout = 5 * time.Second
	// patience is how long something may take before the node is asked whether it takes
	// clients at all, and asked again.
	patience = time.Second
	// answerTimeout bounds a connected client's request. It is longer than the time after
	// which a node gives up a publish.
	answerTimeout = 15 * time.Second
)

const defaultServer = "http://localhost:8080"

// remote holds the common flags of commands that reach a cluster.
type remote struct {
	server     string
	adminToken string
	key        string
	json       bool
}

func (r *remote) addServerFlags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&r.server, "server", defaultServer, "any node of the cluster; env APTLYD_SERVER")
	cmd.Flags().BoolVar(&r.json, "json", false, "print JSON")
}

// addAdminFlags adds the flags of a command that calls the admin API.
func (r *remote) addAdminFlags(cmd *cobra.Command) {
	r.addServerFlags(cmd)
	cmd.Flags().StringVar(&r.adminToken, "admin-token", "", "the cluster's admin token; env APTLYD_ADMIN_TOKEN")
}

// addKeyFlags adds the flags of a command that is a client with a key.
func (r *remote) addKeyFlags(cmd *cobra.Command) {
	r.addServerFlags(cmd)
	cmd.Flags().StringVar(&r.key, "key", "", "a pk_ or sk_ key; env APTLYD_KEY")
}

// withAdmin returns the body of a command that calls the admin API. The environment
// completes the flags, and the call has a timeout.
func (r *remote) withAdmin(
	run func(context.Context, *cobra.Command, *client.Admin, []string) error,
) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		admin, err := r.admin(cmd)
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), callTimeout)
		defer cancel()
		err = run(ctx, cmd, admin, args)
		if errors.Is(err, context.DeadlineExceeded) && ctx.Err() != nil {
			return fmt.Errorf("%s has not answered within %v: %w", r.server, callTimeout, err)
		}
		return r.named(err)
	}
}

// named says how to name a node, where none was named and none is here.
func (r *remote) named(err error) error {
	if r.server == defaultServer && errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("%w; if the node is elsewhere, name it with --server or APTLYD_SERVER", err)
	}
	return err
}

// admin returns the client of the admin API that the flags describe.
func (r *remote) admin(cmd *cobra.Command) (*client.Admin, error) {
	if err := fillFlags(cmd.Flags(), ""); err != nil {
		return nil, err
	}
	if err := checkServer(r.server); err != nil {
		return nil, err
	}
	if r.adminToken == "" {
		return nil, misuse{errors.New("--admin-token (or APTLYD_ADMIN_TOKEN) is needed")}
	}
	return &client.Admin{
		BaseURL: r.server, Token: r.adminToken, UserAgent: "aptlyd-cli/" + node.Version,
		HTTP: &http.Client{Transport: &http.Transport{
			Proxy:               http.ProxyFromEnvironment,
			DialContext:         (&net.Dialer{Timeout: connectTimeout}).DialContext,
			TLSHandshakeTimeout: connectTimeout,
			ForceAttemptHTTP2:   true,
		}},
	}, nil
}

// checkServer refuses a URL that cannot be a node's HTTP port.
func checkServer(server string) error {
	u, err := url.Parse(server)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return misuse{fmt.Errorf("--server: %q is not of the form http://host:port or https://host:port/path", server)}
	}
	if err := (client.Options{Endpoints: []string{server}, APIKey: "none"}).Validate(); err != nil {
		return misuse{fmt.Errorf("--server: %w", err)}
	}
	return nil
}

// complete fills in the flags of a client with a key from the environment.
func (r *remote) complete(cmd *cobra.Command) error {
	if err := fillFlags(cmd.Flags(), ""); err != nil {
		return err
	}
	if r.key == "" {
		return misuse{errors.New("--key (or APTLYD_KEY) is needed")}
	}
	return nil
}

// connect returns a connected client. It returns the error at once if trying again cannot
// help. options extend the flags.
func (r *remote) connect(ctx context.Context, cmd *cobra.Command, options client.Options) (*client.Client, error) {
	if err := r.complete(cmd); err != nil {
		return nil, err
	}
	options.Endpoints, options.APIKey, options.FailFast = []string{r.server}, r.key, true
	c, err := client.New(options)
	if err != nil {
		return nil, misuse{err}
	}
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	ctx, stop := r.whileReady(ctx)
	defer stop()
	if err := c.Connect(ctx); err != nil {
		c.Close()
		if said := refusesClients(ctx); said != nil {
			err = fmt.Errorf("it takes no clients: %s", said.reason)
		}
		return nil, r.named(fmt.Errorf("connect to %s: %w", r.server, err))
	}
	return c, nil
}

// whileReady returns a context that ends, with the reason as its cause, once the node says that it
// takes no clients and not that this will pass. The node is asked now and then, in case that what
// is waited for takes long.
func (r *remote) whileReady(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, end := context.WithCancelCause(ctx)
	asking := healthClient(nil)
	go func() {
		defer asking.CloseIdleConnections()
		for {
			select {
			case <-time.After(patience):
			case <-ctx.Done():
				return
			}
			said, ok := errors.AsType[*notReady](ready(ctx, asking, r.server))
			if ok && said.status == http.StatusServiceUnavailable && !said.passing {
				end(said)
			}
		}
	}()
	return ctx, func() { end(nil) }
}

// refusesClients returns what the node has said if it has ended a context of whileReady.
func refusesClients(ctx context.Context) *notReady {
	said, _ := errors.AsType[*notReady](context.Cause(ctx))
	return said
}

// collect returns the elements of a list, at most limit of them unless that is 0.
func collect[T any](list iter.Seq2[T, error], limit uint) ([]T, error) {
	all := []T{}
	for item, err := range list {
		if err != nil {
			return nil, err
		}
		if all = append(all, item); uint(len(all)) == limit {
			break
		}
	}
	return all, nil
}

// printer writes text for people, in columns if lines have tabs.
type printer struct{ w *tabwriter.Writer }

func (p *printer) line(format string, args ...any) { fmt.Fprintf(p.w, format+"\n", args...) }

// show prints a result as one JSON value or as text.
func show(cmd *cobra.Command, asJSON bool, value any, text func(*printer)) error {
	out := cmd.OutOrStdout()
	if asJSON {
		return writeJSON(out, value)
	}
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	text(&printer{w})
	if err := w.Flush(); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}

// writeJSON writes a value on one line.
func writeJSON(w io.Writer, value any) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}

// moment formats Unix milliseconds for people, in UTC as everywhere.
func moment(ms int64) string {
	if ms == 0 {
		return "-"
	}
	return time.UnixMilli(ms).UTC().Format(time.DateTime)
}
