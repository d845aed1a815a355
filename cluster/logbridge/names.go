package logbridge

import (
	"context"
	"log/slog"
	"regexp"
)

// WithNames returns a logger that says the names of nodes where a record has their ids, as those
// of libraries and errors do. An attribute "id" stays as it is.
func WithNames(logger *slog.Logger, name func(id string) string) *slog.Logger {
	return slog.New(namesHandler{logger.Handler(), name})
}

type namesHandler struct {
	slog.Handler
	name func(id string) string
}

// nodeID matches the ids of nodes: as Raft writes a server, whose address is its id, and as
// memberlist does, with the count of its start.
var nodeID = regexp.MustCompile(`\{\w+ ` + uuid + ` ` + uuid + `\}|` + uuid + `(?:/\d+)?`)

const uuid = `([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})`

func (h namesHandler) say(text string) string {
	return nodeID.ReplaceAllStringFunc(text, func(found string) string {
		for _, id := range nodeID.FindStringSubmatch(found)[1:] {
			if id != "" {
				return h.name(id)
			}
		}
		return found
	})
}

func (h namesHandler) attribute(a slog.Attr) slog.Attr {
	if a.Key == "id" {
		return a
	}
	switch value := a.Value.Resolve(); value.Kind() {
	case slog.KindString:
		a.Value = slog.StringValue(h.say(value.String()))
	case slog.KindAny:
		if err, ok := value.Any().(error); ok {
			a.Value = slog.StringValue(h.say(err.Error()))
		}
	}
	return a
}

// Handle implements slog.Handler.
func (h namesHandler) Handle(ctx context.Context, r slog.Record) error {
	said := slog.NewRecord(r.Time, r.Level, h.say(r.Message), r.PC)
	r.Attrs(func(a slog.Attr) bool {
		said.AddAttrs(h.attribute(a))
		return true
	})
	return h.Handler.Handle(ctx, said)
}

// WithAttrs implements slog.Handler.
func (h namesHandler) WithAttrs(attributes []slog.Attr) slog.Handler {
	return namesHandler{h.Handler.WithAttrs(attributes), h.name}
}

// WithGroup implements slog.Handler.
func (h namesHandler) WithGroup(name string) slog.Handler {
	return namesHandler{h.Handler.WithGroup(name), h.name}
}
