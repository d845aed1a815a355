package httpio

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/aptlyd/aptlyd/gateway/refusal"
)

const (
	// DefaultLimit bounds a list whose query names no limit.
	DefaultLimit = 100
	// MaxLimit bounds every list.
	MaxLimit = 1000
)

// RoutedMethod returns the method as which a request is answered: HEAD counts as GET, and
// net/http leaves the body out of the answer.
func RoutedMethod(r *http.Request) string {
	if r.Method == http.MethodHead {
		return http.MethodGet
	}
	return r.Method
}

// QueryNumber reads a whole number up to most from a query; def where it is missing.
func QueryNumber(query url.Values, name string, def, most uint64) (uint64, error) {
	text := query.Get(name)
	if text == "" {
		return def, nil
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil || n > most {
		return 0, refusal.New(refusal.InvalidMessage, fmt.Sprintf("%s is not a whole number up to %d", name, most))
	}
	return n, nil
}

// QueryFlag reads a value from a query that is true or false; false where it is missing.
func QueryFlag(query url.Values, name string) (bool, error) {
	switch query.Get(name) {
	case "", "false":
		return false, nil
	case "true":
		return true, nil
	}
	return false, refusal.New(refusal.InvalidMessage, name+" is neither true nor false")
}
