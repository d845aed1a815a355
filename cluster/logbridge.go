package cluster

import (
	"bytes"
	"context"
	"log"
	"log/slog"

	"github.com/hashicorp/go-hclog"
)

// bridge gives a library of the hclog school a logger that writes to ours. What
// such libraries tell below a warning is only of use to who debugs them.
func bridge(logger *slog.Logger, component string) hclog.Logger {
	return hclog.New(&hclog.LoggerOptions{
		Name:        component,
		Level:       hclog.Warn,
		Output:      &lineWriter{logger: logger.With("component", component)},
		DisableTime: true,
	})
}

// bridgeStandard gives memberlist a logger that writes to ours.
func bridgeStandard(logger *slog.Logger, component string) *log.Logger {
	return log.New(&lineWriter{logger: logger.With("component", component)}, "", 0)
}

// lineWriter turns lines such as "[WARN]  raft: heartbeat failed" into records.
type lineWriter struct{ logger *slog.Logger }

// expectedWarning is what a follower's Raft says when a nudge overtakes the entry
// it is about, which under load happens all the time and does no harm.
var expectedWarning = []byte("failed to get previous log")

func (w *lineWriter) Write(line []byte) (int, error) {
	text := bytes.TrimSpace(line)
	level := slog.LevelDebug
	for _, mark := range []struct {
		text  string
		level slog.Level
	}{
		{"[WARN]", slog.LevelWarn},
		{"[ERR]", slog.LevelWarn},
		{"[ERROR]", slog.LevelWarn},
		{"[INFO]", slog.LevelDebug},
		{"[DEBUG]", slog.LevelDebug},
		{"[TRACE]", slog.LevelDebug},
	} {
		if rest, ok := bytes.CutPrefix(text, []byte(mark.text)); ok {
			text, level = bytes.TrimSpace(rest), mark.level
			break
		}
	}
	if bytes.Contains(text, expectedWarning) {
		level = slog.LevelDebug
	}
	w.logger.Log(context.Background(), level, string(text))
	return len(line), nil
}
