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
	BaseURL string
	Token   string
	HTTP    *http.Client // nil means http.DefaultClient
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
	Next        string        `json:"next"`
}

// list walks through the pages of a list and ends with the first error.
func list[T any](ctx context.Context, a *Admin, path string, items func(*listPage) []T) iter.Seq2[T, error] {
	return listWhere(ctx, a, path, nil, items)
}

// listWhere is list with filters, of which empty ones count for nothing.
func listWhere[T any](ctx context.Context, a *Admin, path string, filters url.Values, items func(*listPage) []T) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		query := url.Values{}
		for name := range filters {
			if filters.Get(name) != "" {
				query[name] = filters[name]
			}
		}
		for {
			page, err := request[listPage](ctx, a, http.MethodGet, path, query, nil)
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

func request[T any](ctx context.Context, a *Admin, method, path string, query url.Values, body any) (T, error) {
	var result T
	err := a.do(ctx, call{method: method, path: path, query: query, body: body}, &result)
	return result, err
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
