package admin

import (
	"net/http"
	"net/url"

	"github.com/aptlyd/aptlyd/gateway/httpio"
	"github.com/aptlyd/aptlyd/internal/strictjson"
)

// listQuery reads ?limit= and ?cursor=, which most lists take.
func listQuery(r *http.Request) (cursor string, limit int, query url.Values, err error) {
	query = r.URL.Query()
	n, err := httpio.QueryNumber(query, "limit", httpio.DefaultLimit, strictjson.MaxWhole)
	if err != nil {
		return "", 0, nil, err
	}
	return query.Get("cursor"), int(min(max(n, 1), httpio.MaxLimit)), query, nil
}

// cutPage cuts a list that was asked for with one item more than the limit. next is the
// cursor of the next page; "" on the last one.
func cutPage[T any](items []T, limit int, name func(T) string) (page []T, next string) {
	if len(items) <= limit {
		return items, ""
	}
	return items[:limit], name(items[limit-1])
}
