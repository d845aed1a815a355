package auth

import (
	"fmt"

	"github.com/aptlyd/aptlyd/gateway/origin"
	"github.com/aptlyd/aptlyd/internal/strictjson"
)

// MaxOrigins bounds the allowed origins of a project or token.
const MaxOrigins = 100

// ParseOrigins reads a list of allowed origins into the form in which they are stored.
func ParseOrigins(raw []byte) ([]string, error) {
	origins := []string{}
	err := strictjson.ScanArray(raw, strictjson.MaxNesting, func(raw []byte) error {
		text, ok := strictjson.Unquote(raw)
		if !ok {
			return fmt.Errorf("not a string")
		}
		if len(origins) == MaxOrigins {
			return fmt.Errorf("more than %d", MaxOrigins)
		}
		stored, err := origin.Canonical(text)
		if err != nil {
			return err
		}
		origins = append(origins, stored)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("allowedOrigins: %w", err)
	}
	return origins, nil
}
