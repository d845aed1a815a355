package client

import (
	"context"
	"fmt"
	"iter"
	"net/http"
	"net/url"
)

// Admin operates a cluster through the admin API of any of its nodes. Every
// error that a node answered with is an *Error.
type Admin struct {
	BaseURL string // such as "https://host" or, below a path of a proxy, "https://host/path"
	Token   string
	HTTP    *http.Client // nil means http.DefaultClient; redirects are never followed
	// UserAgent is sent with every call unless it is empty. The audit takes one that
	// begins with "aptlyd-cli" for the command line.
	UserAgent string
}

// listPage is a page of any list: Next is empty on the last one.
type listPage struct {
	Projects    []Project     `json:"projects"`
	Connections []Connection  `json:"connections"`
	Channels    []Channel     `json:"channels"`
	Tokens      []AdminToken  `json:"tokens"`
	Audit       []AuditRecord `json:"audit"`
	Refusals    []Refusal     `json:"refusals"`
	Usage       []DayUsage    `json:"usage"`
	Next        string        `json:"next"`
}

// list walks through the pages of a list and ends with the first error. Of the call's
// query, filters that are empty count for nothing.
func list[T any](ctx context.Context, a *Admin, c call, items func(*listPage) []T) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		query := url.Values{}
		for name := range c.query {
			if c.query.Get(name) != "" {
				query[name] = c.query[name]
			}
		}
		for {
			page, err := request[listPage](ctx, a, call{method: http.MethodGet, path: c.path, id: c.id, query: query})
			if err != nil {
				var none T
				yield(none, err)
				return
			}
			for _, item := range items(&page) {
				if !yield(item, nil) {
					return
				}
			}
			if page.Next == "" {
				return
			}
			query.Set("cursor", page.Next)
		}
	}
}

func request[T any](ctx context.Context, a *Admin, c call) (T, error) {
	var result T
	err := a.do(ctx, c, &result)
	return result, err
}

// remove makes a call that ends something, which the node confirms with 204.
func (a *Admin) remove(ctx context.Context, c call) error {
	c.method, c.want = http.MethodDelete, http.StatusNoContent
	return a.do(ctx, c, nil)
}

func (a *Admin) do(ctx context.Context, c call, result any) error {
	c.path = "/admin/v1" + c.path
	c.header = a.header()
	if err := do(ctx, a.HTTP, a.BaseURL, c, result); err != nil {
		return fmt.Errorf("admin: %w", err)
	}
	return nil
}

func (a *Admin) header() http.Header {
	header := http.Header{"Authorization": {"Bearer " + a.Token}}
	if a.UserAgent != "" {
		header.Set("User-Agent", a.UserAgent)
	}
	return header
}
